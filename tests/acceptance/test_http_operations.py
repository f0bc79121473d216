"""Health, readiness, metrics and the OpenAPI document."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families
from serving import (
    PEPPER_SETTING,
    SECRET,
    SETTINGS,
    Client,
    Line,
    Service,
    fresh_databases,
    fresh_user,
    in_process,
    process,
)
from support import Databases, connected, until

from paybell.pay.status import PayStatus
from paybell.testing.ports import free_port
from paybell.trade.model import OrderStatus
from paybell.trade.service import TradeService

pytestmark = pytest.mark.asyncio(loop_scope="session")

METHODS = ("get", "post", "put", "patch", "delete")


async def test_a_process_that_answers_is_healthy(http: Client) -> None:
    reply = await http.get("/healthz")

    assert (reply.status, reply.json) == (200, {"status": "ok"})


async def test_a_ready_service_names_every_part_it_needs(http: Client) -> None:
    async def ready() -> bool:
        return (await http.get("/readyz")).status == 200

    await until(ready)  # the listener subscribes a moment after the start

    assert (await http.get("/readyz")).json == {
        "status": "ready",
        "checks": {"payDatabase": "ok", "broker": "ok", "tradeDatabase": "ok", "listener": "ok"},
    }


async def test_a_process_needs_only_the_parts_of_its_roles(postgres: Databases) -> None:
    """An api process is ready without a broker: paying does not wait for one."""
    async with in_process(await fresh_databases(postgres), roles=frozenset({"api"})) as api:
        reply = await api.client.get("/readyz")
        orders = await api.client.get("/orders/1", api.client.shop)

    assert reply.json == {"status": "ready", "checks": {"payDatabase": "ok"}}
    assert orders.refusal == (404, "not_found")


async def test_a_database_that_goes_away_is_waited_out(postgres: Databases, tmp_path: Path) -> None:
    """503 for what needs it, health and metrics go on, and everything is back without a restart."""
    line = Line(await fresh_databases(postgres), tmp_path)
    async with in_process(line.urls) as service:
        client, user = service.client, fresh_user()
        await client.fund(user, 100)
        order = await client.order(user, 100)

        async def readiness(status: int) -> dict[str, Any]:
            async def shown() -> bool:
                return (await client.get("/readyz")).status == status

            await until(shown)
            return (await client.get("/readyz")).json

        await line.cut()
        away = await readiness(503)
        refusals = [
            await client.pay(order["payOrderId"], user),
            await client.get(f"/orders/{order['id']}", client.token(user)),
            await client.get(f"/wallets/{user}", client.token(user)),
            await client.top_up(user, 1, "k"),
            await client.post("/orders", client.shop, {"buyerId": user, "totalFee": 1}),
            await client.post(f"/pay-orders/{order['payOrderId']}/close", client.shop),
        ]
        others = [await client.get("/healthz"), await client.get("/metrics")]
        line.mend()
        back = await readiness(200)
        paid = await client.pay(order["payOrderId"], user)
        await client.until_order(order["id"], "PAID")

    assert (away["code"], away["status"]) == ("not_ready", 503)
    assert set(away["checks"]) == {"payDatabase", "broker", "tradeDatabase", "listener"}
    assert away["checks"]["payDatabase"] != "ok" != away["checks"]["tradeDatabase"]
    assert {reply.refusal for reply in refusals} == {(503, "database_unavailable")}
    assert {reply.headers["Retry-After"] for reply in refusals} == {"1"}
    assert [reply.status for reply in others] == [200, 200]
    assert set(back["checks"].values()) == {"ok"}
    assert paid.status == 200


async def test_not_ready_is_told_in_chinese_too(postgres: Databases, tmp_path: Path) -> None:
    line = Line(await fresh_databases(postgres), tmp_path)
    async with in_process(line.urls, roles=frozenset({"api"})) as service:
        await line.cut()
        reply = await service.client.send("GET", "/readyz", headers={"Accept-Language": "zh-CN"})

    assert reply.refusal == (503, "not_ready")
    assert reply.json["detail"] == "服务尚未就绪\uff0c详见 checks"
    assert reply.headers["Retry-After"] == "1"


async def samples(client: Client) -> Mapping[str, float]:
    """Return the metrics by name and labels."""
    reply = await client.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.content.decode())
        for sample in family.samples
    }


async def test_every_metric_is_there_from_the_start(postgres: Databases) -> None:
    """A rate needs a zero to rise from."""
    async with in_process(await fresh_databases(postgres)) as service:
        found = await samples(service.client)

    assert {name: found.get(name) for name in _EXPECTED} == dict.fromkeys(_EXPECTED, 0.0)


_EXPECTED = (
    "paybell_payments_total[succeeded]",
    "paybell_payments_total[insufficient_balance]",
    "paybell_payments_total[wrong_pay_password]",
    "paybell_settle_batch_size_count",
    "paybell_settle_seconds_count",
    "paybell_outbox_pending",
    "paybell_outbox_oldest_age_seconds",
    "paybell_confirms_in_flight",
    "paybell_published_messages_total[confirmed]",
    "paybell_published_messages_total[returned]",
    "paybell_published_messages_total[refused]",
    "paybell_published_messages_total[unknown]",
    "paybell_listener_events_total[applied]",
    "paybell_listener_events_total[duplicate]",
    "paybell_listener_events_total[failed]",
    "paybell_listener_events_total[dead]",
    "paybell_channel_notices_total[taken]",
    "paybell_channel_notices_total[turned_away]",
    "paybell_failed_deliveries[dead]",
    "paybell_failed_deliveries[retry]",
)


async def test_payments_are_counted_by_outcome_and_followed_to_the_order_service(
    postgres: Databases,
) -> None:
    async with in_process(await fresh_databases(postgres)) as service:
        client, user = service.client, fresh_user()
        await client.fund(user, 100)
        order, dear = await client.order(user, 100), await client.order(user, 1)
        await client.pay(order["payOrderId"], user, "000000")
        await client.pay(order["payOrderId"], user)
        await client.pay(dear["payOrderId"], user)
        await client.until_order(order["id"], "PAID")

        async def published() -> bool:
            return (await samples(client))["paybell_published_messages_total[confirmed]"] == 2

        await until(published)
        found = await samples(client)

    assert found["paybell_payments_total[succeeded]"] == 1
    assert found["paybell_payments_total[wrong_pay_password]"] == 1
    assert found["paybell_payments_total[insufficient_balance]"] == 1
    assert found["paybell_settle_batch_size_sum"] == found["paybell_settle_seconds_count"] == 3
    assert found["paybell_listener_events_total[applied]"] == 1
    assert found["paybell_outbox_pending"] == found["paybell_confirms_in_flight"] == 0


async def test_what_waits_in_the_outbox_is_counted_and_aged(postgres: Databases) -> None:
    """Three events in the hands of another relay that died an hour ago, but not long enough."""
    urls = await fresh_databases(postgres)
    async with in_process(urls, roles=frozenset({"api"})) as api:
        user = fresh_user()
        await api.client.fund(user, 3)
        for _ in range(3):
            await api.client.pay((await api.client.apply(user, 1))["id"], user)
    async with connected(urls["pay"]) as rows:
        await rows.execute(
            "UPDATE outbox SET occurred_at = occurred_at - interval '1 hour', "
            "lease_token = gen_random_uuid(), leased_until = now() + interval '1 hour'"
        )
    async with in_process(urls) as service:
        found = await samples(service.client)

    assert found["paybell_outbox_pending"] == 3
    assert 3600 <= found["paybell_outbox_oldest_age_seconds"] < 3700


# OpenAPI ---------------------------------------------------------------------------------------


async def schema(client: Client) -> dict[str, Any]:
    """Return the document as anybody gets it."""
    reply = await client.get("/schema/openapi.json")
    assert reply.status == 200
    return reply.json


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


async def test_the_document_needs_no_token_and_nothing_from_elsewhere(http: Client) -> None:
    whole = await http.get("/schema")

    assert whole.status == 200
    assert whole.json["openapi"].startswith("3.1")
    assert not re.search(r"https?://(?!127\.0\.0\.1)", whole.content.decode())


async def test_every_route_is_documented_under_a_name_of_its_own(http: Client) -> None:
    """What a running service describes is what `docs/http.md` lists: no route comes or goes unseen."""
    document = await schema(http)

    found = {(method.upper(), path): operation for path, method, operation in operations(document)}
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")
    assert set(found) == set(re.findall(r"^## ([A-Z]+) (\S+)$", page, re.MULTILINE))
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    assert all(operation["summary"] for operation in found.values())


async def test_protected_routes_say_bearer_and_the_others_nothing(http: Client) -> None:
    document = await schema(http)

    assert document["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    assert "security" not in document
    for path, _, operation in operations(document):
        open_to_all = path in ("/healthz", "/readyz", "/metrics")
        assert operation.get("security", []) == ([] if open_to_all else [{"bearer": []}]), path


async def test_every_refusal_is_documented_as_a_problem_with_its_codes(http: Client) -> None:
    document = await schema(http)
    problem = document["components"]["schemas"]["Problem"]

    assert set(problem["required"]) == {"type", "title", "status", "code", "detail"}
    for path, method, operation in operations(document):
        if path in ("/healthz", "/readyz", "/metrics"):
            continue
        responses = operation["responses"]
        assert {"401", "503"} <= set(responses)
        for status, response in responses.items():
            if int(status) < 400:
                continue
            content = response["content"]
            assert list(content) == ["application/problem+json"], (method, path, status)
            assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
            codes = re.findall(r"`(\w+)`:", response["description"])
            assert codes
            examples = content["application/problem+json"]["examples"].values()
            assert [example["value"]["code"] for example in examples] == codes
            assert {example["value"]["status"] for example in examples} == {int(status)}
        if method == "post" and "requestBody" in operation:
            assert {"400", "413", "415"} <= set(responses)


async def test_bodies_and_answers_have_schemas_that_say_what_is_accepted(http: Client) -> None:
    schemas = (await schema(http))["components"]["schemas"]

    new = schemas["NewPayOrder"]
    assert set(new["required"]) == {"bizOrderNo", "payerId", "amount"}
    assert new["properties"]["amount"]["type"] == "integer"
    assert (new["properties"]["amount"]["minimum"], new["properties"]["amount"]["maximum"]) == (1, 10**15)
    assert re.fullmatch(new["properties"]["bizOrderNo"]["pattern"], "123")
    assert not re.search(new["properties"]["payerId"]["pattern"], "a b")
    shown = schemas["PayOrderView"]["properties"]
    assert shown["payOrderId"]["type"] == shown["bizOrderNo"]["type"] == "string"
    assert shown["amount"]["type"] == "integer"
    assert shown["createdAt"] == {"type": "string", "format": "date-time"}


async def test_both_answers_to_a_repeatable_request_are_documented(http: Client) -> None:
    document = await schema(http)

    for path, name in (("/pay-orders", "PayOrderView"), ("/orders", "OrderView")):
        responses = document["paths"][path]["post"]["responses"]
        for status in ("200", "201"):
            content = responses[status]["content"]["application/json"]
            assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}
    top_up = document["paths"]["/wallets/{user_id}/top-ups"]["post"]
    assert top_up["responses"]["201"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/WalletView"
    }


async def test_a_service_of_one_role_documents_what_it_has(postgres: Databases, service: Service) -> None:
    assert service.served.runtime.parts.service(TradeService)
    async with in_process(await fresh_databases(postgres), roles=frozenset({"api"})) as api:
        document = await schema(api.client)

    assert "/pay-orders" in document["paths"]
    assert "/orders" not in document["paths"]


async def test_the_openapi_document_is_valid(http: Client) -> None:
    """By the specification's own schema; readers of it are strict."""
    validate((await http.get("/schema/openapi.json")).json)


