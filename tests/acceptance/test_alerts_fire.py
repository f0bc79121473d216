"""Each alert rule fires on what the processes of the documented layout really show, when its state is made.

Two scrapes of a state are handed to Prometheus' own tool as if it went on like that for half an hour: gauges
and counters move on at the pace they had between the two, and a process that does not answer is ``up`` 0.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from amqp import stranger
from prometheus import OPS, PROMTOOL, alerts, run
from prometheus_client.parser import text_string_to_metric_families
from serving import (
    PEPPER_SETTING,
    SECRET,
    Client,
    Process,
    fresh_databases,
    fresh_number,
    fresh_user,
    process,
)
from support import Databases, connected, until

from paybell.messaging.events import PAY_DIRECT, PAY_EVENTS, PAY_SUCCESS, TRADE_QUEUE
from paybell.testing.system_packages import ensure_installed

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq, pytest.mark.asyncio(loop_scope="module")]

ROLES = ("api", "background", "trade", "ops")
LEASE_SECONDS = 3.0
CONNECTIONS = 32
Series = Mapping[str, float]
# A channel whose notices may be sent; nobody pays by it.
CARDS = {
    "stripe_account": "acct_1",
    "stripe_api_keys": "sk_test_" + "a" * 24,
    "stripe_webhook_secrets": "whsec_" + "a" * 24,
    "stripe_url": "http://127.0.0.1:9",
    "notify_url": "http://127.0.0.1:9",
}


@dataclass
class Layout:
    """One process for each role, as `docs/how-to/production.md` has them."""

    urls: Mapping[str, str]
    broker: str
    folder: Path
    promtool: Path
    processes: dict[str, Process] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, *roles: str) -> None:
        """Start processes, and wait until they are ready."""
        for role in roles:
            settings = {
                "host": "127.0.0.1",
                "port": (self.addresses.get(role) or ":0").rpartition(":")[2],
                "database_url": self.urls["pay"],
                "trade_database_url": self.urls["trade"],
                "jwt_secret": SECRET,
                "pin_pepper": PEPPER_SETTING,
                "relay_lease_seconds": LEASE_SECONDS,
                "publish_deadline_seconds": LEASE_SECONDS / 2,
                "http_connections": CONNECTIONS,
                "reconcile_seconds": 1,
            }
            if role != "api":  # with a broker it would publish what it writes itself, whatever the relay does
                settings["broker_url"] = self.broker
            if role == "api":
                settings |= CARDS
            if role == "trade":
                settings["pay_url"] = self.addresses["api"]
            opened = process("serve", "--role", role, log=self.folder / f"{role}.log", **settings)
            self.processes[role] = self.stack.enter_context(opened)
            if role == "api":  # the others may ask it
                self.addresses[role] = await self.processes[role].url()
        for role in roles:
            self.addresses[role] = await self.processes[role].url()
            self.clients[role] = await self.stack.enter_async_context(Client.open(self.addresses[role]))

    def kill(self, role: str) -> None:
        """End a process without a goodbye."""
        self.processes[role].kill()

    async def order(self, user: str) -> dict[str, str]:
        """Create an order of somebody with money."""
        await self.clients["api"].fund(user, 1_000)
        order: dict[str, str] = await self.clients["trade"].order(user)
        return order

    async def pay(self, order: Mapping[str, str], user: str) -> int:
        """Try to pay an order; return the status."""
        return (await self.clients["api"].pay(order["payOrderId"], user)).status

    async def buy(self) -> None:
        """Order, pay, and wait until the order knows it."""
        user = fresh_user()
        order = await self.order(user)
        assert await self.pay(order, user) == 200
        await self.clients["trade"].until_order(order["id"], "PAID")
        await self.until_calm()

    async def scrape(self) -> tuple[float, Series]:
        """Ask every process, as Prometheus does; return when, and each series with the labels it adds."""
        found: dict[str, float] = {}
        async with aiohttp.ClientSession() as session:
            for role, address in self.addresses.items():
                added = {"job": "paybell", "instance": role}
                text = await _metrics(session, address)
                found[_series("up", added)] = 0.0 if text is None else 1.0
                for family in text_string_to_metric_families(text or ""):
                    found |= {_series(one.name, one.labels | added): one.value for one in family.samples}
        return time.monotonic(), found

    async def until_shown(self, name: str, holds: Callable[[float], bool]) -> None:
        """Wait until every process that shows this metric shows such a value."""

        async def shown() -> bool:
            _, found = await self.scrape()
            values = [value for series, value in found.items() if series.startswith(name)]
            return bool(values) and all(holds(value) for value in values)

        await until(shown, seconds=60)

    async def until_calm(self) -> None:
        """Wait until all processes answer, nothing waits, and the last comparison found nothing."""
        await self.until_shown("up", lambda up: up == 1)
        await self.until_shown("paybell_outbox_pending", lambda pending: pending == 0)
        await self.until_shown("paybell_reconcile_differences", lambda found: found == 0)

    async def firing(self, during: Callable[[], Awaitable[object]]) -> set[str]:
        """Return the alerts that fire when it goes on as it does between two scrapes."""
        (began, before), _, (ended, after) = await self.scrape(), await during(), await self.scrape()
        pace = 60 / (ended - began)
        series = [
            {"series": name, "values": f"{value:.6f}{(value - before.get(name, value)) * pace:+.6f}x40"}
            for name, value in after.items()
        ]
        return await _firing(self.promtool, self.folder, series)


async def _metrics(session: aiohttp.ClientSession, address: str) -> str | None:
    try:
        async with session.get(f"{address}/metrics") as response:
            return await response.text() if response.status == 200 else None
    except aiohttp.ClientError:
        return None


def _series(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in sorted(labels.items())) + "}"


async def _firing(promtool: Path, folder: Path, series: Sequence[Mapping[str, str]]) -> set[str]:
    """Ask the tool which alerts fire after half an hour of this; it names those it was told wrongly of."""
    expected = {"labels": "{}", "value": 1}
    asked = [
        {
            "expr": f"count(ALERTS{{alertname='{name}',alertstate='firing'}}) > bool 0 or vector(0)",
            "eval_time": "30m",
            "exp_samples": [expected],
        }
        for name in alerts()
    ]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    rules = {"rule_files": [str(OPS / "alerts.yml")], "evaluation_interval": "1m", "tests": [test]}
    (folder / "fire.yml").write_text(json.dumps(rules))
    said = await run(promtool, "test", "rules", str(folder / "fire.yml"), content=False)
    assert "got:" in said or "SUCCESS" in said, said
    return set(alerts()) - set(re.findall(r"alertname='(\w+)'", said))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def layout(
    postgres: Databases, rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Layout]:
    """The documented processes on real databases and a real RabbitMQ, all well."""
    promtool = Path(ensure_installed(PROMTOOL, print))
    folder = tmp_path_factory.mktemp("layout")
    made = Layout(await fresh_databases(postgres), rabbitmq_url, folder, promtool)
    async with made.stack:
        await made.start(*ROLES)
        await made.buy()
        yield made


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def calm(layout: Layout) -> None:
    """Begin with what the test before has left behind it."""
    await layout.until_calm()


@asynccontextmanager
async def slowed(url: str, table: str, event: str, statement: str) -> AsyncIterator[None]:
    """Let every statement of this kind do something first: wait, or find the disk full."""
    async with connected(url) as rows:
        await rows.execute(
            "CREATE FUNCTION first_this() RETURNS trigger LANGUAGE plpgsql "
            f"AS $$BEGIN {statement}; RETURN NULL; END$$"
        )
        await rows.execute(
            f"CREATE TRIGGER first_this BEFORE {event} ON {table} EXECUTE FUNCTION first_this()"
        )
    try:
        yield
    finally:
        async with connected(url) as rows:
            await rows.execute("DROP FUNCTION first_this CASCADE")


async def test_nothing_fires_while_payments_are_made_and_heard(layout: Layout) -> None:
    assert await layout.firing(layout.buy) == set()


async def test_a_dead_relay_is_seen_by_the_processes_that_live(layout: Layout) -> None:
    buyers = [fresh_user() for _ in range(2)]
    orders = [await layout.order(user) for user in buyers]
    layout.kill("background")
    assert await layout.pay(orders[0], buyers[0]) == 200

    found = await layout.firing(lambda: layout.pay(orders[1], buyers[1]))

    await layout.start("background")
    await layout.clients["trade"].until_order(orders[1]["id"], "PAID")
    assert found == {"PaybellDown", "PaybellNoRelay", "PaybellOutboxOld", "PaybellNotHeard"}


async def test_a_dead_order_service_does_not_hear(layout: Layout) -> None:
    user = fresh_user()
    order = await layout.order(user)
    layout.kill("trade")

    async def pay_and_publish() -> None:
        assert await layout.pay(order, user) == 200
        await layout.until_shown("paybell_outbox_pending", lambda pending: pending == 0)

    found = await layout.firing(pay_and_publish)

    await layout.start("trade")
    await layout.clients["trade"].until_order(order["id"], "PAID")
    assert found == {"PaybellDown", "PaybellNotHeard"}


async def test_what_is_tried_again_and_what_was_given_up(layout: Layout) -> None:
    """A thousand unsigned numbers, about which pay is to be asked while it is away, and then says no."""
    layout.kill("api")
    with stranger(layout.broker) as other:
        for _ in range(1_001):
            other.publish(PAY_DIRECT.name, PAY_SUCCESS, str(fresh_number()).encode())
    await layout.until_shown(
        'paybell_failed_deliveries{instance="trade",job="paybell",state="retry"}', lambda n: n > 1_000
    )

    away = await layout.firing(lambda: asyncio.sleep(0.1))

    await layout.start("api")
    async with connected(layout.urls["trade"]) as rows:
        await rows.execute("UPDATE failed_deliveries SET due_at = now() WHERE state = 'retry'")
    await layout.until_shown(
        'paybell_failed_deliveries{instance="ops",job="paybell",state="retry"}', lambda n: n == 0
    )
    given_up = await layout.firing(lambda: asyncio.sleep(0.1))
    async with connected(layout.urls["trade"]) as rows:
        await rows.execute("DELETE FROM failed_deliveries")
    assert away == {"PaybellDown", "PaybellRetriesGrow"}
    assert given_up == {"PaybellDeadLetters"}


async def test_messages_that_no_queue_takes(layout: Layout) -> None:
    async def lose() -> None:
        with stranger(layout.broker) as other:
            other.channel.queue_unbind(TRADE_QUEUE, PAY_DIRECT.name, PAY_SUCCESS)
        await layout.buy()

    assert await layout.firing(lose) == {"PaybellReturned"}


async def test_a_queue_of_others_that_is_full(layout: Layout) -> None:
    with stranger(layout.broker) as other:
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        other.channel.queue_declare("somebody-elses", arguments=full)
        other.channel.queue_bind("somebody-elses", PAY_EVENTS.name, PAY_SUCCESS)
        await layout.buy()
        await layout.buy()  # the first one fills it
        await layout.until_shown("paybell_refused_events", lambda waiting: waiting > 0)

        found = await layout.firing(lambda: asyncio.sleep(0.1))

        other.channel.queue_delete("somebody-elses")
    async with connected(layout.urls["pay"]) as rows:
        await rows.execute("DELETE FROM refused_events; DELETE FROM refused_routes")
    assert found == {"PaybellEventsRefused"}


async def test_books_that_differ(layout: Layout) -> None:
    await layout.buy()
    async with connected(layout.urls["trade"]) as rows:
        number = await rows.fetchval(
            "UPDATE orders SET total_fee = total_fee + 1 WHERE id = (SELECT max(id) FROM orders) RETURNING id"
        )
        await layout.until_shown("paybell_reconcile_differences", lambda found: found == 1)

        found = await layout.firing(lambda: asyncio.sleep(0.1))

        await rows.execute("UPDATE orders SET total_fee = total_fee - 1 WHERE id = $1", number)
    assert found == {"PaybellDifferences"}


async def test_a_full_disk(layout: Layout) -> None:
    user = fresh_user()
    order = await layout.order(user)
    full = "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'"
    async with slowed(layout.urls["pay"], "transfers", "INSERT", full):
        assert await layout.pay(order, user) == 503

        found = await layout.firing(lambda: layout.pay(order, user))

    assert await layout.pay(order, user) == 200
    await layout.until_shown("paybell_database_ready", lambda ready: ready == 1)
    assert found == {"PaybellPaymentsFail", "PaybellDatabaseNotReady"}


async def test_a_slow_database(layout: Layout) -> None:
    async with slowed(layout.urls["pay"], "transfers", "INSERT", "PERFORM pg_sleep(0.7)"):
        found = await layout.firing(layout.buy)

    assert found == {"PaybellSettleSlow"}


async def test_a_snapshot_that_is_held(layout: Layout) -> None:
    async with connected(layout.urls["pay"]) as rows, rows.transaction(isolation="repeatable_read"):
        await rows.fetchval("SELECT count(*) FROM outbox")

        assert await layout.firing(layout.buy) == {"PaybellSnapshotOld"}


async def test_a_relay_that_is_slower_than_its_lease(layout: Layout) -> None:
    user = fresh_user()
    order = await layout.order(user)

    async def lose_the_lease() -> None:
        async with slowed(layout.urls["pay"], "outbox", "DELETE", f"PERFORM pg_sleep({LEASE_SECONDS + 1})"):
            assert await layout.pay(order, user) == 200
            await layout.until_shown(
                'paybell_outbox_leases_lost_total{instance="background"', lambda lost: lost > 0
            )
        await layout.until_shown("paybell_outbox_pending", lambda pending: pending == 0)

    assert await layout.firing(lose_the_lease) == {"PaybellLeasesLost"}


async def test_a_payment_that_no_channel_can_explain(layout: Layout) -> None:
    order = await layout.order(fresh_user())
    async with connected(layout.urls["pay"]) as rows:
        attempt = await rows.fetchval(
            "INSERT INTO attempts SELECT id + 1, id, 'balance', 'call', 'MANUAL', amount, currency, 'w', "
            "created_at, expires_at, created_at, NULL, 1, '', '', '', NULL, '', '', '' "
            "FROM pay_orders WHERE id = $1 RETURNING id",
            int(order["payOrderId"]),
        )
        found = await layout.firing(lambda: asyncio.sleep(0.1))

        await rows.execute("UPDATE attempts SET state = 'REFUSED' WHERE id = $1", attempt)
    assert found == {"PaybellAttemptsManual"}


async def test_a_payment_that_is_disputed(layout: Layout) -> None:
    order = await layout.order(fresh_user())
    async with connected(layout.urls["pay"]) as rows:
        await rows.execute(
            "WITH late AS (INSERT INTO attempts SELECT id + 1, id, 'stripe', 'window', 'LATE_SUCCESS', "
            "amount, currency, 'w', created_at, expires_at, created_at, NULL, 1, '', '', '', 'pi_1', '', '', "
            "'' FROM pay_orders WHERE id = $1 RETURNING id) INSERT INTO channel_disputes "
            "SELECT 'stripe', 'dp_1', id, 1, 'CNY', '', 'needs_response', now() FROM late",
            int(order["payOrderId"]),
        )
        found = await layout.firing(lambda: asyncio.sleep(0.1))

        await rows.execute("UPDATE channel_disputes SET closed_at = now()")
    assert found == {"PaybellDisputes"}


async def test_a_flood_of_notices_that_nobody_has_signed(layout: Layout) -> None:
    async def flood() -> None:
        notice = f"{layout.addresses['api']}/channels/stripe/notices"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:

            async def send() -> int:
                async with session.post(notice, data=b"{}") as response:
                    return response.status

            assert 200 not in await asyncio.gather(*(send() for _ in range(200)))

    assert await layout.firing(flood) == {"PaybellNoticesTurnedAway"}


async def test_a_process_that_takes_no_more_connections(layout: Layout) -> None:
    host, _, port = layout.addresses["api"].removeprefix("http://").rpartition(":")

    async def come_in_numbers() -> None:
        idle = [socket.create_connection((host, int(port))) for _ in range(2 * CONNECTIONS)]
        idle[-1].settimeout(30)
        await asyncio.to_thread(idle[-1].recv, 1)  # it is refused, and so told
        for one in idle:
            one.close()
        await layout.until_calm()

    assert await layout.firing(come_in_numbers) == {"PaybellConnectionsFull"}


def expected() -> set[str]:
    """Return the alerts that the tests above expect, each exactly."""
    return set(re.findall(r'"(Paybell[A-Z]\w+)"', Path(__file__).read_text()))


async def test_every_rule_is_made_to_fire_here() -> None:
    assert expected() == set(alerts())
