"""Finding an event whose handling ends the process: a crash in a C library, memory that runs out.

Such a process cannot say what it died of. So whoever gets deliveries a second time writes down what it
is about to do, and what stands there at the next start was in hand when the process before died. Pieces
get smaller until the event is alone. Nothing is written for an ordinary batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paybell.messaging.arrivals import Arrival, fingerprint
from paybell.storage import Database, load_queries

_SQL = load_queries(__package__)
# Each death costs everything that was prefetched one of its deliveries, and a quorum queue may grant
# 20: by sixteenths an event of a batch of 256 is alone after three deaths, by halves after nine.
SHARE = 16
# Deaths with an event in hand, the last ones with it alone, after which it is set aside. Fewer could be
# somebody else's doing.
DEATHS_MAX = 5


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How large the piece was that was in hand when the process died last, and how often it has died."""

    size: int
    deaths: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What is tried together; ``deaths`` is how often its only arrival has ended a process, alone at last."""

    arrivals: Sequence[Arrival]
    deaths: int = 0

    @property
    def kills(self) -> bool:
        """Say whether it is not to be handled again."""
        return self.deaths >= DEATHS_MAX


def divide(arrivals: Sequence[Arrival], known: Mapping[str, Suspicion]) -> list[Piece]:
    """Cut a batch into pieces, the most suspected first; what was never in hand at a death is one piece."""
    groups: dict[int, list[tuple[Arrival, int]]] = {}
    for arrival in arrivals:
        found = known.get(fingerprint(arrival.delivery))
        size = max(1, found.size // SHARE) if found else len(arrivals)
        deaths = found.deaths if found and found.size == 1 else 0
        groups.setdefault(size, []).append((arrival, deaths))
    return [
        Piece([arrival for arrival, _ in part], part[0][1] if len(part) == 1 else 0)
        for size, group in sorted(groups.items())
        for part in (group[start : start + size] for start in range(0, len(group), size))
    ]


class Suspects:
    """What a listener has in hand, on disk."""

    def __init__(self, database: Database, listener: str) -> None:
        self._database = database
        self._listener = listener

    async def divide(self, arrivals: Sequence[Arrival]) -> list[Piece]:
        """Cut a batch into pieces by what has happened to it before."""
        names = [fingerprint(arrival.delivery) for arrival in arrivals]
        rows = await self._database.fetch(_SQL["find_suspects"], self._listener, names)
        known = {row["fingerprint"]: Suspicion(row["size"], row["deaths"]) for row in rows}
        return divide(arrivals, known)

    async def record(self, piece: Piece) -> None:
        """Write down that this is in hand now: should the process die, it is one death more."""
        async with self._database.transaction() as tx:
            await tx.execute(
                _SQL["record_suspects"], self._listener, _names(piece), len(piece.arrivals), tx.now
            )

    async def clear(self, piece: Piece) -> None:
        """Remove what the process has survived, and what has not come again for a day."""
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["clear_suspects"], self._listener, _names(piece), tx.now)


def _names(piece: Piece) -> list[str]:
    return sorted({fingerprint(arrival.delivery) for arrival in piece.arrivals})
