"""Real faults for tests: a line that is cut at the worst moment, a database that dies under a statement."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal


class CuttingProxy:
    """Stands between a driver and PostgreSQL and cuts the line at the next COMMIT when told to.

    ``before`` cuts before the server hears of it, so that it rolls back; ``after`` once the server
    has answered, so that it is done and the client never learns. Counts the commits it has seen.
    """

    def __init__(self, url: str, server_path: str) -> None:
        """Use `cutting_proxy`."""
        self.url = url
        self._server_path = server_path
        self.cut: Literal["before", "after", ""] = ""
        self.cuts = 0
        self.commits = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection's bytes on, both ways, until either end leaves or it is cut."""
        server_reader, server_writer = await asyncio.open_unix_connection(self._server_path)
        answers = asyncio.create_task(_pass_on(server_reader, writer))
        try:
            while data := await reader.read(65_536):
                self.commits += b"COMMIT;" in data
                if self.cut and b"COMMIT;" in data:
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
