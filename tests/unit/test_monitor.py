"""The monitor: a sample every time for whoever watches, every other time for nobody."""

import asyncio
from datetime import UTC, datetime

from paybell.operations.monitor import Monitor
from paybell.operations.samples import Sample


async def take() -> Sample:
    return Sample(
        at=datetime.now(UTC),
        **dict.fromkeys(set(Sample.__struct_fields__) - {"at", "troubles"}),  # type: ignore[arg-type]
    )


async def test_while_nobody_watches_every_other_sample_is_left_out() -> None:
    monitor = Monitor(take)
    for _ in range(6):
        assert await monitor.look() == 0

    assert len(monitor.history) == 3


async def test_whoever_watches_gets_a_sample_each_time() -> None:
    monitor, came = Monitor(take), list[str]()

    async def watch() -> None:
        async for name, _ in monitor.follow(4):
            came.append(name)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    for _ in range(4):
        await monitor.look()
        await asyncio.sleep(0)
    await asyncio.wait_for(watching, 5)

    assert came == ["history", *["sample"] * 4]
