"""Several processes of one service: workers that share a port, and a process for each role."""

import os
import signal
import tempfile
from functools import partial
from pathlib import Path

import pytest
from serving import (
    PEPPER_SETTING,
    SECRET,
    Client,
    Process,
    fresh_user,
    lasting,
    process,
    run,
)
from started import databases, paid_order, serving, stopped, until_ready
from support import until

from paybell.serving.counts_folder import counts_folder

pytestmark = pytest.mark.slow


def workers_of(service: Process) -> set[int]:
    """Return the process ids of a service's workers."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text()
    return {int(pid) for pid in children.split()}


def gone(pid: int) -> bool:
    """Say whether a process is no more, or only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_workers_share_a_port_and_their_counts_and_are_replaced(home: Path) -> None:
    async with serving(home, "--workers", "2") as (service, client):

        async def two() -> bool:
            return len(workers_of(service)) == 2

        await until(two)
        before = workers_of(service)
        for _ in range(6):
            async with Client.open(client.url, (home / "jwt-secret").read_text()) as another:
                await paid_order(another)
        counted = [await counts(client.url) for _ in range(4)]
        os.kill(min(before), signal.SIGKILL)

        async def replaced() -> bool:
            return len(workers_of(service)) == 2 and min(before) not in workers_of(service)

        await until(replaced)
        await until_ready(client)
        async with Client.open(client.url, (home / "jwt-secret").read_text()) as another:
            await until_ready(another)
            await paid_order(another)
        after = await counts(client.url)
        workers = workers_of(service)
        service.signal(signal.SIGTERM)
        async with lasting(10):
            code = await service.ended()

    assert counted == [6.0] * 4
    assert after == 7.0
    assert code == 0
    assert all(gone(pid) for pid in before | workers)
    assert not service.tracebacks


async def counts(url: str) -> float:
    """Return how many payments a service says were made, over a connection of its own."""
    async with Client.open(url) as client:
        text = (await client.get("/metrics")).content.decode()
    lines = [
        line for line in text.splitlines() if line.startswith('paybell_payments_total{outcome="succeeded"}')
    ]
    return float(lines[0].split()[1]) if lines else 0.0


async def test_workers_end_when_their_parent_is_killed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after them the parent's database server; the folder of their counts goes with the next start."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with serving(home, "--workers", "2") as (service, client):

        async def two() -> bool:
            return len(workers_of(service)) == 2

        await until(two)
        await paid_order(client)
        workers = workers_of(service)
        (counts,) = folders_of_counts(tmp_path)
        with counts_folder():
            assert counts.exists()  # it is in use
        service.kill()

        async def all_gone() -> bool:
            return all(gone(pid) for pid in workers)

        await until(all_gone, seconds=15)
        await until(partial(stopped, home))
        with counts_folder():
            assert not counts.exists()
    assert not service.tracebacks
    assert not folders_of_counts(tmp_path)


def folders_of_counts(folder: Path) -> list[Path]:
    """Return where the workers of each supervisor add their counts up."""
    return list(folder.glob("paybell-metrics-*"))


@pytest.mark.rabbitmq
async def test_three_roles_as_three_processes_pay_an_order_over_rabbitmq(
    home: Path, rabbitmq_url: str
) -> None:
    """The order service knows pay by HTTP and by message only; each has its own database."""
    shared = {
        "home": home,
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
        "broker_url": rabbitmq_url,
        "port": 0,
    }
    code, said = await run("migrate", log=home / "migrate", home=home)
    assert code == 0, said
    with process("serve", "--role", "api", log=home / "keeper", home=home, port=0):
        pay, trade = databases(home)["pay"], databases(home)["trade"]
        with process("serve", "--role", "api", log=home / "api", database_url=pay, **shared) as api:
            pay_url = await api.url()
            with (
                process("serve", "--role", "relay", log=home / "relay", database_url=pay, **shared) as relay,
                process(
                    "serve",
                    "--role",
                    "trade",
                    log=home / "trade",
                    trade_database_url=trade,
                    pay_url=pay_url,
                    **shared,
                ) as trading,
            ):
                async with Client.open(pay_url) as buyer, Client.open(await trading.url()) as shop:
                    await until_ready(buyer)
                    await until_ready(shop)
                    user = fresh_user()
                    await buyer.fund(user, 100)
                    order = await shop.order(user, 100)
                    reply = await buyer.pay(order["payOrderId"], user)
                    await shop.until_order(order["id"], "PAID")
                    not_here = await shop.get(f"/pay-orders/{order['payOrderId']}", shop.shop)
                    async with Client.open(await relay.url()) as relaying:
                        ready = await relaying.get("/readyz")
    assert reply.status == 200
    assert not_here.refusal == (404, "not_found")
    assert ready.json["checks"] == {"payDatabase": "ok", "broker": "ok"}
    assert not api.tracebacks + relay.tracebacks + trading.tracebacks
