"""What people did by hand, in both databases, as one list: newest first, in pages."""

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paybell.errors import InvalidRequest
from paybell.ids import ID_MAX
from paybell.storage import Database
from paybell.storage.operator_actions import OperatorAction, list_actions

_CURSOR = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which actions are wanted: all, or those on some rows, or of some kinds; of one database or all."""

    on: Sequence[int] = ()
    kinds: Sequence[str] = ()
    database: str | None = None


_ALL = Chosen()


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Actions, each with the name of its database, and where the next page begins; None: this is the last."""

    actions: Sequence[tuple[str, OperatorAction]]
    next: str | None


class AuditTrail:
    """Reads the actions of several databases; each counts its own, so a cursor has a number for each."""

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self._databases = databases

    async def page(self, after: str | None, limit: int, chosen: Chosen = _ALL) -> AuditPage:
        """Return up to so many of the actions that are wanted, after a cursor.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        below = self._read(after)
        found = {
            name: await list_actions(database, below[name], limit + 1, on=chosen.on, kinds=chosen.kinds)
            for name, database in self._databases.items()
            if chosen.database in (None, name)
        }
        # Within a database in the order of its ids, so that a page's end is one place in each.
        merged = heapq.merge(
            *([(name, one) for one in actions] for name, actions in found.items()),
            key=lambda pair: pair[1].at,
            reverse=True,
        )
        both = list(merged)
        for name, action in both[:limit]:
            below[name] = action.id
        following = "-".join(str(number) for number in below.values())
        return AuditPage(both[:limit], following if len(both) > limit else None)

    def _read(self, after: str | None) -> dict[str, int]:
        if after is None:
            return dict.fromkeys(self._databases, ID_MAX)
        numbers = [int(part) for part in after.split("-")] if _CURSOR.fullmatch(after) else []
        if len(numbers) != len(self._databases) or max(numbers) > ID_MAX:
            raise InvalidRequest("after: use `next` of the page before.", field="after")
        return dict(zip(self._databases, numbers, strict=True))
