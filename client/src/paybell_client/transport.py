"""One request, sent again until it is answered or patience ends.

Every request of this package may be sent again: what makes something carries the caller's own id or an
idempotency key, and both are the same in all tries of one call.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from itertools import count
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from paybell_client.errors import Problem, Unavailable, problem_of

# A bearer token, or what hands one out whenever one is needed.
Token = str | Callable[[], str]

_JSON = "application/json"
_SUCCESS_MAX = 299
# Too much at once, or a proxy whose service is just away (RFC 6585, RFC 9110).
_TRY_AGAIN = frozenset((429, 502, 503, 504))
# The first request with this key is still being done.
_KEY_IN_USE = "idempotency_key_in_use"
_RETRY_FIRST_SECONDS, _RETRY_MOST_SECONDS = 0.05, 2.0
# Less than the server's own 5 s, so that no request is sent into a connection it is closing.
_KEEP_ALIVE_SECONDS = 4.0
# The server says something at least every 15 s.
_SILENCE_SECONDS = 40.0
# What goes wrong on the way, and may have been done all the same.
TROUBLES = (aiohttp.ClientError, TimeoutError, OSError)

Answer = TypeVar("Answer")


def backoff(jitter: random.Random) -> Iterator[float]:
    """Yield waits in seconds that double, each drawn from the upper half of its step: so clients part."""
    for step in count():
        wait = min(_RETRY_MOST_SECONDS, _RETRY_FIRST_SECONDS * 2.0 ** min(step, 32))
        yield wait * (0.5 + jitter.random() / 2)


class Transport:
    """The connections to one service."""

    def __init__(self, session: aiohttp.ClientSession, url: str, retry_seconds: float) -> None:
        """Use `Transport.open`."""
        self._session = session
        self._url = url
        self._retry_seconds = retry_seconds
        self.jitter = random.Random()  # noqa: S311 - spreads retries, keeps no secret

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, *, connections: int, retry_seconds: float, timeout_seconds: float
    ) -> AsyncIterator["Transport"]:
        """Keep at most so many connections to the service at ``url``; `PaybellClient.open` has the rest."""
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"The URL of a service starts with http:// or https://, not {url[:100]!r}.")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        ) as session:
            yield cls(session, url.rstrip("/"), retry_seconds)

    async def send(
        self,
        method: str,
        path: str,
        token: Token,
        answer: type[Answer],
        body: object = None,
        *,
        key: str = "",
    ) -> Answer:
        """Send a request until it is answered.

        Args:
            method: GET, POST or PUT.
            path: with its query, encoded.
            token: of whoever asks.
            answer: what a success holds.
            body: to be sent as JSON, if any.
            key: the ``Idempotency-Key``, if any.

        Raises:
            Problem: the service refuses.
            Unavailable: it is away, or asks to be left alone, for longer than ``retry_seconds``.
        """
        url = URL(self._url + path, encoded=True)
        data = None if body is None else msgspec.json.encode(body)
        waits = backoff(self.jitter)
        deadline = 0.0
        while True:
            try:
                status, content, pause = await self._once(method, url, _headers(token, key), data)
                if status <= _SUCCESS_MAX:
                    return _read(status, content, answer)
                problem = problem_of(status, content)
                if status not in _TRY_AGAIN and problem.code != _KEY_IN_USE:
                    raise problem
                trouble = f"it answers {problem.code}"
            except TROUBLES as error:
                trouble, pause = str(error) or type(error).__name__, 0.0
            now = time.monotonic()
            deadline = deadline or now + self._retry_seconds
            pause = max(pause, next(waits))
            if now + pause > deadline:
                away = f"The service at {self._url} is away for longer than {self._retry_seconds:g} s"
                raise Unavailable(f"{away} ({trouble}).")
            await asyncio.sleep(pause)

    async def _once(
        self, method: str, url: URL, headers: dict[str, str], data: bytes | None
    ) -> tuple[int, bytes, float]:
        async with self._session.request(
            method, url, headers=headers, data=data, allow_redirects=False
        ) as response:
            after = response.headers.get("Retry-After")
            return response.status, await response.read(), 0.0 if after is None else _seconds_of(after)

    async def events(self, path: str, token: Token) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield the names and data of server-sent events until the stream ends; none if there is no stream.

        Raises:
            aiohttp.ClientError, TimeoutError, OSError: it broke.
        """
        async with self._session.get(
            URL(self._url + path, encoded=True),
            headers=_headers(token, ""),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_SECONDS),
            allow_redirects=False,
        ) as response:
            if response.status > _SUCCESS_MAX or response.content_type != "text/event-stream":
                return
            name, data = b"message", list[bytes]()
            async for line in response.content:
                field, _, value = line.rstrip(b"\r\n").partition(b":")
                if field == b"event":
                    name = value.strip()
                elif field == b"data":
                    data.append(value.removeprefix(b" "))
                elif not field and not value and data:
                    yield name.decode(), b"\n".join(data)
                    name, data = b"message", []


def _headers(token: Token, key: str) -> dict[str, str]:
    text = token if isinstance(token, str) else token()
    headers = {"Authorization": f"Bearer {text}", "Content-Type": _JSON}
    if key:
        headers["Idempotency-Key"] = key
    return headers


def _read(status: int, content: bytes, answer: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(content, type=answer)
    except msgspec.MsgspecError as error:
        raise Problem(status, f"http_{status}", "The answer is not Paybell's; look at the URL.") from error


def _seconds_of(retry_after: str) -> float:
    """Read RFC 9110's Retry-After: seconds or a date; 0 if it is neither."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
