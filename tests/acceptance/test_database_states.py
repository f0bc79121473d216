"""States of a database as buyers, balancers and operators meet them."""

import pytest
import structlog
from serving import SETTINGS, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, admin, connected

from paybell.clock import SystemClock
from paybell.diagnosis.examination import examine
from paybell.serving.databases import SCHEMAS
from paybell.storage.migrate import migrate

FULL = 'could not extend file "base/5/16384": No space left on device'


async def test_with_a_full_disk_payments_answer_503_and_the_process_is_not_ready(postgres: Databases) -> None:
    """With one line in the log for all of them."""
    async with in_process(await fresh_databases(postgres)) as service:
        client, user = service.client, fresh_user()
        await client.fund(user, 1_000)
        orders = [await client.order(user) for _ in range(3)]
        async with connected(service.urls["pay"]) as rows:
            await rows.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$BEGIN RAISE EXCEPTION '{FULL}' USING ERRCODE = 'disk_full'; END$$"
            )
            await rows.execute("CREATE TRIGGER late BEFORE INSERT ON transfers EXECUTE FUNCTION refuse()")
        with structlog.testing.capture_logs() as logs:
            for order in orders:
                refused = await client.pay(order["payOrderId"], user)
                assert refused.refusal == (503, "database_unavailable")
        ready = await client.get("/readyz")
        exposed = (await client.get("/metrics")).content.decode()

    sentence = f"The database's disk is full ({FULL}); make room on its server."
    assert [line["reason"] for line in logs if line["event"] == "database_outage"] == [sentence]
    assert not [line for line in logs if line["event"] == "request_failed"]
    assert 'paybell_database_ready{database="pay"} 0.0' in exposed
    assert 'paybell_database_ready{database="trade"} 1.0' in exposed
    assert ready.refusal == (503, "not_ready")
    assert ready.json["checks"]["payDatabase"] == sentence


async def test_one_database_serves_both_with_a_schema_for_each(postgres: Databases) -> None:
    """By ``search_path`` in the two URLs."""
    await admin(postgres.pay, "DROP DATABASE IF EXISTS both_served")
    await admin(postgres.pay, "CREATE DATABASE both_served")
    beside = postgres.pay.replace("/paybell_pay", "/both_served")
    urls = {name: f"{beside}&search_path={name}" for name in SCHEMAS}
    for name, url in urls.items():
        async with connected(beside) as rows:
            await rows.execute(f"CREATE SCHEMA {name}")
        for schema in SCHEMAS[name]:
            await migrate(url, schema)
    async with in_process(urls) as service:
        client, user = service.client, fresh_user()
        await client.fund(user, 1_000)
        order = await client.order(user)
        assert (await client.pay(order["payOrderId"], user, PASSWORD)).status == 200

        await client.until_order(order["id"], "PAID")
    await admin(postgres.pay, "DROP DATABASE both_served")


@pytest.mark.parametrize("kind", ["ROLE", "DATABASE"])
async def test_doctor_compares_our_connections_with_what_the_server_allows(
    pay_url: str, trade_url: str, kind: str
) -> None:
    await admin(pay_url, "DROP ROLE IF EXISTS bounded")
    await admin(pay_url, "CREATE ROLE bounded SUPERUSER LOGIN")
    target = "ROLE bounded" if kind == "ROLE" else "DATABASE paybell_pay"
    await admin(pay_url, f"ALTER {target} CONNECTION LIMIT 7")
    given = {
        "database_url": pay_url.replace("//postgres:@", "//bounded:@"),
        "trade_database_url": trade_url,
        "jwt_secret": SETTINGS.jwt_secret,
        "pin_pepper": SETTINGS.pin_pepper,
        "port": 0,
    }
    try:
        found = [one async for one in examine(SystemClock(), {}, **given)]
    finally:
        await admin(pay_url, f"ALTER {target} CONNECTION LIMIT -1")

    warned = [one.what for one in found if one.state == "warning" and one.part == "pay database"]
    assert "each process may open 8 connections, this user may have 7 in all" in warned
