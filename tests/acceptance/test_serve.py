"""``paybell serve`` as a process: how it starts, ends, dies and comes back."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from serving import (
    PEPPER_SETTING,
    SECRET,
    Client,
    fresh_user,
    lasting,
    process,
)
from started import databases, paid_order, postmaster, serving, stopped, until_ready
from support import connected, until

pytestmark = pytest.mark.slow


async def test_one_command_serves_and_ends_in_order(home: Path) -> None:
    """On a fresh folder, with nothing set: an order is paid and marked paid; SIGTERM ends with 0."""
    async with serving(home) as (service, client):
        await paid_order(client)
        service.signal(signal.SIGTERM)
        async with lasting(10):
            code = await service.ended()

    assert code == 0
    assert not service.tracebacks
    assert service.said.count("service_stopped") == 1
    assert not (home / "postgres" / "postmaster.pid").exists()
    assert {oct((home / name).stat().st_mode & 0o777) for name in ("jwt-secret", "pin-pepper")} == {"0o600"}


async def test_ctrl_c_ends_it_too(home: Path) -> None:
    async with serving(home) as (service, _):
        service.signal(signal.SIGINT)
        code = await service.ended(15)

    assert code == 0
    assert not service.tracebacks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_nothing_acknowledged_under_load_is_lost(home: Path, number: signal.Signals) -> None:
    """Ended or killed in the middle of payments, and started again on the same folder."""
    answered: dict[str, str] = {}
    tried: dict[str, str] = {}
    statuses: list[int] = []

    async def buy(client: Client, user: str) -> None:
        while True:
            made = await client.post("/orders", client.shop, {"buyerId": user, "totalFee": 1})
            statuses.append(made.status)
            if made.status != 201:
                return
            order = made.json
            tried[order["payOrderId"]] = order["id"]
            paid = await client.pay(order["payOrderId"], user)
            statuses.append(paid.status)
            if paid.status == 200:
                answered[order["payOrderId"]] = order["id"]

    async def enough() -> bool:
        return len(answered) > 60

    # Short, because what a killed relay held is taken over when its lease ends.
    lease = {"relay_lease_seconds": 2, "publish_deadline_seconds": 1}
    async with serving(home, **lease) as (service, client):
        users = [fresh_user() for _ in range(8)]
        for user in users:
            await client.fund(user, 10_000)
        buyers = [asyncio.create_task(buy(client, user)) for user in users for _ in range(4)]
        await until(enough, seconds=60)
        service.signal(number)
        async with lasting(10):
            code = await service.ended()
        ends = await asyncio.gather(*buyers, return_exceptions=True)
    async with serving(home) as (_, client):
        for pay_order_id, order_id in answered.items():
            shown = await client.get(f"/pay-orders/{pay_order_id}", client.shop)
            assert shown.json["status"] == "TRADE_SUCCESS"
            await client.until_order(order_id, "PAID")
        paid = 0
        for pay_order_id in tried:
            shown = await client.get(f"/pay-orders/{pay_order_id}", client.shop)
            paid += shown.json["status"] == "TRADE_SUCCESS"
        left = sum([await client.balance(user) for user in users])

    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    assert set(statuses) <= {200, 201, 503}
    assert all(end is None or isinstance(end, aiohttp.ClientError) for end in ends), ends
    assert not service.tracebacks
    assert left == 8 * 10_000 - paid
    assert len(answered) <= paid <= len(tried)


async def payment_waits(watching: "asyncpg.Connection[Any]") -> bool:
    """Say whether a payment waits for a lock: it has arrived, and is not answered."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%wallets%'"
    )
    return bool(await watching.fetchval(waiting))


async def test_a_payment_in_flight_at_sigterm_is_answered(home: Path) -> None:
    async with serving(home) as (service, client):
        user = fresh_user()
        await client.fund(user, 100)
        order = await client.apply(user, 100)
        async with connected(databases(home)["pay"]) as other, connected(databases(home)["pay"]) as watching:
            held = other.transaction()
            await held.start()
            await other.execute("LOCK TABLE pay_orders IN EXCLUSIVE MODE")
            paying = asyncio.create_task(client.pay(order["id"], user))

            async def stopping() -> bool:
                return "service_stopping" in service.said

            await until(lambda: payment_waits(watching))
            service.signal(signal.SIGTERM)
            await until(stopping)
            await held.rollback()
            reply = await paying
        code = await service.ended(15)

    assert (reply.status, reply.json["status"]) == (200, "TRADE_SUCCESS")
    assert code == 0


