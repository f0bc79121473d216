"""``make torture``: real processes under load, everything around them broken, and nothing lost or doubled."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest
from support import seeded

SECONDS = 20
# Fewer than `make torture` has: the other tests run beside it.
CLIENTS = 48
# Starting the stack, healing it, waiting for quiet and reading the books on a machine out of breath.
AROUND_SECONDS = 180.0
# An event that kills takes half of the time by itself: a process is started some six times.
FAULTS_AT_LEAST, KINDS_AT_LEAST, PAYMENTS_AT_LEAST = 4, 4, 300
RECOVERY_MOST_SECONDS = 15.0


@pytest.mark.slow
@pytest.mark.rabbitmq
async def test_nothing_is_lost_doubled_or_wrong_whatever_breaks() -> None:
    """An even seed stands for classic queues, an odd one for quorum queues with a delivery limit."""
    seed = seeded().randrange(2**32)

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torture", "--seconds", str(SECONDS), "--seed", str(seed)),
        *("--concurrency", str(CLIENTS), "--json"),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, told = await asyncio.wait_for(process.communicate(), SECONDS + AROUND_SECONDS)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()

    assert process.returncode == 0, told.decode()
    result = msgspec.json.decode(said.splitlines()[-1])
    assert (result["lost"], result["doubled"], result["wrong"]) == (0, 0, 0)
    assert result["seed"] == seed
    assert sum(result["faults"].values()) >= FAULTS_AT_LEAST
    assert len(result["faults"]) >= KINDS_AT_LEAST
    assert result["payments"] >= PAYMENTS_AT_LEAST
    assert max(result["recoverySeconds"].values()) <= RECOVERY_MOST_SECONDS
