"""Calls to channels: made once, bounded, and certain about what was not sent."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from paybell.channels.answers import NotSent, Unknown
from paybell.channels.http import ANSWER_BYTES_MAX, Answer, ChannelHttp
from paybell.testing.ports import free_port

pytestmark = pytest.mark.slow


class Server:
    """Answers each connection with these bytes, or just ends it."""

    def __init__(self) -> None:
        self.answer = b""
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    listening = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield one


@pytest.fixture
async def http() -> AsyncIterator[ChannelHttp]:
    async with ChannelHttp.open() as one:
        yield one


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE", "POST"])
async def test_a_call_whose_connection_is_lost_is_not_made_again(
    server: Server, http: ChannelHttp, method: str
) -> None:
    """HTTP calls GET and PUT idempotent, and clients repeat them; what moves money may not be."""
    assert isinstance(await http.send(method, server.url, body=b"{}" if method == "PUT" else None), Unknown)
    assert len(server.requests) == 1


async def test_a_redirect_is_an_answer(server: Server, http: ChannelHttp) -> None:
    server.answer = b"HTTP/1.1 307 -\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    answer = await http.send("POST", server.url, body=b"{}")

    assert isinstance(answer, Answer)
    assert answer.status == 307
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (ANSWER_BYTES_MAX + 1),
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_half_an_answer_and_an_endless_one_are_unknown(
    server: Server, http: ChannelHttp, answer: bytes
) -> None:
    server.answer = answer
    assert isinstance(await http.send("GET", server.url), Unknown)


async def test_a_path_goes_over_the_wire_as_it_was_signed(server: Server, http: ChannelHttp) -> None:
    server.answer = b"HTTP/1.1 204 -\r\n\r\n"
    await http.send("GET", server.url + "/a%2F..%2Fb?c=%7e+d")
    assert server.requests[0].startswith(b"GET /a%2F..%2Fb?c=%7e+d HTTP/1.1\r\n")


async def test_what_never_had_a_connection_was_not_sent(
    server: Server, http: ChannelHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (
        f"http://127.0.0.1:{free_port()}",
        server.url.replace("http", "https"),
    ):
        assert isinstance(await http.send("PUT", url, body=b"{}"), NotSent), url

    server.answer = b"HTTP/1.1 204 -\r\n\r\n"
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    assert isinstance(await http.send("GET", server.url), Answer)
