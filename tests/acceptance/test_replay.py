"""``paybell replay``: a purchase log is paid once, however often and however roughly it is run."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from serving import (
    PEPPER_SETTING,
    SECRET,
    Service,
    fresh_databases,
    fresh_number,
    fresh_user,
    process,
    run,
)
from support import Databases, connected, until

from paybell.storage.embedded import temporary_home

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEADER = "biz_order_no,user_id,amount,currency,subject,purchased_on"
SECRETS = {"jwt_secret": SECRET, "pin_pepper": PEPPER_SETTING}
REPLAY_SECONDS = 180.0


def write_log(path: Path, rows: Sequence[str]) -> Path:
    """Write a purchase log of these rows."""
    path.write_text("\n".join([HEADER, *rows, ""]))
    return path


def good_rows(count: int, users: int) -> tuple[list[str], int]:
    """Return payable rows, and what they add up to."""
    names = [fresh_user() for _ in range(users)]
    amounts = [number * 7 % 1000 + 1 for number in range(count)]
    rows = [
        f"{fresh_number()},{names[number % users]},{amount},USD,{number} CDs,1997-01-01"
        for number, amount in enumerate(amounts)
    ]
    return rows, sum(amounts)


def settings_of(urls: dict[str, str]) -> dict[str, object]:
    """Return the settings that service and replay have in common."""
    return {"database_url": urls["pay"], "trade_database_url": urls["trade"], **SECRETS}


def result_of(said: str) -> dict[str, Any]:
    """Return the last line."""
    return msgspec.json.decode(said.strip().splitlines()[-1], type=dict[str, Any])


async def count_paid(pay_url: str) -> int:
    """Count the paid pay orders in the database."""
    async with connected(pay_url) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM pay_orders WHERE status = 3"))


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for one embedded database."""
    with temporary_home("paybell-test-") as folder:
        yield folder


async def test_bad_rows_are_listed_and_stop_nobody(service: Service, tmp_path: Path) -> None:
    rows, total = good_rows(30, users=7)
    bad = [
        f"{fresh_number()},{fresh_user()},0,USD,nothing,1997-01-01",
        f"{fresh_number()},{fresh_user()},1.5,USD,a float,1997-01-01",
        f"{fresh_number()},{fresh_user()},100,XXX,no currency,1997-01-01",
        f"{fresh_number()},{fresh_user()},100",
        rows[3],
    ]
    log = write_log(tmp_path / "purchases.csv", [*rows[:10], *bad, *rows[10:]])

    code, said = await run(
        "replay",
        str(log),
        "--url",
        service.client.url,
        "--json",
        log=tmp_path / "log",
        seconds=REPLAY_SECONDS,
        **settings_of(dict(service.urls)),
    )

    result = result_of(said)
    listed = [(row["line"], row["reason"]) for row in result.pop("refusedRows")]
    assert code == 0, said
    assert result.pop("seconds") > 0
    assert result == {
        "orders": 35,
        "paid": 30,
        "markedPaid": 30,
        "refused": {"invalid_amount": 2, "unknown_currency": 1, "malformed": 1, "duplicate_order": 1},
        "debited": total,
        "lost": 0,
        "duplicated": 0,
        "ledgerBalanced": True,
    }
    assert listed == [
        (12, "invalid_amount"),
        (13, "invalid_amount"),
        (14, "unknown_currency"),
        (15, "malformed"),
        (16, "duplicate_order"),
    ]


async def test_rows_the_service_refuses_are_listed_too(service: Service, tmp_path: Path) -> None:
    """The order is known with another fee, so this row is not its payment."""
    rows, total = good_rows(5, users=2)
    user = fresh_user()
    order = await service.client.order(user, 77)
    log = write_log(tmp_path / "purchases.csv", [f"{order['id']},{user},78,CNY,other,1997-01-01", *rows])

    code, said = await run(
        "replay",
        str(log),
        "--url",
        service.client.url,
        log=tmp_path / "log",
        seconds=REPLAY_SECONDS,
        **settings_of(dict(service.urls)),
    )

    assert code == 0, said
    assert "line 2: order_mismatch" in said
    assert f"{total:,}" in said


