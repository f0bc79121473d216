"""One Paybell process under torture: the real command, tied to the life of whoever started it.

``python -m torture.part SKEW serve --role api …`` runs ``paybell serve --role api …`` with a clock that is
SKEW seconds fast. The clock is the one of `paybell.clock`; leases use the database's own. While there is a
file ``deadly`` in the home, the first payment event that is handled ends this process, and each process
that handles it again.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from paybell.cli import main
from paybell.clock import SystemClock
from paybell.storage import Transaction
from paybell.trade import store
from torture.stack import DEADLY, died_of_it

_PR_SET_PDEATHSIG = 1


def tie_to_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux), however that dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def skew_clock(seconds: float) -> None:
    """Make Paybell's clock fast, or slow if negative."""

    def now(self: SystemClock) -> datetime:  # noqa: ARG001 - it is a method
        return datetime.now(UTC) + timedelta(seconds=seconds)

    SystemClock.now = now  # type: ignore[method-assign]


def die_of_an_event(deadly: Path) -> None:
    """Have payment events end their process (SIGKILL) while there is a file: one, each time."""
    mark_paid = store.mark_paid

    async def killing(tx: Transaction, order_ids: Sequence[int]) -> set[int]:
        if deadly.exists() and _victim(deadly, order_ids[0]) in order_ids:  # noqa: ASYNC240 - a test's marker
            died_of_it(deadly, os.getpid()).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return await mark_paid(tx, order_ids)

    store.mark_paid = killing


def _victim(deadly: Path, candidate: int) -> int:
    """Return the order whose event kills; the first that asks proposes one."""
    elected = deadly.with_suffix(".event")
    with suppress(FileExistsError):
        proposal = deadly.with_suffix(f".{os.getpid()}")
        proposal.write_text(str(candidate))
        os.link(proposal, elected)
    return int(elected.read_text())


if __name__ == "__main__":
    tie_to_parent()
    skew = float(sys.argv.pop(1))
    if skew:
        skew_clock(skew)
    die_of_an_event(Path(os.environ["PAYBELL_HOME"]) / DEADLY)
    main()
