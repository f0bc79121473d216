"""What a person sees on stderr while it goes on, and the result at the end."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from paybell.cli.output import announce, err, fail, out, print_json
from torture.checker import Verdict
from torture.nemesis import Nemesis, Record

__all__ = ["Report", "announce", "fail"]

# What the system is allowed to take to recover from any fault.
RECOVERY_MOST_SECONDS = 15.0
# From here on it says what payments were waiting for.
_SLOW_SECONDS = 4.0
_SENTENCES = 30


@dataclass(slots=True)
class Report:
    """One run's."""

    seed: int
    queues: str
    home: Path
    started: float = field(default_factory=time.monotonic)
    faults: dict[str, int] = field(default_factory=dict)
    recovery: dict[str, float] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    destroyed: int = 0

    def say(self, sentence: str) -> None:
        """Tell what happens next."""
        announce(f"{time.monotonic() - self.started:6.1f} s  {sentence}")

    def fault(self, record: Record) -> None:
        """Tell of a fault and of the recovery from it."""
        slow = record.recovery_seconds > RECOVERY_MOST_SECONDS
        err.print(
            f"[dim]{time.monotonic() - self.started:6.1f} s[/]  {record.kind:<20} {record.detail:<32} "
            f"{record.seconds:5.1f} s, then {'[red]' if slow else ''}{record.recovery_seconds:.2f} s",
            highlight=False,
            soft_wrap=True,
        )
        if record.recovery_seconds > _SLOW_SECONDS:
            err.print(f"{'':10}{record.troubles}", style="dim", highlight=False, soft_wrap=True)

    def finish(self, nemesis: Nemesis, duplicates: int, destroyed: int) -> None:
        """Take the run's figures."""
        self.faults, self.recovery = nemesis.counts(), nemesis.slowest()
        self.failed, self.duplicates = dict(nemesis.failed), duplicates
        self.destroyed = destroyed

    def verdict(self, verdict: Verdict, *, json: bool) -> None:
        """Print the table, what was found, and the JSON line if it is asked for."""
        table = Table("fault", "times", "longest recovery", title="Faults")
        for kind, times in self.faults.items():
            seconds = self.recovery[kind]
            table.add_row(
                kind, str(times), f"{'[red]' if seconds > RECOVERY_MOST_SECONDS else ''}{seconds:.2f} s"
            )
        for kind, times in self.failed.items():
            table.add_row(kind, f"[dim]{times} not done", "")
        err.print(table)
        for title in ("lost", "doubled", "wrong"):
            sentences = getattr(verdict, title)
            for sentence in sentences[:_SENTENCES]:
                err.print(f"[red]{title}[/] {sentence}", highlight=False, markup=True)
            if len(sentences) > _SENTENCES:
                err.print(f"[red]{title}[/] … and {len(sentences) - _SENTENCES} more")
        result = {
            "payments": verdict.payments,
            "events": verdict.events,
            "backByItself": verdict.back_by_itself,
            "messagesDestroyed": self.destroyed,
            "learntByAsking": verdict.asked,
            "faults": self.faults,
            "duplicatesAbsorbed": self.duplicates,
            "recoverySeconds": self.recovery,
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "wrong": len(verdict.wrong),
            "seed": self.seed,
            "queues": self.queues,
        }
        if json:
            print_json(result)
            return
        out.print(
            f"{verdict.payments} payments, {verdict.events} events applied, "
            f"{verdict.asked} learnt by asking, "
            f"{sum(self.faults.values())} faults of {len(self.faults)} kinds, "
            f"{self.duplicates} duplicates absorbed; "
            f"{len(verdict.lost)} lost, {len(verdict.doubled)} doubled, {len(verdict.wrong)} wrong "
            f"(seed {self.seed}).",
            highlight=False,
        )
