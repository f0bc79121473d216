"""``make fuzz``: requests from the OpenAPI document, hostile connections, and nothing that should not be."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import seeded

# Starting and stopping a service twice, and schemathesis three times, on a machine out of breath.
AROUND_SECONDS = 400.0


async def fuzz(*arguments: str) -> dict[str, Any]:
    """Run it with a fresh seed, make sure that it found nothing, and return its result."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fuzz", "--json", "--seed", str(seeded().randrange(2**32)), *arguments),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, told = await asyncio.wait_for(process.communicate(), AROUND_SECONDS)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, told.decode()
    result: dict[str, Any] = msgspec.json.decode(said.splitlines()[-1])
    assert result["wrong"] == []
    return result


@pytest.mark.slow
async def test_every_answer_is_one_that_the_openapi_document_describes() -> None:
    assert (await fuzz("--only", "requests", "--seconds", "1", "--cases", "40"))["requests"] >= 40


@pytest.mark.slow
async def test_payments_go_on_beside_a_thousand_hostile_connections() -> None:
    """How much of their rate they keep is for ``make fuzz`` on a quiet machine."""
    result = await fuzz("--only", "connections", "--seconds", "6", "--rate-least", "0.1")

    assert set(result["kept"]) == {"slow", "unread", "odd"}
