"""Migrations: what a database is told, what it is asked, and what a person reads when one stops."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from support import Databases, admin, connected

from paybell.clock import SystemClock
from paybell.errors import DatabaseUnavailable, Misconfigured
from paybell.serving.databases import SCHEMAS, prepare
from paybell.settings import Settings
from paybell.storage import migrate as migrations
from paybell.storage.migrate import migrate
from paybell.storage.schema import Schema

pytestmark = pytest.mark.slow

NEWER = "INSERT INTO paybell_schema_versions (schema, version, floor) VALUES ('pay', '9999', $1)"


def schema(folder: Path, *scripts: str) -> Schema:
    """Write numbered scripts; return them as a schema."""
    for number, text in enumerate(scripts, 1):
        (folder / f"{number:04}_step.sql").write_text(text)
    return Schema("drawn", folder)


async def versions(url: str, name: str = "drawn") -> Sequence[str]:
    async with connected(url) as rows:
        query = "SELECT version FROM paybell_schema_versions WHERE schema = $1 ORDER BY version"
        return [row["version"] for row in await rows.fetch(query, name)]


async def test_a_release_starts_on_a_newer_schema_down_to_its_floor(pay_url: str) -> None:
    """So releases are replaced one by one, and there is a way back; a script can forbid it."""
    settings = Settings(database_url=pay_url)
    newest = SCHEMAS["pay"][0].scripts()[-1].version
    async with connected(pay_url) as rows:
        await rows.execute(NEWER, newest)
        await prepare(settings, {"pay": pay_url}, SystemClock())
        assert await migrate(pay_url, SCHEMAS["pay"][0]) == ("9999", "9999")

        await rows.execute("UPDATE paybell_schema_versions SET floor = '9998' WHERE version = '9999'")
        with pytest.raises(Misconfigured, match="nothing older than 9998 can use it: run the newer release"):
            await prepare(settings, {"pay": pay_url}, SystemClock())


async def test_the_query_of_the_upgrade_notes_shows_where_a_schema_stands(pay_url: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "upgrading.md").read_text()
    (query,) = [line.strip() for line in page.splitlines() if line.startswith("    SELECT ")]

    async with connected(pay_url) as rows:
        (row,) = await rows.fetch(query)

    known = await migrations.revision(pay_url, SCHEMAS["pay"][0])
    assert tuple(row) == ("pay", known.current, known.floor)


async def test_a_script_keeps_its_floor_and_lets_the_release_before_it_run_unless_it_says_otherwise(
    pay_url: str, tmp_path: Path
) -> None:
    drawn = schema(tmp_path, "SELECT 1;", "SELECT 2;", "-- floor: 0003\nSELECT 3;")
    assert await migrate(pay_url, drawn) == (None, "0003")

    assert [script.floor for script in drawn.scripts()] == ["0001", "0001", "0003"]
    assert (await migrations.revision(pay_url, drawn)).floor == "0003"


async def test_a_table_of_versions_from_before_floors_and_checksums_is_read_and_completed(
    pay_url: str,
) -> None:
    (pay,) = SCHEMAS["pay"]
    async with connected(pay_url) as rows:
        await rows.execute("ALTER TABLE paybell_schema_versions DROP COLUMN floor, DROP COLUMN checksum")
        assert (await migrations.revision(pay_url, pay)).usable
        await migrate(pay_url, pay)

        assert await rows.fetchval("SELECT bool_and(checksum IS NOT NULL) FROM paybell_schema_versions")


async def test_a_script_that_was_edited_after_it_was_applied_is_refused(pay_url: str, tmp_path: Path) -> None:
    await migrate(pay_url, schema(tmp_path, "CREATE TABLE drawn (n int);"))

    with pytest.raises(Misconfigured, match="Script 0001 of schema drawn is not the one that was applied"):
        await migrate(pay_url, schema(tmp_path, "CREATE TABLE drawn (n bigint);"))


async def test_a_migration_gives_up_on_a_held_table_and_goes_on_where_it_stopped(
    pay_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payments queue behind whoever waits for a table."""
    monkeypatch.setitem(migrations._SERVER_SETTINGS, "lock_timeout", "50ms")
    first = "CREATE TABLE drawn (n int);"
    await migrate(pay_url, schema(tmp_path, first))
    drawn = schema(tmp_path, first, "ALTER TABLE drawn ADD COLUMN m int;")
    async with connected(pay_url) as holding, holding.transaction():
        await holding.execute("LOCK TABLE drawn IN ACCESS SHARE MODE")
        with pytest.raises(DatabaseUnavailable, match="script 0002: another session has held a table"):
            await migrate(pay_url, drawn)
    assert await versions(pay_url) == ["0001"]

    assert await migrate(pay_url, drawn) == ("0001", "0002")


async def test_an_index_can_be_built_while_others_write(pay_url: str, tmp_path: Path) -> None:
    """Which PostgreSQL refuses inside of a transaction."""
    index = "-- outside a transaction\nDROP INDEX CONCURRENTLY IF EXISTS by_n;\n"
    index += "CREATE INDEX CONCURRENTLY by_n ON drawn (n);\n"
    await migrate(pay_url, schema(tmp_path, "CREATE TABLE drawn (n int);", index))

    assert await versions(pay_url) == ["0001", "0002"]


async def test_a_migration_that_the_server_cuts_off_says_what_stays_and_what_to_do(
    pay_url: str, tmp_path: Path
) -> None:
    end = "CREATE TABLE later (n int); SELECT pg_terminate_backend(pg_backend_pid());"
    wanted = (
        r"script 0002: the server ended the connection\. What came before is applied; run paybell migrate"
    )
    with pytest.raises(DatabaseUnavailable, match=wanted):
        await migrate(pay_url, schema(tmp_path, "CREATE TABLE drawn (n int);", end))

    assert await versions(pay_url) == ["0001"]


async def test_one_database_for_both_needs_a_schema_each_and_the_refusal_says_so(postgres: Databases) -> None:
    await admin(postgres.pay, "DROP DATABASE IF EXISTS both_in_one")
    await admin(postgres.pay, "CREATE DATABASE both_in_one")
    url = postgres.pay.replace("/paybell_pay", "/both_in_one")
    await migrate(url, SCHEMAS["pay"][0])
    with pytest.raises(Misconfigured, match=r"already exists.*CREATE SCHEMA trade; .*\?search_path=trade"):
        await migrate(url, SCHEMAS["trade"][0])

    async with connected(url) as rows:
        await rows.execute("CREATE SCHEMA trade")
    for trade_schema in SCHEMAS["trade"]:
        assert (await migrate(f"{url}&search_path=trade", trade_schema))[0] is None
    await admin(postgres.pay, "DROP DATABASE both_in_one")
