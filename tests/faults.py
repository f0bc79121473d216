"""Real faults for tests: a line that is cut at the worst moment, a database that dies under a statement."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

# A message of PostgreSQL's protocol begins with its kind and its length.
_TEXT_OF_MESSAGE = 5


class CuttingProxy:
    """Stands between a driver and PostgreSQL and cuts the line at the next COMMIT when told to.

    ``before`` cuts before the server hears of it, so that it rolls back; ``after`` once the server
    has answered, so that it is done and the client never learns. Counts the commits it has seen, and the
    turns: how often the driver has said something and waited for the answer.
    ``statement`` is a part of the text of one that has no transaction around it, to cut there instead.
    """

    def __init__(self, url: str, server_path: str) -> None:
        """Use `cutting_proxy`."""
        self.url = url
        self._server_path = server_path
        self.cut: Literal["before", "after", ""] = ""
        self.statement = b""
        self.cuts = 0
        self.commits = 0
        self.turns = 0
        self._prepared = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection's bytes on, both ways, until either end leaves or it is cut."""
        server_reader, server_writer = await asyncio.open_unix_connection(self._server_path)
        answers = asyncio.create_task(_pass_on(server_reader, writer))
        try:
            while data := await reader.read(65_536):
                self.commits += b"COMMIT;" in data
                self.turns += 1
                if self._is_the_moment(data) and self.cut:
                    answers.cancel()
                    await asyncio.wait([answers])
                    if self.cut == "after":
                        server_writer.write(data)
                        await server_reader.read(65_536)
                    self.cut = ""
                    self.cuts += 1
                    break
                server_writer.write(data)
        finally:
            answers.cancel()
            server_writer.close()
            writer.close()

    def _is_the_moment(self, data: bytes) -> bool:
        """The driver prepares a statement (Parse, with its name and text), then runs it by name (Bind)."""
        if not self.statement:
            return b"COMMIT;" in data
        if self.statement in data:
            self._prepared = data[_TEXT_OF_MESSAGE : data.index(0, _TEXT_OF_MESSAGE)]
        return bool(self._prepared) and data.startswith(b"B") and self._prepared in data


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def cutting_proxy(url: str) -> AsyncIterator[CuttingProxy]:
    """Open one in front of the embedded server that a URL names."""
    place, _, folder = url.partition("?host=")
    with tempfile.TemporaryDirectory(prefix="cut-") as own:
        proxy = CuttingProxy(f"{place}?host={own}", f"{folder}/.s.PGSQL.5432")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                await proxy.serve(reader, writer)

        async with await asyncio.start_unix_server(serve, f"{own}/.s.PGSQL.5432"):
            yield proxy
