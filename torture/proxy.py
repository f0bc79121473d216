"""TCP lines that can be cut, slowed, held and made half-open: the network between real processes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TypeAlias

from paybell.messaging.rabbitmq.process import LOOPBACK, free_port

# A Unix socket's path, or a port on the loopback.
Target: TypeAlias = str | int

_CHUNK = 65_536
_SLICE = 1_024
# How long the far end of a half-open connection stays in the dark before its peer is torn down as well:
# longer than every timeout that could notice.
HALF_OPEN_SECONDS = 30.0
# An answer that is to be lost comes within this, or its connection is cut without it.
_ANSWER_SECONDS = 1.0


class Line:
    """A listening port and what stands behind it; several targets take turns, a dead one is skipped."""

    def __init__(self, name: str, targets: Sequence[Target]) -> None:
        """Use `line`."""
        self.name = name
        self.port = free_port()
        self._targets = targets
        self._turn = count()
        self._pairs: set[_Pair] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.delay_seconds = 0.0
        self.bytes_per_second = 0
        self._loses: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection from its beginning to its end."""
        try:
            far = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(self, (reader, writer), far)
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(self._turn)
        problem = OSError("no target")
        for offset in range(len(self._targets)):
            target = self._targets[(first + offset) % len(self._targets)]
            try:
                if isinstance(target, str):
                    return await asyncio.open_unix_connection(target)
                return await asyncio.open_connection(LOOPBACK, target)
            except OSError as error:
                problem = error
        raise problem

    async def passes(self, size: int) -> None:
        """Take as long as so many bytes take on this line now."""
        if not self._flows.is_set():
            await self._flows.wait()
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.bytes_per_second:
            await asyncio.sleep(size / self.bytes_per_second)

    def takes_last_words(self, data: bytes) -> bool:
        """Say, once, that the answer to this request is the one to be lost."""
        if self._loses and self._loses in data:
            self._loses = b""
            return True
        return False

    # Faults ------------------------------------------------------------------------------------

    def cut(self) -> int:
        """Tear every connection down (RST); return how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.abort()
        return len(pairs)

    def half_open(self) -> int:
        """Let every connection stand and carry nothing any more, not even its end; new ones work."""
        pairs = [pair for pair in self._pairs if not pair.dead]
        for pair in pairs:
            pair.die()
        return len(pairs)

    def hold(self) -> None:
        """Stop carrying, until `heal`."""
        self._flows.clear()

    def lose_answer(self, request: bytes) -> None:
        """Pass on the next request with these bytes in it, and cut its connection instead of answering."""
        self._loses = request

    @property
    def lost_it(self) -> bool:
        """Say whether what `lose_answer` asked for has happened."""
        return not self._loses

    def heal(self) -> None:
        """Carry everything again; what is half-open stays so."""
        self.delay_seconds = 0.0
        self.bytes_per_second = 0
        self._loses = b""
        self._flows.set()


class _Pair:
    """Two ends of one connection."""

    def __init__(
        self,
        line: Line,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._line = line
        self._near_reader, self._near = near
        self._far_reader, self._far = far
        self.dead = False
        self._mute = False
        self._over = asyncio.Event()

    async def run(self) -> None:
        carriers = [
            asyncio.create_task(self._carry(self._near_reader, self._far, upwards=True)),
            asyncio.create_task(self._carry(self._far_reader, self._near, upwards=False)),
        ]
        try:
            await self._over.wait()
        finally:
            for carrier in carriers:
                carrier.cancel()
            await asyncio.gather(*carriers, return_exceptions=True)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not upwards and self._mute:
                    self.abort()
                if upwards and self._line.takes_last_words(data):
                    self._mute = True
                    asyncio.get_running_loop().call_later(_ANSWER_SECONDS, self.abort)
                await self._pass_on(data, writer)
        if not self.dead:
            self._end()

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        step = _SLICE if self._line.bytes_per_second else len(data)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            await self._line.passes(len(piece))
            if not self.dead:
                writer.write(piece)
                await writer.drain()

    def die(self) -> None:
        self.dead = True
        asyncio.get_running_loop().call_later(HALF_OPEN_SECONDS, self.abort)

    def _end(self) -> None:
        self._near.close()
        self._far.close()
        self._over.set()

    def abort(self) -> None:
        self._near.transport.abort()
        self._far.transport.abort()
        self._over.set()


@asynccontextmanager
async def line(name: str, *targets: Target) -> AsyncIterator[Line]:
    """Open a line to these targets."""
    opened = Line(name, targets)
    server = await asyncio.start_server(opened.serve, LOOPBACK, opened.port)
    try:
        yield opened
    finally:
        server.close()
        opened.cut()
