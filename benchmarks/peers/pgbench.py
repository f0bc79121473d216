"""(a) The yardstick for a transaction that moves money: pgbench's TPC-B-like one, on the same server.

PostgreSQL's own program in C, with prepared statements, one transaction for each payment.
"""

import asyncio
import os
import re
import resource
from asyncio.subprocess import PIPE, STDOUT

from benchmarks.books import agree
from benchmarks.processes import cpu_with_ended
from benchmarks.servers import Servers, connected
from paybell.storage.server_account import programs

DATABASE = "pgbench"
_TPS = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")
_DONE = re.compile(r"number of transactions actually processed: (\d+)")
_BOOKS = """
SELECT (SELECT count(*) FROM pgbench_history) AS transactions,
       (SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS moved,
       (SELECT sum(abalance) FROM pgbench_accounts) AS accounts,
       (SELECT sum(bbalance) FROM pgbench_branches) AS branches,
       (SELECT sum(tbalance) FROM pgbench_tellers) AS tellers
"""


async def prepare(servers: Servers, scale: int) -> None:
    """Make its tables; ``scale`` branches, more than clients, or they would queue for the branch's row."""
    await servers.execute(f"CREATE DATABASE {DATABASE}")
    await _pgbench(servers, "-i", "-q", "-s", str(scale))


async def run(servers: Servers, clients: int, seconds: int) -> tuple[float, float]:
    """Return its transactions per second, and CPU for each in microseconds, of client and server together.

    Raises:
        BooksWrong: its balances do not agree with its history.
    """
    async with connected(servers.url(DATABASE)) as connection:
        await connection.execute("CHECKPOINT")
        before = await connection.fetchval("SELECT count(*) FROM pgbench_history")
    cpu = _cpu(servers)
    said = await _pgbench(servers, "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(seconds))
    cpu = _cpu(servers) - cpu
    rate, done = _TPS.search(said), _DONE.search(said)
    assert rate, said
    assert done, said
    async with connected(servers.url(DATABASE)) as connection:
        books = await connection.fetchrow(_BOOKS)
    assert books is not None
    agree(
        "pgbench",
        transactions=(books["transactions"] - before, int(done[1])),
        accounts=(books["accounts"], books["moved"]),
        branches=(books["branches"], books["moved"]),
        tellers=(books["tellers"], books["moved"]),
    )
    return float(rate[1]), cpu / int(done[1]) * 1e6


def _cpu(servers: Servers) -> float:
    """Return the CPU seconds so far of PostgreSQL, whose backends end with pgbench, and of our children."""
    client = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu_with_ended(servers.postmaster) + client.ru_utime + client.ru_stime


async def _pgbench(servers: Servers, *arguments: str) -> str:
    environment = os.environ | {
        "PGHOST": servers.socket_folder,
        "PGUSER": "postgres",
        "PGDATABASE": DATABASE,
    }
    process = await asyncio.create_subprocess_exec(
        programs() / "pgbench", *arguments, env=environment, stdout=PIPE, stderr=STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    return said
