"""A service whose role owns nothing: all it does works, and history is out of its reach."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest
from serving import PEPPER_SETTING, SECRET, Service, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, connected, until

from paybell.clock import SystemClock
from paybell.diagnosis.examination import examine
from paybell.messaging.tables import listener_rules
from paybell.pay.tables import retention_rules
from paybell.serving.databases import SCHEMAS
from paybell.storage import Database
from paybell.storage.retention import Cleaner
from paybell.storage.runtime_role import grant, owned_tables
from paybell.verification.ledger_check import verify

pytestmark = pytest.mark.slow

ROLE = "paybell runtime"  # with a space, so that quoting is tried too


@dataclass(frozen=True, slots=True)
class Roles:
    """The databases' URLs, as their owner and as the role that serves."""

    owner: dict[str, str]
    runtime: dict[str, str]


@pytest.fixture
async def roles(postgres: Databases) -> Roles:
    """Fresh databases with their rights given."""
    owner = await fresh_databases(postgres)
    async with connected(owner["pay"]) as rows:
        if not await rows.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", ROLE):
            await rows.execute(f'CREATE ROLE "{ROLE}" LOGIN')
    for name, schemas in SCHEMAS.items():
        assert await grant(owner[name], schemas, ROLE) == ""
    runtime = {name: url.replace("postgres:@", "paybell%20runtime:@") for name, url in owner.items()}
    return Roles(owner, runtime)


async def test_everything_the_service_does_works_for_a_role_that_owns_nothing(roles: Roles) -> None:
    """Payment, refund, closing, cancelling, the loops behind them, retention, and the check of the books."""
    async with in_process(roles.runtime) as service:
        client, user = service.client, fresh_user()
        await client.fund(user, 1_000)
        paid, cancelled = [await client.order(user, 100) for _ in range(2)]
        assert (await client.pay(paid["payOrderId"], user)).status == 200
        await client.until_order(paid["id"], "PAID")
        refund = {"amount": 40}
        reply = await client.send(
            "POST", f"/pay-orders/{paid['payOrderId']}/refunds", client.shop, refund,
            headers={"Idempotency-Key": "1"},
        )  # fmt: skip
        assert reply.status == 201
        await client.until_order(paid["id"], "PARTIALLY_REFUNDED")
        assert (await client.post(f"/orders/{cancelled['id']}/cancel", client.token(user))).status == 200
        change = {"payPassword": PASSWORD, "newPayPassword": "654321"}
        path = f"/wallets/{user}/pay-password"
        assert (await client.send("PUT", path, client.token(user), change)).status == 204
        assert (await client.post(f"{path}/unlock", client.shop)).status == 204
        assert (await client.post("/ops/reconcile", client.shop, {"repair": True})).status == 200
        due = await client.apply(user, 1, expiresInSeconds=1)
        await until(lambda: _closed(service, due["payOrderId"]))
        await until(lambda: _quiet(roles.owner["pay"]))

    async with opened(roles.runtime["pay"]) as pay, opened(roles.runtime["trade"]) as trade:
        assert await Cleaner(pay, retention_rules(idempotency_days=-1, inbox_days=-1)).run_once() > 0
        assert await Cleaner(trade, listener_rules(inbox_days=-1, dead_letter_days=-1)).run_once() > 0
        found = await verify(pay, lambda _: None)
        assert (found.findings, found.rows["sealed transfers"]) == ([], 3)
        assert await owned_tables(pay) == (ROLE, 0)
    async with opened(roles.owner["pay"]) as pay:
        assert (await owned_tables(pay))[1] > 10


async def _closed(service: Service, pay_order_id: str) -> bool:
    reply = await service.client.get(f"/pay-orders/{pay_order_id}", service.client.shop)
    return bool(reply.json["status"] == "TRADE_CLOSED")


async def _quiet(url: str) -> bool:
    """Say whether every loop has done its work."""
    async with connected(url) as rows:
        return bool(
            await rows.fetchval(
                "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM pending_postings) = 0 "
                "AND (SELECT coalesce(sum(cardinality(ids)), 0) FROM transfer_seals) = 3"
            )
        )


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    async with Database.open(url, SystemClock(), connections=2) as database:
        yield database


FORBIDDEN = [
    "TRUNCATE transfers",
    "TRUNCATE transfer_seals",
    "TRUNCATE operator_actions",
    "UPDATE transfers SET amount = 1",
    "DELETE FROM transfers",
    "UPDATE transfer_seals SET digest = digest",
    "DELETE FROM transfer_seals",
    "DELETE FROM operator_actions",
    "UPDATE refunds SET amount = 1",
    "UPDATE pay_orders SET payee_account = 1",
    "UPDATE pay_orders SET amount = 1",
    "DELETE FROM pay_orders",
    "UPDATE accounts SET owner_id = '8'",
    "DELETE FROM accounts",
    "ALTER TABLE transfers DISABLE TRIGGER ALL",
    "DROP TRIGGER transfers_are_immutable ON transfers",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TABLE mine (n int)",
    "DROP TABLE transfers CASCADE",
    "SET session_replication_role = replica",
    "UPDATE paybell_schema_versions SET version = '9999'",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_history_and_schema_are_out_of_the_serving_roles_reach(roles: Roles, statement: str) -> None:
    async with connected(roles.runtime["pay"]) as rows:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await rows.execute(statement)


async def test_every_table_and_view_has_rights_of_its_own(roles: Roles) -> None:
    """A new one must say what the serving role may do with it."""
    for url in roles.owner.values():
        async with connected(url) as rows:
            missing = await rows.fetch(
                "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
                "AND relkind IN ('r', 'v') AND NOT has_table_privilege($1, oid, 'SELECT')",
                ROLE,
            )
        assert missing == []


async def test_where_rights_cannot_be_given_the_sql_is_returned(roles: Roles) -> None:
    """For a role that does not exist, and to whoever does not own the tables."""
    for url, role, first in (
        (roles.owner["pay"], "no such role", 'CREATE ROLE "no such role" LOGIN;'),
        (roles.runtime["pay"], ROLE, "REVOKE ALL ON ALL TABLES IN SCHEMA public"),
    ):
        sql = await grant(url, SCHEMAS["pay"], role)
        assert sql.startswith(first)
        assert f'GRANT SELECT, INSERT ON transfers TO "{role}";' in sql


@pytest.mark.parametrize(("who", "state"), [("owner", "warning"), ("runtime", "ok")])
async def test_doctor_warns_of_a_role_that_owns_tables(roles: Roles, who: str, state: str) -> None:
    urls: dict[str, str] = getattr(roles, who)
    environment = {
        "PAYBELL_DATABASE_URL": urls["pay"],
        "PAYBELL_TRADE_DATABASE_URL": urls["trade"],
        "PAYBELL_JWT_SECRET": SECRET,
        "PAYBELL_PIN_PEPPER": PEPPER_SETTING,
    }

    found = [one async for one in examine(SystemClock(), environment)]

    said = [one for one in found if "own" in one.what and one.part.endswith("database")]
    assert [(one.part, one.state) for one in said] == [("pay database", state), ("trade database", state)]
