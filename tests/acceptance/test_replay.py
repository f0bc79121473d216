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
        "leftInWallets": 0,
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


async def replayed(service: Service, folder: Path, rows: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Replay a log of these rows; return the exit code and the result."""
    code, said = await run(
        "replay",
        str(write_log(folder / "purchases.csv", rows)),
        "--url",
        service.client.url,
        "--json",
        log=folder / "log",
        seconds=REPLAY_SECONDS,
        **settings_of(dict(service.urls)),
    )
    return code, result_of(said)


async def test_a_log_that_is_mended_or_has_grown_is_not_funded_again(
    service: Service, tmp_path: Path
) -> None:
    user = fresh_user()
    good, bad, more = (f"{fresh_number()},{user},{amount},CNY,s,d" for amount in ("1000", "10.00", "500"))

    first = await replayed(service, tmp_path, [good, bad])
    mended = await replayed(service, tmp_path, [good, bad.replace("10.00", "1000")])
    grown = await replayed(service, tmp_path, [good, bad.replace("10.00", "1000"), more])

    assert [code for code, _ in (first, mended, grown)] == [0, 0, 0]
    assert [result["paid"] for _, result in (first, mended, grown)] == [1, 2, 3]
    assert await service.client.balance(user) == 0


async def test_an_order_that_was_paid_and_refunded_was_paid(service: Service, tmp_path: Path) -> None:
    """In part or whole; neither lost nor paid again."""
    user, http = fresh_user(), service.client
    numbers = [fresh_number() for _ in range(2)]
    rows = [f"{number},{user},1000,CNY,s,d" for number in numbers]
    await replayed(service, tmp_path, rows)
    for number, amount, status in zip(numbers, (300, 1_000), ("PARTIALLY_REFUNDED", "REFUNDED"), strict=True):
        order = await http.get(f"/pay-orders/biz/{number}", http.shop)
        path, key = f"/pay-orders/{order.json['payOrderId']}/refunds", {"Idempotency-Key": "r"}
        assert (await http.send("POST", path, http.shop, {"amount": amount}, headers=key)).status == 201
        await http.until_order(str(number), status)

    code, result = await replayed(service, tmp_path, rows)

    assert (code, result["paid"], result["markedPaid"], result["lost"]) == (0, 2, 2, 0)
    assert await http.balance(user) == 1_300


@pytest.mark.parametrize("password", ["654321", "123456"])
async def test_a_wallet_that_no_replay_opened_is_neither_funded_nor_tried(
    service: Service, tmp_path: Path, password: str
) -> None:
    """Whatever its pay password is; its owner pays as before, and its rows are listed."""
    user, http = fresh_user(), service.client
    wallet = {"userId": user, "payPassword": password, "currency": "CNY"}
    assert (await http.post("/wallets", http.shop, wallet)).status == 201
    await http.top_up(user, 777, "mine")
    rows = [f"{fresh_number()},{user},1000,CNY,s,d" for _ in range(6)]

    code, result = await replayed(service, tmp_path, rows)
    others, mixed = await replayed(service, tmp_path, [*rows, f"{fresh_number()},{fresh_user()},5,CNY,s,d"])

    own = await http.order(user, 1, currency="CNY")
    assert (await http.pay(own["payOrderId"], user, password)).status == 200
    assert await http.balance(user) == 776
    assert (code, result["refused"], result["leftInWallets"]) == (1, {"wallet_of_others": 6}, 0)
    assert "nothing was put into it or tried" in result["refusedRows"][0]["detail"]
    assert (others, mixed["paid"], mixed["refused"]) == (0, 1, {"wallet_of_others": 6})


async def test_a_wallet_that_its_owner_has_taken_over_is_neither_funded_nor_tried(
    service: Service, tmp_path: Path
) -> None:
    """A replay opened it; its pay password is its owner's by now."""
    user, http = fresh_user(), service.client
    await replayed(service, tmp_path, [f"{fresh_number()},{user},5,CNY,s,d"])
    async with connected(service.urls["pay"]) as rows:
        await rows.execute(
            "UPDATE wallets SET pay_password = '1$0$0' WHERE account_id = "
            "(SELECT id FROM accounts WHERE owner_id = $1 AND kind = 'wallet')",
            user,
        )

    code, result = await replayed(service, tmp_path, [f"{fresh_number()},{user},5,CNY,s,d"])

    assert (code, result["refused"]) == (1, {"wallet_of_others": 1})
    assert await http.balance(user) == 0


async def test_an_order_whose_time_is_over_or_nearly_is_listed_and_not_funded(
    service: Service, tmp_path: Path
) -> None:
    """Made by somebody else: closed, about to fall due, or cancelled at the order service."""
    user, http = fresh_user(), service.client
    closed = await http.apply(user, 5, expiresInSeconds=600)
    due = await http.apply(user, 5, expiresInSeconds=30)
    assert (await http.post(f"/pay-orders/{closed['payOrderId']}/close", http.shop)).status == 200
    cancelled = await http.order(user, 5)
    assert (await http.post(f"/orders/{cancelled['id']}/cancel", http.shop)).status == 200
    numbers = closed["bizOrderNo"], due["bizOrderNo"], cancelled["id"]
    fresh = f"{fresh_number()},{user},5,CNY,s,d"

    code, result = await replayed(service, tmp_path, [*(f"{n},{user},5,CNY,s,d" for n in numbers), fresh])

    assert (code, result["paid"], result["refused"]) == (1, 1, {"pay_order_closed": 2, "order_cancelled": 1})
    assert any("it can be paid until" in row["detail"] for row in result["refusedRows"])
    assert await http.balance(user) == 0


async def test_a_replay_that_was_killed_is_finished_after_the_usual_deadline(
    postgres: Databases, tmp_path: Path
) -> None:
    """Killed with SIGKILL with orders made, funded and not paid; the next one pays them all."""
    urls = await fresh_databases(postgres)
    settings = settings_of(urls)
    rows, total = good_rows(400, users=20)
    log = write_log(tmp_path / "purchases.csv", rows)

    with process("serve", log=tmp_path / "serve", port=0, order_ttl_seconds=1, **settings) as service:
        url = await service.url()
        with process("replay", str(log), "--url", url, log=tmp_path / "first", **settings) as first:
            await until(lambda: _at_least(urls["pay"], 50), seconds=REPLAY_SECONDS)
            first.kill()
        paid_before = await count_paid(urls["pay"])
        await until(lambda: _no_order_for(urls["pay"], 1.5), seconds=REPLAY_SECONDS)
        code, said = await run(
            *("replay", str(log), "--url", url, "--json"),
            log=tmp_path / "log",
            seconds=REPLAY_SECONDS,
            **settings,
        )

    result = result_of(said)
    assert paid_before < 400
    assert code == 0, said
    assert (result["paid"], result["markedPaid"], result["debited"]) == (400, 400, total)
    async with connected(urls["pay"]) as connection:
        query = "SELECT sum(credits - debits) FROM accounts WHERE kind = 'wallet'"
        assert await connection.fetchval(query) == 0


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


async def _no_order_for(pay_url: str, seconds: float) -> bool:
    """Say whether the newest pay order is older than that: the usual deadline of all is over."""
    async with connected(pay_url) as connection:
        query = "SELECT now() - max(created_at) > make_interval(secs => $1) FROM pay_orders"
        return bool(await connection.fetchval(query, seconds))
