"""What is wrong with a database, in the words its operator reads; made in fact each time."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import structlog
from support import Databases, admin, connected, until

from paybell.clock import SystemClock
from paybell.errors import DatabaseBusy, DatabaseUnavailable, Misconfigured
from paybell.serving.databases import SCHEMAS
from paybell.storage import Database, Query, pool
from paybell.storage.migrate import migrate

NOTHING = Query("SELECT 1")
ISOLATION = Query("SHOW transaction_isolation")
_SSL_REQUEST = 8


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate for a host that vouches for itself; its key is beside it."""
    made = folder / f"{name}.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -batch"
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-out", str(made), "-keyout", f"{made}.key"]
    subprocess.run([*make.split(), *names, *files], check=True, capture_output=True)  # noqa: S603 - ours
    return made


class Front:
    """The TLS that a server has or has not, before the embedded one, which has none built in."""

    def __init__(self, server_path: str) -> None:
        """Use `tls_front`."""
        self._server_path = server_path
        self._carried: list[asyncio.StreamWriter] = []
        self.shows: Path | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one session, after TLS if there is a certificate to show."""
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(_SSL_REQUEST)
            writer.write(b"S" if self.shows else b"N")
            if self.shows:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.shows, f"{self.shows}.key")
                await writer.start_tls(context)
            server_reader, server_writer = await asyncio.open_unix_connection(self._server_path)
            self._carried += [writer, server_writer]
            await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))

    def cut(self) -> None:
        """Break all sessions there are."""
        for writer in self._carried:
            with suppress(AttributeError):  # Python 3.11.2 cannot end one that has ended already
                writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def tls_front(url: str, **query: object) -> AsyncIterator[tuple[Front, str]]:
    """Stand in front of the embedded server; yield the URL that leads there."""
    place, _, folder = url.partition("?host=")
    front = Front(f"{folder}/.s.PGSQL.5432")
    async with await asyncio.start_server(front.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        options = "&".join(f"{name}={value}" for name, value in query.items())
        yield front, f"{place.replace('@/', f'@localhost:{port}/')}?{options}"
        front.cut()


async def refused(url: str) -> str:
    """Open a database that is not to be had; return the sentence."""
    with pytest.raises((Misconfigured, DatabaseUnavailable)) as caught:
        async with Database.open(url, SystemClock(), wait_seconds=0.5):
            pass
    return str(caught.value)


# TLS -------------------------------------------------------------------------------------------------


async def test_a_certificate_of_another_ca_or_name_is_told_as_that(pay_url: str, tmp_path: Path) -> None:
    ours, theirs = certificate(tmp_path, "localhost"), certificate(tmp_path, "elsewhere.example")
    async with tls_front(pay_url, sslmode="verify-full", sslrootcert=ours) as (front, url):
        front.shows = ours
        async with Database.open(url, SystemClock()) as database:
            await database.check()

        front.shows = theirs
        assert "The database's TLS certificate is not accepted (self-signed certificate" in await refused(url)
    async with tls_front(pay_url, sslmode="verify-full", sslrootcert=theirs) as (front, url):
        front.shows = theirs
        assert "not accepted (Hostname mismatch, certificate is not valid for 'localhost'" in await refused(
            url
        )


async def test_a_missing_ca_file_and_a_server_without_tls_are_told_as_that(
    pay_url: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.pem"
    async with tls_front(pay_url, sslmode="verify-full", sslrootcert=missing) as (_, url):
        assert await refused(url) == (
            f"Its URL names {missing} as sslrootcert, which cannot be read; give a readable file."
        )
    async with tls_front(pay_url, sslmode="require") as (_, url):
        assert await refused(url) == (
            "The database's server offers no TLS, which sslmode in the URL asks for; switch it on there "
            "(ssl = on)."
        )
        with pytest.raises(Misconfigured, match="offers no TLS"):
            await migrate(url, SCHEMAS["pay"][0])


async def test_a_certificate_that_changes_while_we_run_is_an_outage_with_its_cause_in_the_log(
    pay_url: str, tmp_path: Path
) -> None:
    ours, theirs = certificate(tmp_path, "localhost"), certificate(tmp_path, "elsewhere.example")
    async with tls_front(pay_url, sslmode="verify-full", sslrootcert=ours) as (front, url):
        front.shows = ours
        async with Database.open(url, SystemClock(), name="pay") as database:
            await database.check()
            front.shows = theirs
            front.cut()
            with structlog.testing.capture_logs() as logs:

                async def noticed() -> bool:
                    with suppress(DatabaseUnavailable):
                        await database.fetch(NOTHING)
                    return any("TLS certificate is not accepted" in line.get("reason", "") for line in logs)

                await until(noticed)
            with pytest.raises(DatabaseUnavailable, match="TLS certificate is not accepted"):
                await database.check()

            front.shows = ours
            await database.check()


async def test_what_a_start_would_refuse_is_an_outage_while_we_run(pay_url: str, tmp_path: Path) -> None:
    """A file that is gone, a role that may not log in any more: no request, and no event, is to blame."""
    ours = certificate(tmp_path, "localhost")
    await admin(pay_url, "DROP ROLE IF EXISTS leaving")
    await admin(pay_url, "CREATE ROLE leaving LOGIN")
    leaving = pay_url.replace("//postgres:@", "//leaving:@")
    async with (
        tls_front(pay_url, sslmode="verify-full", sslrootcert=ours) as (front, url),
        AsyncExitStack() as opened,
    ):
        front.shows = ours
        encrypted = await opened.enter_async_context(Database.open(url, SystemClock()))
        plain = await opened.enter_async_context(Database.open(leaving, SystemClock()))
        ours.rename(tmp_path / "elsewhere.pem")
        await admin(pay_url, "ALTER ROLE leaving NOLOGIN")
        encrypted._sessions._distrust_idle()
        plain._sessions._distrust_idle()

        with pytest.raises(DatabaseUnavailable, match="as sslrootcert, which cannot be read"):
            await encrypted.check()
        with pytest.raises(DatabaseUnavailable, match='role "leaving" is not permitted to log in'):
            await plain.check()


async def test_a_pooler_that_refuses_how_we_begin_is_told_as_that() -> None:
    """As PgBouncer answers start parameters that it does not know."""
    words = "unsupported startup parameter: lock_timeout"
    fields = b"SFATAL\0C08P01\0M" + words.encode() + b"\0\0"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await refused(f"postgresql://pay@127.0.0.1:{port}/pay?sslmode=disable") == (
            f"The server refuses how we begin ({words}); a connection pooler must work in session mode and "
            "let start parameters pass."
        )


async def test_a_pooler_in_transaction_mode_is_told_as_that(pay_database: Database) -> None:
    """It hands on sessions in which somebody else has prepared a statement of the same name."""
    number = vars(asyncpg.connection)["_uid"] + 1
    taken = f"__asyncpg_stmt_{number:x}__"
    async with pay_database.transaction() as tx:
        await tx.execute(Query(f"PREPARE {taken} AS SELECT 1"))
        with pytest.raises(Misconfigured, match=r"pooler in transaction mode .* must work in session mode"):
            await tx.fetch(Query("SELECT 'prepared by us'"))


# Limits ----------------------------------------------------------------------------------------------


async def test_a_pool_larger_than_the_servers_limit_waits_for_a_session_that_comes_free(
    postgres: Databases,
) -> None:
    """And the server's words stand in the log, once."""
    for statement in ("DROP ROLE IF EXISTS few", "CREATE ROLE few LOGIN CONNECTION LIMIT 2"):
        await admin(postgres.pay, statement)
    url = postgres.pay.replace("//postgres:@", "//few:@")
    with structlog.testing.capture_logs() as logs:
        async with Database.open(url, SystemClock(), connections=8, name="pay") as database:

            async def ask(_: int) -> int:
                return len(await database.fetch(Query("SELECT pg_sleep(0.01)")))

            assert await asyncio.gather(*map(ask, range(60))) == [1] * 60
    reasons = [line["reason"] for line in logs if line["event"] == "database_outage"]
    (reason,) = reasons
    assert reason == (
        'The database lets no further session in (too many connections for role "few"); raise its limit, or '
        "lower PAYBELL_DATABASE_CONNECTIONS."
    )


