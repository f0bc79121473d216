"""TCP lines that can be cut, slowed, held and made half-open: the network between real processes."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeAlias, cast

from paybell.testing.ports import LOOPBACK, free_port

# A Unix socket's path, or a port on the loopback.
Target: TypeAlias = str | int

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
        self.refuses = False
        self._loses: bytes = b""

    async def connect(self, far: "_End") -> None:
        """Reach a target.

        Raises:
            OSError: none is there.
        """
        loop, first = asyncio.get_running_loop(), next(self._turn)
        problem = OSError("no target")
        for offset in range(len(self._targets)):
            target = self._targets[(first + offset) % len(self._targets)]
            try:
                if isinstance(target, str):
                    await loop.create_unix_connection(lambda: far, target)
                else:
                    await loop.create_connection(lambda: far, LOOPBACK, target)
            except OSError as error:
                problem = error
            else:
                return
        raise problem

    def accept(self) -> "_End":
        """Take one connection from its beginning to its end."""
        return _Pair(self, self._pairs).near

    @property
    def is_clear(self) -> bool:
        """Say whether bytes pass at once."""
        return self._flows.is_set() and not self.delay_seconds and not self.bytes_per_second

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

    def kill(self) -> None:
        """Behave as if what stands behind had died: every connection ends, and so does each new one."""
        self.refuses = True
        self.cut()

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
        self.refuses = False
        self._loses = b""
        self._flows.set()


class _Pair:
    """Two ends of one connection; bytes go straight from one to the other unless the line is slow."""

    def __init__(self, line: Line, among: set["_Pair"]) -> None:
        self._line = line
        self._among = among
        self.near, self._far = _End(self), _End(self)
        self.near.other, self._far.other = self._far, self.near
        self._opening: asyncio.Task[None] | None = None
        self._open_at_both_ends = asyncio.Event()
        self.dead = False
        self._mute = False

    def opened(self, end: "_End") -> None:
        if end is self.near:
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        if self._line.refuses:
            self.abort()
            return
        try:
            await self._line.connect(self._far)
        except OSError:
            self.abort()
            return
        if not self.near.is_open:
            self._far.transport.abort()
            return
        self._among.add(self)
        self._open_at_both_ends.set()

    def came(self, source: "_End", data: bytes) -> None:
        if source is self.near and self._line.takes_last_words(data):
            self._mute = True
            asyncio.get_running_loop().call_later(_ANSWER_SECONDS, self.abort)
        elif source is self._far and self._mute:
            self.abort()
            return
        if self._line.is_clear and source.carrier is None and self._open_at_both_ends.is_set():
            self.pass_on(source, data)
        else:
            source.waiting.append(data)
            source.pause("slow line")
            source.carrier = source.carrier or asyncio.create_task(self._carry(source))

    async def _carry(self, source: "_End") -> None:
        await self._open_at_both_ends.wait()
        while source.waiting:
            data = source.waiting.popleft()
            step = _SLICE if self._line.bytes_per_second else len(data)
            for start in range(0, len(data), step):
                piece = data[start : start + step]
                await self._line.passes(len(piece))
                self.pass_on(source, piece)
        source.carrier = None
        source.resume("slow line")

    def pass_on(self, source: "_End", data: bytes) -> None:
        if not self.dead and source.other.is_open:
            source.other.transport.write(data)

    def die(self) -> None:
        self.dead = True
        asyncio.get_running_loop().call_later(HALF_OPEN_SECONDS, self.abort)

    def ended(self) -> None:
        if not self.dead:
            self._among.discard(self)
            for end in self.near, self._far:
                if end.is_open:
                    end.transport.close()

    def abort(self) -> None:
        self._open_at_both_ends.set()  # nobody waits for what will not come
        self._among.discard(self)
        for end in self.near, self._far:
            if end.is_open:
                end.transport.abort()


class _End(asyncio.Protocol):
    """One of them. It is not read while anybody has a reason against it."""

    transport: asyncio.Transport
    other: "_End"

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair
        self._reasons: set[str] = set()
        self.waiting: deque[bytes] = deque()
        self.carrier: asyncio.Task[None] | None = None
        self.is_open = False

    def pause(self, reason: str) -> None:
        if self.is_open and not self._reasons:
            self.transport.pause_reading()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        self._reasons.discard(reason)
        if self.is_open and not self._reasons:
            self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self.is_open = True
        self._pair.opened(self)

    def data_received(self, data: bytes) -> None:
        self._pair.came(self, data)

    def eof_received(self) -> bool:
        self._pair.ended()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self.is_open = False
        self._pair.ended()

    def pause_writing(self) -> None:
        self.other.pause("full")

    def resume_writing(self) -> None:
        self.other.resume("full")


@asynccontextmanager
async def line(name: str, *targets: Target) -> AsyncIterator[Line]:
    """Open a line to these targets."""
    opened = Line(name, targets)
    server = await asyncio.get_running_loop().create_server(opened.accept, LOOPBACK, opened.port)
    try:
        yield opened
    finally:
        server.close()
        opened.cut()
