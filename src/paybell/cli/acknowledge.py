"""``paybell acknowledge``: let differences between pay and trade stand that somebody has looked into."""

from typing import Annotated

from cyclopts import Parameter, validators

from paybell.cli.options import Flag
from paybell.cli.output import operator, out, print_json
from paybell.cli.reconcile import open_reconciler
from paybell.clock import SystemClock
from paybell.errors import InvalidRequest
from paybell.ids import ID_MAX
from paybell.reconciliation.acknowledgements import NOTE_MAX

OrderNo = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=ID_MAX))]


async def acknowledge(
    *orders: OrderNo,
    note: str = "",
    withdraw: Flag = False,
    json: Flag = False,
) -> int:
    """Let differences stand: they are not counted, logged or repaired until one of the two sides changes.

    Exit code 1 when one of the orders does not differ (or, to withdraw, was not acknowledged).

    Args:
        orders: business order numbers that `paybell reconcile` shows.
        note: why they may stand, for whoever reads it later.
        withdraw: count them again.
        json: end with one JSON line.
    """
    wanted = sorted(set(orders))
    if not wanted:
        raise InvalidRequest("Say which: order numbers that paybell reconcile shows.")
    if not withdraw and not 1 <= len(note) <= NOTE_MAX:
        raise InvalidRequest(f"Say why they may stand: --note, 1 to {NOTE_MAX} characters.")
    async with open_reconciler(SystemClock()) as reconciler:
        if withdraw:
            done = await reconciler.acknowledgements.withdraw(wanted, operator())
        else:
            found = await reconciler.acknowledge(wanted, operator(), note)
            done = [one.number for one in found]
    others = [number for number in wanted if number not in done]
    if json:
        print_json(
            {"withdrawn" if withdraw else "acknowledged": len(done), "others": [str(n) for n in others]}
        )
    else:
        out.print(f"{len(done)} {'count again' if withdraw else 'acknowledged'}.")
        for number in others:
            out.print(f"{number} {'was not acknowledged' if withdraw else 'does not differ'}.")
    return 1 if others else 0
