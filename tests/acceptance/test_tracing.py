"""One payment, one trace: from the request through settlement, outbox, relay and listener."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from serving import Client, Service, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LISTENER = "apply trade.pay.success.queue"


class Collector:
    """Takes spans by OTLP over HTTP, as any backend does."""

    def __init__(self) -> None:
        """Start without any."""
        self.spans: list[Span] = []

    async def take(self, request: web.Request) -> web.Response:
        """Keep what comes."""
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(content_type="application/x-protobuf")

    def of(self, trace_id: str) -> dict[str, Span]:
        """Return the spans of a trace by name."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id}


@asynccontextmanager
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Run one, and have it asked for."""
    running, application = Collector(), web.Application()
    application.router.add_post("/v1/traces", running.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield running
    await runner.cleanup()


async def paid(client: Client, traceparent: str) -> str:
    """Pay an order within a trace; return the order's number once it is PAID."""
    user = fresh_user()
    await client.fund(user, 100)
    order = await client.order(user, 100)
    path, body = f"/pay-orders/{order['payOrderId']}/pay", {"payPassword": PASSWORD}
    headers = {"traceparent": traceparent} if traceparent else {}
    reply = await client.send("POST", path, client.token(user), body, headers=headers)
    assert reply.status == 200
    await client.until_order(order["id"], "PAID")
    return str(order["id"])


async def test_a_payment_is_one_trace_through_all_parts(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    async with collector(monkeypatch) as seen:
        async with in_process(await fresh_databases(postgres)) as service:
            await paid(service.client, f"00-{trace_id}-{caller}-01")

            async def complete() -> bool:
                return {"settle", "publish", LISTENER} <= seen.of(trace_id).keys()

            await until(complete)
        spans = seen.of(trace_id)

    request = spans["POST /pay-orders/{id}/pay"]
    assert request.parent_span_id.hex() == caller
    assert {attribute.key: attribute.value.int_value for attribute in request.attributes}[
        "http.response.status_code"
    ] == 200
    for name in ("settle", "publish", LISTENER):
        assert spans[name].parent_span_id == request.span_id, name
        batches = [span for span in seen.spans if span.name == f"{name} batch"]
        (link,) = spans[name].links
        (batch,) = [span for span in batches if span.span_id == link.span_id]
        assert request.span_id in {back.span_id for back in batch.links}
    assert spans["settle"].end_time_unix_nano <= spans["publish"].start_time_unix_nano
    assert spans["publish"].start_time_unix_nano <= spans[LISTENER].start_time_unix_nano


async def test_a_caller_that_asks_for_no_sampling_gets_none(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, loud = secrets.token_hex(16), secrets.token_hex(16)
    async with collector(monkeypatch) as seen, in_process(await fresh_databases(postgres)) as service:
        await paid(service.client, f"00-{quiet}-{secrets.token_hex(8)}-00")
        await paid(service.client, f"00-{loud}-{secrets.token_hex(8)}-01")

        async def loud_came() -> bool:
            return LISTENER in seen.of(loud)

        await until(loud_came)

    assert seen.of(quiet) == {}


async def test_a_collector_that_is_away_holds_nothing_up(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with in_process(await fresh_databases(postgres)) as service:
        await paid(service.client, "")


async def test_without_a_collector_nothing_of_it_is_even_imported(service: Service) -> None:
    """Off is free."""
    program = (
        "import sys; from paybell.serving import process; from paybell import runtime; "
        "sys.exit('opentelemetry' in sys.modules)"
    )
    assert service.served.runtime.traces is None
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == 0
