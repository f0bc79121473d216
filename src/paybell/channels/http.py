"""Requests to channels, so that one thing is always known: whether a request may have been sent.

Every call has a connection of its own, and one only. A connection that is kept may be closed by the other
side at the moment it is used, and clients then send the request again by themselves, which must never
happen to a call that moves money.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from paybell.channels.answers import NotSent, Unknown

CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0
TOTAL_SECONDS = CONNECT_SECONDS + READ_SECONDS
ANSWER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; whether it comes from the channel is the channel's module to verify."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ChannelHttp:
    """One client for all channels: bounded times, no redirects, no proxies of the environment, no retries."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Use `ChannelHttp.open`."""
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["ChannelHttp"]:
        """Open the client; how many calls a channel may have at once is bounded by who calls."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_once,),
            trust_env=False,
        ) as session:
            yield cls(session)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
        seconds: float = TOTAL_SECONDS,
    ) -> Answer | NotSent | Unknown:
        """Send one request, once.

        Args:
            method: of HTTP.
            url: absolute, escaped as it is to be sent.
            headers: of the request.
            body: of the request.
            bytes_max: of the answer; a longer one is not known.
            seconds: until the whole answer is there, however slowly it comes.

        Returns:
            The answer, whatever its status; `NotSent` where no connection came about; else `Unknown`.
        """
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS, sock_read=READ_SECONDS),
            ) as response:
                content = bytearray()
                while len(content) <= bytes_max and (
                    more := await response.content.read(bytes_max + 1 - len(content))
                ):
                    content += more
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return NotSent(_words(error))
        except _Lost as error:
            return Unknown(str(error))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Unknown(_words(error))
        if len(content) > bytes_max:
            return Unknown(f"an answer of more than {bytes_max} bytes")
        return Answer(response.status, response.headers, bytes(content))


class _Lost(Exception):
    """The connection ended while a request was under way."""


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep a lost connection from the client, which would send GET, PUT and DELETE again by itself."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost(_words(error)) from error


def _words(error: Exception) -> str:
    """Name an error without the URL it was about, which may hold what nobody may read."""
    return type(error).__name__
