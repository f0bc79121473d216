"""What a connection may send, leave half sent, or leave unread; each past it is told, closed and counted."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import SETTINGS, Client, Service, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, until

from paybell.serving import http_protocol
from paybell.serving.connections import connections_max, raise_descriptor_limit
from paybell.serving.http_protocol import HEADER_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX
from paybell.web.event_streams import STREAMS_PER_CALLER_MAX

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


class Raw:
    """A connection whose bytes are ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `connected_to`."""
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def pause(self) -> None:
        """Read nothing more."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    async def answer(self) -> tuple[int, bytes]:
        """Return the next answer's status and body."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def refusal(self) -> tuple[int, str]:
        """Return the status and code of a refusal, after which the connection is closed."""
        status, body = await self.answer()
        assert await self.ended() == b""
        return status, msgspec.json.decode(body)["code"]

    async def ended(self) -> bytes:
        """Return what still comes until the connection is closed."""
        return await asyncio.wait_for(self.reader.read(), 30)


@asynccontextmanager
async def connected_to(client: Client) -> AsyncIterator[Raw]:
    """Open a connection."""
    url = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def counted(client: Client, reason: str) -> float:
    """Return how many connections were refused for a reason."""
    text = (await client.get("/metrics")).content.decode()
    return next(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "paybell_http_connections_refused_total" and sample.labels["reason"] == reason
    )


REFUSED = {
    "a long request line": (
        b"GET /" + b"x" * REQUEST_LINE_BYTES_MAX + b" HTTP/1.1\r\n\r\n",
        (414, "request_too_long"),
    ),
    "a request line without end": (b"GET /" + b"x" * 1_000_000, (414, "request_too_long")),
    "many headers": (ASK + b"A: b\r\n" * HEADERS_MAX + b"\r\n", (431, "headers_too_large")),
    "a long header": (ASK + b"A: " + b"b" * 2 * HEADER_BYTES_MAX + b"\r\n\r\n", (431, "headers_too_large")),
    "a header without end": (ASK + b"A: " + b"b" * 1_000_000, (431, "headers_too_large")),
    "a header's name without end": (ASK + b"a" * 1_000_000, (431, "headers_too_large")),
    "empty lines without end": (b"\r\n" * 100_000, (431, "headers_too_large")),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400, "malformed_request")),
    "a NUL in a header": (ASK + b"A: \0\r\n\r\n", (400, "malformed_request")),
    "an address that is none": (b"GET http://[ HTTP/1.1\r\n\r\n", (400, "malformed_request")),
    "both length headers": (
        b"POST /orders HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (400, "malformed_request"),
    ),
    "two lengths": (
        b"POST /orders HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n1234",
        (400, "malformed_request"),
    ),
}


@pytest.mark.parametrize(("sent", "refusal"), REFUSED.values(), ids=REFUSED)
async def test_what_goes_past_a_bound_is_refused_closed_and_counted(
    http: Client, sent: bytes, refusal: tuple[int, str]
) -> None:
    before = await counted(http, refusal[1])
    async with connected_to(http) as raw:
        raw.writer.write(sent)

        assert await raw.refusal() == refusal

    assert await counted(http, refusal[1]) == before + 1


async def test_what_is_just_inside_the_bounds_is_answered(http: Client) -> None:
    head = b"GET /healthz?" + b"x" * (REQUEST_LINE_BYTES_MAX - 13) + b" HTTP/1.1\r\n"
    rest = HEADER_BYTES_MAX - 2 * http_protocol.PIECE_BYTES - len(head) - HEADERS_MAX * 8
    async with connected_to(http) as raw:
        await raw.send(head + b"A: b\r\n" * (HEADERS_MAX - 1) + b"Long: " + b"c" * rest + b"\r\n\r\n")

        assert (await raw.answer())[0] == 200


async def test_headers_after_a_body_are_read_by_nobody_and_bounded(http: Client) -> None:
    """They would come too late to be checked: a token there is none."""
    sent = b"POST /orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    token = b"Authorization: Bearer " + http.shop.encode() + b"\r\n"
    async with connected_to(http) as raw:
        await raw.send(sent + b"2\r\n{}\r\n0\r\n" + token + b"\r\n")
        assert (await raw.answer())[0] == 401
        raw.writer.write(sent + b"2\r\n{}\r\n0\r\nA: " + b"b" * 1_000_000)
        statuses = [int(part[:3]) for part in (await raw.ended()).split(b"HTTP/1.1 ")[1:]]

    assert statuses in ([401], [431])


@pytest.mark.parametrize(
    ("sent", "refused"),
    [
        (b"", False),
        (ASK, True),
        (b"\r\n", True),
        (b"POST /orders HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", True),
    ],
    ids=["nothing", "half a header", "an empty line", "half a body"],
)
async def test_a_request_that_is_not_completed_in_time_is_ended(
    http: Client, monkeypatch: pytest.MonkeyPatch, sent: bytes, *, refused: bool
) -> None:
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(http_protocol, "BODY_SECONDS", 0.5)
    before = await counted(http, "request_timeout")
    async with connected_to(http) as raw:
        await raw.send(sent)
        rest = await raw.ended()

    assert await counted(http, "request_timeout") == before + refused
    if b"Content-Length" not in sent:  # the route refuses without waiting for the body
        assert rest[:12] == (b"HTTP/1.1 408" if refused else b"")


async def test_slow_bytes_do_not_buy_time(http: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 1.0)
    async with connected_to(http) as raw:
        drip = asyncio.create_task(_drip(raw))
        try:
            assert (await raw.answer())[0] == 408
        finally:
            drip.cancel()


async def _drip(raw: Raw) -> None:
    for byte in ASK + b"A: b\r\n" * 50:
        raw.writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_pipelined_requests_are_answered_in_order_however_many(
    http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the bound on what waits in a connection lies between them, and bodies among them."""
    monkeypatch.setattr(http_protocol, "AHEAD_PAUSE_SECONDS", 0.001)
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100)
    body = msgspec.json.encode({"payPassword": PASSWORD})
    pay = (
        f"POST /pay-orders/{order['id']}/pay HTTP/1.1\r\nAuthorization: Bearer {http.token(user)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    missing = b"GET /nothing HTTP/1.1\r\n\r\n"
    async with connected_to(http) as raw:
        raw.writer.write((ASK + b"\r\n" + missing) * 50 + pay + (missing + ASK + b"\r\n") * 50)
        answers = [await raw.answer() for _ in range(201)]

    assert [status for status, _ in answers] == [200, 404] * 50 + [200] + [404, 200] * 50
    assert msgspec.json.decode(answers[100][1])["status"] == "TRADE_SUCCESS"


async def test_who_asks_far_ahead_is_answered_slowly(http: Client) -> None:
    """Until the answers are all there: then the next are quick again."""
    loop, pauses = asyncio.get_running_loop(), 5
    async with connected_to(http) as raw:
        for _ in range(2):
            started = loop.time()
            raw.writer.write((ASK + b"\r\n") * (1 + http_protocol.AHEAD_AT_ONCE + pauses))
            for _answer in range(1 + http_protocol.AHEAD_AT_ONCE + pauses):
                assert (await raw.answer())[0] == 200
            assert loop.time() - started >= pauses * http_protocol.AHEAD_PAUSE_SECONDS


async def test_nonsense_after_a_payment_takes_no_answer_from_it(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    order = await http.apply(user, 100)
    body = msgspec.json.encode({"payPassword": PASSWORD})
    pay = (
        f"POST /pay-orders/{order['id']}/pay HTTP/1.1\r\nAuthorization: Bearer {http.token(user)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    async with connected_to(http) as raw:
        raw.writer.write(pay + b"\0\0\0 nonsense\r\n\r\n")
        status, answer = await raw.answer()

        assert (status, msgspec.json.decode(answer)["status"]) == (200, "TRADE_SUCCESS")
        assert await raw.refusal() == (400, "malformed_request")


async def test_a_client_that_reads_nothing_is_not_worked_for_and_cut_off(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it asked for waits unparsed; its answers stop when the buffers between us are full."""
    monkeypatch.setattr(http_protocol, "UNREAD_SECONDS", 2.0)
    monkeypatch.setattr(http_protocol, "AHEAD_PAUSE_SECONDS", 0.0)
    async with in_process(await fresh_databases(postgres)) as service, connected_to(service.client) as raw:
        raw.pause()
        raw.writer.write((ASK + b"\r\n") * 300_000)

        async def cut_off() -> bool:
            return await counted(service.client, "unread_answers") == 1

        await until(cut_off, seconds=60)


async def test_one_client_too_many_is_told_and_counted_and_those_inside_go_on(postgres: Databases) -> None:
    few = replace(SETTINGS, http_connections=16)
    async with in_process(await fresh_databases(postgres), few) as service:
        client = service.client
        assert (await client.get("/healthz")).status == 200  # one connection, kept
        async with _many(client, 15):
            async with connected_to(client) as late:
                assert await late.refusal() == (503, "too_many_connections")
            assert await counted(client, "too_many_connections") == 1

        async def free() -> bool:
            async with connected_to(client) as again:
                await again.send(ASK + b"\r\n")
                return (await again.answer())[0] == 200

        await until(free)


@asynccontextmanager
async def _many(client: Client, number: int) -> AsyncIterator[None]:
    if number == 0:
        yield
        return
    async with connected_to(client) as raw, _many(client, number - 1):
        await raw.send(ASK + b"\r\n")
        assert (await raw.answer())[0] == 200
        yield


async def test_the_descriptor_limit_is_raised_and_bounds_the_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert connections_max(SETTINGS) == 512 - 128 - 3 * SETTINGS.database_connections
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert connections_max(SETTINGS) == min(SETTINGS.http_connections, connections_max(SETTINGS))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_stream_ends_with_its_client_also_when_another_request_waits_behind_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read while it waits: that the client is gone shows when something is sent to it."""
    client, user = service.client, fresh_user()
    order = await client.order(user, 100)
    streams = service.served.runtime.host.streams
    monkeypatch.setattr(streams, "_heartbeat_seconds", 0.2)
    async with connected_to(client) as raw:
        head = (
            f"GET /orders/{order['id']}/events HTTP/1.1\r\nAuthorization: Bearer {client.token(user)}\r\n\r\n"
        )
        await raw.send(head.encode() + ASK + b"\r\n")
        await raw.reader.readuntil(b"event: order")
        assert streams.open == 1

    async def over() -> bool:
        return streams.open == 0

    await until(over)


async def test_one_caller_cannot_take_the_event_streams_of_others(service: Service) -> None:
    client, user = service.client, fresh_user()
    order = await client.order(user, 100)
    path, streams = f"/orders/{order['id']}/events", service.served.runtime.host.streams

    async def follow(token: str, number: int) -> None:
        """Open so many, look at one more, and at another caller's."""
        if number == 0:
            assert (await client.get(path, token)).refusal == (429, "too_many_streams")
            assert streams.open == STREAMS_PER_CALLER_MAX
            async with _following(client, path, client.shop):
                assert streams.open == STREAMS_PER_CALLER_MAX + 1
            return
        async with _following(client, path, token):
            await follow(token, number - 1)

    await follow(client.token(user), STREAMS_PER_CALLER_MAX)

    async def over() -> bool:
        return streams.open == 0

    await until(over)
    async with _following(client, path, client.token(user)):
        assert streams.open == 1


@asynccontextmanager
async def _following(client: Client, path: str, token: str) -> AsyncIterator[None]:
    async with connected_to(client) as raw:
        await raw.send(f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        await raw.reader.readuntil(b"event: order")
        yield