async def test_the_openapi_document_names_every_state_and_demands_no_default(http: Client) -> None:
    schemas = (await schema(http))["components"]["schemas"]

    assert schemas["PayOrderView"]["properties"]["status"]["enum"] == [status.name for status in PayStatus]
    assert schemas["OrderStatus"]["enum"] == [status.value for status in OrderStatus]
    assert schemas["NewPayOrder"]["properties"]["currency"]["description"].endswith('Without it: "CNY".')
    for name, described in schemas.items():
        for member in described.get("properties", {}).values():
            assert "default" not in member, name


async def test_the_openapi_document_has_the_csv_of_statements(http: Client) -> None:
    document = await schema(http)
    for path in ("/wallets/{user_id}/transfers", "/merchants/{merchant_id}/transfers"):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/StatementView"}
        assert content["text/csv"]["schema"] == {"type": "string"}


async def test_the_openapi_document_says_what_a_body_and_a_header_must_look_like(http: Client) -> None:
    """What is made from it alone can open a wallet, top it up, and pay."""
    document = (await http.get("/schema/openapi.json")).json
    schemas = document["components"]["schemas"]
    top_up = document["paths"]["/wallets/{user_id}/top-ups"]["post"]
    key = next(one for one in top_up["parameters"] if one["name"] == "Idempotency-Key")

    for name in ("NewWallet", "Payment"):
        assert schemas[name]["properties"]["payPassword"]["pattern"] == "^[0-9]{6}$"
    assert key["required"]
    assert key["schema"] == {"type": "string", "pattern": "^[!-~]{1,255}$"}


