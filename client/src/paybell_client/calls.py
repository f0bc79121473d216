"""What the calls of a client share: who calls, and over what."""

import secrets
from typing import TypeVar
from urllib.parse import quote

from paybell_client.transport import Token, Transport

Id = str | int
Answer = TypeVar("Answer")
DEFAULT_CURRENCY = "CNY"


class Calls:
    """One caller over a transport."""

    __slots__ = ("_token", "_transport")

    def __init__(self, transport: Transport, token: Token) -> None:
        """Use `PaybellClient.open`."""
        self._transport = transport
        self._token = token

    async def _get(self, path: str, answer: type[Answer]) -> Answer:
        return await self._transport.send("GET", path, self._token, answer)

    async def _post(self, path: str, answer: type[Answer], body: object = None, key: str = "") -> Answer:
        return await self._transport.send("POST", path, self._token, answer, body, key=key)


def part_of(text: Id) -> str:
    """Encode a part of a path or query."""
    return quote(str(text), safe="")


def new_key() -> str:
    """Draw an idempotency key."""
    return secrets.token_hex(16)
