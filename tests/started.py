"""A service started by ``paybell serve``, ready to be asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from serving import (
    Client,
    Process,
    fresh_user,
    process,
)
from support import until

PASSWORD_IN_URL = "hunter2hunter2"


def databases(home: Path) -> dict[str, str]:
    """Return the URLs of an embedded server's databases."""
    return {
        name: f"postgresql://postgres:@/paybell_{name}?host={home / 'postgres'}" for name in ("pay", "trade")
    }


@asynccontextmanager
async def serving(home: Path, *arguments: str, **settings: object) -> AsyncIterator[tuple[Process, Client]]:
    """Run the service on its embedded defaults and wait until it is ready."""
    with process("serve", *arguments, log=home / "log", home=home, port=0, **settings) as service:
        url = await service.url()
        secret = str(settings.get("jwt_secret") or (home / "jwt-secret").read_text())
        async with Client.open(url, secret) as client:
            await until_ready(client)
            yield service, client


async def until_ready(client: Client) -> None:
    """Wait until every part is there."""

    async def ready() -> bool:
        try:
            return (await client.get("/readyz")).status == 200
        except aiohttp.ClientError:
            return False

    await until(ready, seconds=30)


async def paid_order(client: Client) -> str:
    """Pay an order from end to end and return its id."""
    user = fresh_user()
    await client.fund(user, 100)
    order = await client.order(user, 100)
    assert (await client.pay(order["payOrderId"], user)).status == 200
    await client.until_order(order["id"], "PAID")
    return str(order["id"])


def postmaster(home: Path) -> int:
    """Return the process id of a folder's database server."""
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


async def stopped(home: Path) -> bool:
    """Say whether a folder's database server has been stopped in order."""
    return not (home / "postgres" / "postmaster.pid").exists()
