"""One Paybell process under torture: the real command, tied to the life of whoever started it.

``python -m torture.part SKEW serve --role api …`` runs ``paybell serve --role api …`` with a clock that is
SKEW seconds fast. The clock is the one of `paybell.clock`; leases use the database's own.
"""

import ctypes
import signal
import sys
from datetime import UTC, datetime, timedelta

from paybell.cli import main
from paybell.clock import SystemClock

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


if __name__ == "__main__":
    tie_to_parent()
    skew = float(sys.argv.pop(1))
    if skew:
        skew_clock(skew)
    main()
