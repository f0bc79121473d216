"""A server that answers anything at once: what is left is the load generator's own speed."""

import asyncio
from typing import Any, cast

import uvloop

from benchmarks.child import ready, serve

# About as long as Paybell's answer to a payment.
_BODY = b'{"padding":"' + b"x" * 420 + b'"}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)


class _Responder(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        del data  # one request at a time, in one piece: the generator writes it so
        self._transport.write(_ANSWER)


async def main(spec: dict[str, Any]) -> dict[str, object]:
    """Serve until told that it is enough."""
    server = await asyncio.get_running_loop().create_server(_Responder, "127.0.0.1", spec["port"])
    async with server:
        await ready()
    return {}


if __name__ == "__main__":
    uvloop.run(serve(main))
