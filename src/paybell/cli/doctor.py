"""``paybell doctor``: what is wrong with this set-up, in plain words, and what to do about it."""

import os
from dataclasses import asdict

from rich.table import Table

from paybell.cli.options import Flag, Role, roles_of
from paybell.cli.output import out, print_json
from paybell.clock import SystemClock
from paybell.diagnosis.examination import examine


async def doctor(*, role: tuple[Role, ...] = ("all",), json: Flag = False) -> int:
    """Look at settings, databases, clock, broker and what waits; exit code 1 when something must be repaired.

    What the service sets up when it starts is set up here too: an embedded database, development secrets, the
    topology at RabbitMQ. A message `paybell.doctor` without a body is published to each exchange to see it
    confirmed. Nothing else is changed.

    Args:
        role: all, or those that `paybell serve` runs in this installation; only what they need is looked at.
        json: end with one JSON line.
    """
    findings = [finding async for finding in examine(SystemClock(), os.environ, roles_of(role))]
    if json:
        print_json(
            {
                "ok": all(one.state != "error" for one in findings),
                "findings": [asdict(one) for one in findings],
            }
        )
    else:
        table = Table("", "part", "what", "what to do")
        marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}
        for one in findings:
            table.add_row(marks[one.state], one.part, one.what, one.advice)
        out.print(table)
    return 1 if any(one.state == "error" for one in findings) else 0
