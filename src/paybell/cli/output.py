"""How commands speak: results on stdout, everything else on stderr, one JSON line last for programs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import getuser

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.text import Text

# What is not a terminal has no width: a table in a file or a pipe is as wide as it needs to be.
_PIPE_WIDTH = 200
# The command line is wrong, as for an option that does not exist.
EXIT_USAGE = 2
out = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True)


def announce(sentence: str) -> None:
    """Tell a person what is going on, aside from the result."""
    err.print(Text(sentence, style="dim"), soft_wrap=True)


def show_link(name: str, url: str) -> None:
    """Show a link to click or copy, whole, however narrow the terminal is."""
    err.print(Text.assemble((f"{name:>9}  ", "dim"), (url, "bold")), soft_wrap=True)


def fail(sentence: str) -> None:
    """Tell a person what went wrong and what to do."""
    err.print(Text.assemble(("paybell:", "bold red"), " ", sentence), soft_wrap=True)


@contextmanager
def going_on(sentence: str) -> Iterator[Callable[[str], None]]:
    """Show a person at a terminal what goes on; tell what is yielded each next sentence of it."""
    columns = SpinnerColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task(sentence)
        yield lambda said: shown.update(task, description=said)


def operator() -> str:
    """Return who types, for the record of what operators do."""
    return f"cli:{getuser()}"


def say_how_many(found: int, shown: int, kept: int) -> None:
    """Say how many of the rows are shown unless all are, and how many of them ``--json`` has."""
    if found > shown:
        rest = "has them all" if kept >= found else f"has the first {kept:,}"
        out.print(f"{shown:,} of {found:,}; --json {rest}.")


def print_json(result: object) -> None:
    """Write a result as one JSON line; the last thing a command does."""
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    sys.stdout.flush()


def agreed(question: str) -> bool:
    """Ask on a terminal; where there is none, nobody agreed."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
