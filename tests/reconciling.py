"""``paybell reconcile --channel`` as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def reconcile(url: str, name: str, bill: Path | None, *arguments: str, **more: str) -> tuple[int, str]:
    """Run it on a database, with a file or without; return its exit code and what it said."""
    file = [] if bill is None else ["--file", str(bill)]
    command = [sys.executable, "-m", "paybell", "reconcile", "--channel", name, *file, "--json"]
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, *arguments],
        env={
            **os.environ,
            **more,
            "PAYBELL_DATABASE_URL": url,
            "PAYBELL_TRADE_DATABASE_URL": url,
            "PAYBELL_JWT_SECRET": "x" * 32,
            "PAYBELL_PIN_PEPPER": "x" * 32,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr
