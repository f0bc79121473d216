"""Both sides' books of a demo: what the channels say moved beside what we believe."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from paybell.channels.attempt import RECEIVED, AttemptState
from paybell.channels.standing import Standing

Books = Mapping[str, Mapping[str, Any]]
_NOTHING = {"paid": 0, "refunded": 0}


@dataclass(frozen=True, slots=True)
class Judged:
    """What a comparison came to.

    Attributes:
        manual: attempts that a person has to settle.
        back_by_itself: money that came twice or late and is back where it came from.
        lost: orders that are not paid and whose money a channel keeps.
        doubled: orders of which a channel keeps more than they cost.
        guessed: final states that a channel's books contradict.
        apart: by how many minor units, over all channels, the ledger and the channels' books differ.
        unfinished: what nobody has decided yet.
    """

    manual: int = 0
    back_by_itself: int = 0
    lost: int = 0
    doubled: int = 0
    guessed: int = 0
    apart: int = 0
    unfinished: int = 0

    @property
    def clean(self) -> bool:
        """Say whether everything is decided and both sides' books are equal."""
        return not (self.lost or self.doubled or self.guessed or self.apart or self.unfinished)

    def __add__(self, other: "Judged") -> "Judged":
        """Return both together."""
        names = [one.name for one in fields(self)]
        return Judged(**{name: getattr(self, name) + getattr(other, name) for name in names})


def judged(ours: Standing, books: Mapping[str, Books]) -> Judged:
    """Compare one installation with its channels' books, by our names of the channels."""
    kept, late, guessed = defaultdict[int, int](int), 0, 0
    for one in ours.outcomes:
        there = books[one.channel].get(one.number, _NOTHING)
        kept[one.pay_order_id] += there["paid"] - there["refunded"]
        late += one.state is AttemptState.LATE_SUCCESS and there["paid"] == there["refunded"]
        guessed += (one.state in RECEIVED) != bool(there["paid"])
    orders = {one.pay_order_id: one for one in ours.outcomes}.values()
    return Judged(
        manual=sum(one.state is AttemptState.MANUAL for one in ours.outcomes),
        back_by_itself=late,
        lost=sum(not one.paid and kept[one.pay_order_id] > 0 for one in orders),
        doubled=sum(one.paid and kept[one.pay_order_id] > one.amount - one.refunded for one in orders),
        guessed=guessed,
        apart=sum(abs(ours.kept.get(name, 0) - _kept_there(books[name].values())) for name in books),
        unfinished=ours.unfinished,
    )


def _kept_there(trades: Sequence[Mapping[str, int]] | Any) -> int:
    return sum(one["paid"] - one["refunded"] for one in trades)
