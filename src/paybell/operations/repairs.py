"""A reconciliation as operators watch it: its progress as events, with the first of what differs."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from paybell.clock import Clock
from paybell.ids import ID_MAX
from paybell.reconciliation.differences import Difference
from paybell.reconciliation.entries import Entry
from paybell.reconciliation.reconciler import Progress

# A reconciliation of large books goes on in another stream, before this one ends.
RUN_SECONDS = 300.0
# Rows that are shown; all are counted and repaired.
SHOWN_MAX = 200


class DifferenceView(msgspec.Struct, frozen=True):
    """A purchase of which the two sides do not say the same."""

    order: str
    kind: str
    pay: str
    trade: str


async def watch_repair(
    steps: AsyncGenerator[Progress, None], clock: Clock, seconds: float = RUN_SECONDS
) -> AsyncGenerator[tuple[str, object], None]:
    """Yield ``progress`` for each step; at the end ``done``, or ``continue`` with ``next``, where to go on.

    Args:
        steps: a reconciliation.
        clock: says when it has taken too long.
        seconds: after this long it ends at the next position, before the stream does.
    """
    ends_at = clock.monotonic() + seconds
    rows: list[DifferenceView] = []
    summary: dict[str, Any] = {}
    position = 0
    async with aclosing(steps):
        async for progress in steps:
            rows += [_view(one) for one in progress.batch[: SHOWN_MAX - len(rows)]]
            summary = _summary(progress, rows)
            yield "progress", summary
            moved, position = progress.compared.position > position, progress.compared.position
            if moved and position < ID_MAX and clock.monotonic() >= ends_at:
                yield "continue", summary | {"next": str(position)}
                return
    yield "done", summary


def _summary(progress: Progress, rows: list[DifferenceView]) -> dict[str, Any]:
    return {
        "payOrders": progress.compared.pay_orders,
        "waiting": progress.compared.waiting,
        "differences": progress.differences,
        "acknowledged": progress.acknowledged,
        "kinds": progress.kinds,
        "told": progress.republished,
        "repaired": progress.repaired,
        "rows": rows,
    }


def _view(difference: Difference) -> DifferenceView:
    return DifferenceView(
        str(difference.number), difference.kind.value, _side(difference.pay), _side(difference.trade)
    )


def _side(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return f"{entry.status} {entry.amount - entry.refunded} {entry.currency} {entry.user_id}"