async def test_a_server_that_others_have_filled_is_an_outage_that_ends_when_they_leave(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ACQUIRE_TIMEOUT_SECONDS", 0.5)
    for statement in ("DROP ROLE IF EXISTS few", "CREATE ROLE few LOGIN CONNECTION LIMIT 2"):
        await admin(postgres.pay, statement)
    url = postgres.pay.replace("//postgres:@", "//few:@")
    async with Database.open(url, SystemClock(), connections=2) as database, AsyncExitStack() as others:
        database._sessions._distrust_idle()

        async def taken() -> bool:  # once the server has seen our own leave
            with suppress(asyncpg.TooManyConnectionsError):
                await others.enter_async_context(connected(url))
                return True
            return False

        for _ in range(2):
            await until(taken)
        with pytest.raises(DatabaseUnavailable, match="lets no further session in"):
            await database.check()
        await others.aclose()

        async def well() -> bool:
            with suppress(DatabaseUnavailable):
                await database.check()
                return True
            return False

        await until(well)


async def test_sessions_that_are_all_in_use_are_no_silence_of_the_server(
    pay_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ACQUIRE_TIMEOUT_SECONDS", 0.2)
    async with Database.open(pay_url, SystemClock(), connections=1) as database, database.transaction():
        with pytest.raises(DatabaseUnavailable, match="All 1 sessions of this process were in use"):
            await database.check()


# Isolation and encoding ------------------------------------------------------------------------------


async def test_our_sessions_read_what_is_committed_whatever_the_servers_default_is(pay_url: str) -> None:
    await admin(pay_url, "ALTER DATABASE paybell_pay SET default_transaction_isolation = 'repeatable read'")
    try:
        async with Database.open(pay_url, SystemClock()) as database, database.transaction() as tx:
            assert [row[0] for row in await tx.fetch(ISOLATION)] == ["read committed"]
    finally:
        await admin(pay_url, "ALTER DATABASE paybell_pay RESET default_transaction_isolation")


async def test_a_commit_that_the_server_refuses_is_not_in_doubt(pay_url: str) -> None:
    """A failure of serialization is the server's own word that nothing was changed."""
    async with connected(pay_url) as rows:
        await rows.execute("CREATE TABLE late (n int)")
        await rows.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END$$"
        )
        await rows.execute(
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    async with Database.open(pay_url, SystemClock()) as database:
        with pytest.raises(DatabaseBusy):
            async with database.transaction() as tx:
                await tx.execute(Query("INSERT INTO late VALUES (1)"))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_name_is_refused(postgres: Databases, encoding: str) -> None:
    await admin(postgres.pay, "DROP DATABASE IF EXISTS narrow")
    await admin(postgres.pay, f"CREATE DATABASE narrow TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    url = postgres.pay.replace("/paybell_pay", "/narrow")
    wanted = (
        f"The database has the encoding {encoding}, which cannot hold every name; make it anew: "
        "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
    )
    assert await refused(url) == wanted
    with pytest.raises(Misconfigured, match=re.escape(wanted)):
        await migrate(url, SCHEMAS["pay"][0])


# The disk --------------------------------------------------------------------------------------------


async def test_a_full_disk_is_an_outage_told_in_one_line_that_names_the_disk(pay_url: str) -> None:
    """And the health check fails as long as writes are refused, though reads go on."""
    full = 'could not extend file "base/5/16384": No space left on device'
    async with connected(pay_url) as rows:
        await rows.execute("CREATE TABLE written (n int)")
        await rows.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN RAISE EXCEPTION '{full}' USING ERRCODE = 'disk_full'; END$$"
        )
        await rows.execute("CREATE TRIGGER late BEFORE INSERT ON written EXECUTE FUNCTION refuse()")
    sentence = f"The database's disk is full ({full}); make room on its server."
    async with Database.open(pay_url, SystemClock(), name="pay") as database:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    async with database.transaction() as tx:
                        await tx.execute(Query("INSERT INTO written VALUES (1)"))
        assert [(line["event"], line["database"], line["reason"]) for line in logs] == [
            ("database_outage", "pay", sentence)
        ]
        with pytest.raises(DatabaseUnavailable, match=re.escape(sentence)):
            await database.check()