# Who may read the metrics -----------------------------------------------------------------------


async def test_metrics_that_others_can_reach_need_a_token_with_their_scope(postgres: Databases) -> None:
    settings = replace(SETTINGS, host="0.0.0.0")
    async with in_process(await fresh_databases(postgres), settings, frozenset({"api"})) as api:
        client = api.client
        replies = [
            await client.get("/metrics", token)
            for token in (None, client.token("buyer"), client.token("prometheus", "metrics:read"))
        ]
        document = await schema(client)

    assert [reply.status for reply in replies] == [401, 403, 200]
    assert b"paybell_payments_total" in replies[2].content
    validate(document)
    assert document["paths"]["/metrics"]["get"]["security"] == [{"bearer": []}]


async def test_metrics_have_a_port_of_their_own_where_nothing_else_is_served(
    postgres: Databases, tmp_path: Path
) -> None:
    """Also for workers, which share both ports."""
    urls, port = await fresh_databases(postgres), free_port()
    arguments = ("serve", "--role", "api", "--workers", "2")
    served = process(
        *arguments,
        log=tmp_path / "log",
        host="0.0.0.0",
        port=0,
        metrics_port=port,
        database_url=urls["pay"],
        trade_database_url=urls["trade"],
        jwt_secret=SECRET,
        pin_pepper=PEPPER_SETTING,
    )
    with served as service:
        await service.url()
        async with Client.open(f"http://127.0.0.1:{port}") as watcher:

            async def answers() -> bool:
                with suppress(aiohttp.ClientConnectionError):
                    return (await watcher.get("/metrics")).status == 200
                return False

            await until(answers, seconds=60)
            assert b"paybell_role" in (await watcher.get("/metrics")).content
            assert (await watcher.get("/pay-orders", watcher.shop)).status == 404


async def test_who_reads_the_metrics_waits_for_no_payment_and_no_payment_for_them(
    postgres: Databases,
) -> None:
    """Each session for payments is in somebody's hands."""
    settings = replace(SETTINGS, database_connections=2)
    async with in_process(await fresh_databases(postgres), settings) as service:
        database = service.served.runtime.host._databases["pay"]
        async with database.transaction(), database.transaction():
            found = await samples(service.client)

    assert found["paybell_outbox_pending"] == 0
    assert found["paybell_database_ready[pay]"] == 1