async def test_without_a_service_one_is_started_and_the_same_file_again_changes_nothing(
    home: Path, tmp_path: Path
) -> None:
    rows, total = good_rows(40, users=9)
    log = write_log(tmp_path / "purchases.csv", rows)

    results = []
    for number in range(2):
        code, said = await run(
            "replay", str(log), "--json", log=tmp_path / f"log{number}", seconds=REPLAY_SECONDS, home=home
        )
        assert code == 0, said
        results.append(result_of(said))
        del results[-1]["seconds"]

    assert results[0] == results[1]
    assert (results[0]["paid"], results[0]["markedPaid"], results[0]["debited"]) == (40, 40, total)
    assert sum((results[0]["lost"], results[0]["duplicated"])) == 0


async def test_a_service_killed_half_way_leaves_the_same_totals(postgres: Databases, tmp_path: Path) -> None:
    """Killed with SIGKILL in the middle: the replay says so, and the next one ends as if nothing had been."""
    urls = await fresh_databases(postgres)
    rows, total = good_rows(400, users=20)
    log = write_log(tmp_path / "purchases.csv", rows)

    with process("serve", log=tmp_path / "serve1", port=0, **settings_of(urls)) as service:
        replaying = process(
            "replay",
            str(log),
            "--url",
            await service.url(),
            "--concurrency",
            "4",
            "--patience",
            "1",
            log=tmp_path / "replay1",
            **settings_of(urls),
        )
        with replaying as killed:
            await until(lambda: _at_least(urls["pay"], 50), seconds=REPLAY_SECONDS)
            service.kill()
            assert await killed.ended() == 1
            assert "is away for longer than 1 s" in " ".join(killed.said.split())
    paid_before = await count_paid(urls["pay"])
    assert 50 <= paid_before < 400

    with process("serve", log=tmp_path / "serve2", port=0, **settings_of(urls)) as service:
        code, said = await run(
            "replay",
            str(log),
            "--url",
            await service.url(),
            "--json",
            log=tmp_path / "replay2",
            seconds=REPLAY_SECONDS,
            **settings_of(urls),
        )

    result = result_of(said)
    assert code == 0, said
    assert (result["paid"], result["markedPaid"], result["debited"]) == (400, 400, total)
    assert (result["lost"], result["duplicated"], result["ledgerBalanced"]) == (0, 0, True)


async def test_a_replay_outlives_a_crash_of_the_service(postgres: Databases, tmp_path: Path) -> None:
    """A service that is back within the replay's patience is all it takes."""
    urls = await fresh_databases(postgres)
    rows, total = good_rows(400, users=20)
    log = write_log(tmp_path / "purchases.csv", rows)

    with process("serve", log=tmp_path / "serve1", port=0, **settings_of(urls)) as first:
        url = await first.url()
        replaying = process(
            "replay",
            str(log),
            "--url",
            url,
            "--concurrency",
            "4",
            "--patience",
            "120",
            "--json",
            log=tmp_path / "replay",
            **settings_of(urls),
        )
        with replaying as patient:
            await until(lambda: _at_least(urls["pay"], 50), seconds=REPLAY_SECONDS)
            first.kill()
            port = url.rpartition(":")[2]
            with process("serve", log=tmp_path / "serve2", port=port, **settings_of(urls)):
                code = await patient.ended(REPLAY_SECONDS)
            said = patient.said

    result = result_of(said)
    assert code == 0, said
    assert (result["paid"], result["markedPaid"], result["debited"]) == (400, 400, total)
    assert (result["lost"], result["duplicated"], result["ledgerBalanced"]) == (0, 0, True)


async def test_a_service_with_another_secret_is_told_apart_from_a_refusal(
    service: Service, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "purchases.csv", good_rows(1, users=1)[0])

    code, said = await run(
        "replay",
        str(log),
        "--url",
        service.client.url,
        log=tmp_path / "log",
        seconds=REPLAY_SECONDS,
        **settings_of(dict(service.urls)) | {"jwt_secret": "another secret of at least 32 bytes"},
    )

    assert code == 1
    assert "does not accept our tokens" in " ".join(said.split())


async def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b,c\n1,2,3\n")

    missing, wrong = await asyncio.gather(
        run("replay", str(tmp_path / "missing.csv"), log=tmp_path / "log1"),
        run("replay", str(other), log=tmp_path / "log2"),
    )

    assert missing[0] == wrong[0] == 1
    assert "cannot be read: No such file or directory." in " ".join(missing[1].split())
    assert f"its first line must be {HEADER}" in " ".join(wrong[1].split())


async def _at_least(pay_url: str, count: int) -> bool:
    return await count_paid(pay_url) >= count
