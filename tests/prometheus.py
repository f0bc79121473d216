"""Prometheus' own tool, and the alert rules it is asked about."""

import asyncio
import re
import shutil
from pathlib import Path

from paybell.testing.system_packages import Program

OPS = Path(__file__).parents[1] / "ops"


def _find() -> Path | None:
    found = shutil.which("promtool")
    return Path(found) if found else None


PROMTOOL = Program("promtool", _find, ("prometheus",), "install Prometheus so that `promtool` is on PATH")


async def run(promtool: Path, *arguments: str, content: bool = True) -> str:
    """Run it; return what it says, which must be that it is content unless that is the question."""
    process = await asyncio.create_subprocess_exec(
        promtool, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0 or not content, said.decode()
    return said.decode()


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", (OPS / "alerts.yml").read_text())
