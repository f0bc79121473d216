"""``paybell demo``: one command, and every promise can be seen to hold."""

from pathlib import Path

import msgspec
import pytest
from amqp import stranger
from serving import run

from paybell.messaging.events import topology, trade_topology

# 40 orders, dealt by the shares of `paybell.cli.demo_plan.CASES`.
EXPECTED = {
    "orders": 40,
    "paid": 34,
    "refused": {
        "wrong_pay_password": 2,
        "insufficient_balance": 2,
        "not_the_payer": 2,
        "pay_order_closed": 2,
    },
    "markedPaid": 34,
    "lost": 0,
    "duplicated": 0,
    "ledgerBalanced": True,
}
DEMO_SECONDS = 180.0


async def test_the_demo_ends_with_one_line_in_which_nothing_is_lost(tmp_path: Path) -> None:
    """It uses a home of its own: databases that are configured for real work are not touched."""
    unreachable = "postgresql://nobody@127.0.0.1:1/real"

    code, said = await run(
        "demo",
        "--orders",
        "40",
        "--buyers",
        "5",
        "--json",
        log=tmp_path / "log",
        seconds=DEMO_SECONDS,
        database_url=unreachable,
        trade_database_url=unreachable,
    )

    result = msgspec.json.decode(said.strip().splitlines()[-1])
    assert code == 0, said
    assert result == EXPECTED | {
        "broker": "local",
        **{name: result[name] for name in ("seconds", "p50Ms", "p99Ms", "firstPaidSeconds")},
    }
    assert 0 < result["p50Ms"] <= result["p99Ms"]
    assert 0 < result["firstPaidSeconds"] < result["seconds"]


async def test_the_demo_shows_a_person_what_was_tried(tmp_path: Path) -> None:
    code, said = await run("demo", "--orders", "40", log=tmp_path / "log", seconds=DEMO_SECONDS)

    assert code == 0, said
    assert "not enough balance" in " ".join(said.split())
    assert "34 paid, 34 marked paid" in " ".join(said.split())


@pytest.mark.rabbitmq
async def test_the_demo_is_the_same_over_rabbitmq(tmp_path: Path, rabbitmq_url: str) -> None:
    code, said = await run(
        "demo",
        "--orders",
        "40",
        "--broker",
        "rabbitmq",
        "--json",
        log=tmp_path / "log",
        seconds=DEMO_SECONDS,
        test_amqp_url=rabbitmq_url,
    )

    result = msgspec.json.decode(said.strip().splitlines()[-1])
    assert code == 0, said
    assert {name: result[name] for name in EXPECTED} == EXPECTED
    assert result["broker"] == "rabbitmq"


async def test_a_demo_of_no_orders_is_refused(tmp_path: Path) -> None:
    code, said = await run("demo", "--orders", "0", log=tmp_path / "log")

    assert code != 0
    assert "--orders" in said


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ("pay", {"side": "pay", "orders": 20, "paid": 20, "markedPaid": 20}),
        ("trade", {"side": "trade", "orders": 20, "markedPaid": 18, "cancelled": 2}),
    ],
)
async def test_one_side_may_be_a_shops_own(
    side: str, expected: dict[str, object], tmp_path: Path, rabbitmq_url: str
) -> None:
    """Its own orders are marked by our messages, or our orders by those of its own pay service."""
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
        outside.forget(trade_topology())
    code, said = await run(
        *("demo", "--side", side, "--orders", "20", "--json"),
        log=tmp_path / "log",
        seconds=DEMO_SECONDS,
        test_amqp_url=rabbitmq_url,
    )

    assert code == 0, said
    assert msgspec.json.decode(said.strip().splitlines()[-1]) == expected