async def test_a_request_that_cannot_end_does_not_keep_the_process(home: Path) -> None:
    """The database is frozen, and even this request is answered: within 8 s on a machine with time."""
    with process("serve", log=home / "keeper", home=home, port=0) as keeper:
        await keeper.url()
        urls = databases(home)
        settings = {
            "database_url": urls["pay"],
            "trade_database_url": urls["trade"],
            "jwt_secret": SECRET,
            "pin_pepper": PEPPER_SETTING,
        }
        async with serving(home, **settings) as (service, client):
            user = fresh_user()
            await client.fund(user, 100)
            order = await client.apply(user, 100)
            with frozen(postmaster(home)):
                paying = asyncio.create_task(client.pay(order["id"], user))
                reading = asyncio.create_task(client.get("/readyz"))
                assert (await reading).status == 503
                service.signal(signal.SIGTERM)
                async with lasting(20):
                    code = await service.ended()
                reply = await paying

    assert reply.refusal in ((503, "outcome_unknown"), (503, "database_unavailable"))
    assert reply.headers["Retry-After"] == "1"
    assert code == 0
    assert not service.tracebacks


@contextmanager
def frozen(parent: int) -> Iterator[None]:
    """Stop a process's children for a while; they keep their connections and do not answer."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    try:
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in children:
            os.kill(pid, signal.SIGCONT)


async def test_a_request_cut_off_at_the_end_is_told_that_its_outcome_is_unknown(home: Path) -> None:
    """Its table is locked by somebody else for longer than the process may wait."""
    async with serving(home) as (service, client):
        user = fresh_user()
        await client.fund(user, 100)
        order = await client.apply(user, 100)
        async with connected(databases(home)["pay"]) as other, connected(databases(home)["pay"]) as watching:
            held = other.transaction()
            await held.start()
            await other.execute("LOCK TABLE pay_orders IN EXCLUSIVE MODE")
            paying = asyncio.create_task(client.pay(order["id"], user))
            await until(lambda: payment_waits(watching))
            service.signal(signal.SIGTERM)
            reply = await paying
            await held.rollback()
        code = await service.ended(15)

    assert reply.refusal in ((503, "outcome_unknown"), (503, "database_unavailable"))
    assert code == 0
    assert not service.tracebacks


async def test_sigterm_while_it_still_starts_ends_it_too(home: Path) -> None:
    with process("serve", log=home / "log", home=home, port=0) as service:

        async def begun() -> bool:
            return (home / "pin-pepper").exists()

        await until(begun, seconds=30)
        service.signal(signal.SIGTERM)
        code = await service.ended(20)

    assert code == 0
    assert not service.tracebacks
    async with serving(home) as (_, client):
        await paid_order(client)


async def test_a_killed_service_starts_again_on_its_folder(home: Path) -> None:
    """Killed with its database, so that this one has to recover too."""
    async with serving(home) as (service, client):
        order_id = await paid_order(client)
        os.kill(postmaster(home), signal.SIGKILL)
        service.kill()
    async with serving(home) as (_, client):
        assert (await client.get(f"/orders/{order_id}", client.shop)).json["status"] == "PAID"
        await paid_order(client)


async def test_two_processes_share_one_folder(home: Path) -> None:
    """They use one database server; whoever leaves first does not take it along."""
    with process("serve", log=home / "second", home=home, port=0) as second:
        async with (
            serving(home) as (first, client),
            Client.open(await second.url(), (home / "jwt-secret").read_text()) as other,
        ):
            await until_ready(other)
            user = fresh_user()
            await client.fund(user, 100)
            order = await client.order(user, 100)
            assert (await other.pay(order["payOrderId"], user)).status == 200
            await client.until_order(order["id"], "PAID")
            first.signal(signal.SIGTERM)
            assert await first.ended(15) == 0
            await paid_order(other)
            second.signal(signal.SIGTERM)
            assert await second.ended(15) == 0
    assert not (home / "postgres" / "postmaster.pid").exists()


async def test_a_killed_service_leaves_no_database_server_behind(home: Path) -> None:
    """Unless somebody else uses it."""
    with process("serve", log=home / "second", home=home, port=0) as second:
        await second.url()
        async with serving(home) as (service, _):
            service.kill()
        async with Client.open(await second.url(), (home / "jwt-secret").read_text()) as other:
            await paid_order(other)
        second.kill()
        await until(partial(stopped, home), seconds=30)

    async def in_order() -> bool:  # the last line follows the removal of its file
        return "database system is shut down" in (home / "postgres" / "log").read_text()

    await until(in_order)
    async with serving(home) as (_, client):
        await paid_order(client)
    assert await stopped(home)
