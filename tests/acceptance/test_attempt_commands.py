"""What operators and implementers type: ``paybell attempts`` and ``paybell wallet check``."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import split
from typing import Any

import pytest
import pytest_asyncio
from serving import SETTINGS, Client, Service, fresh_databases, fresh_number, in_process, run
from support import Databases
from wallets import PASSWORD, Between, wallet_service

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass(frozen=True, slots=True)
class Legacy:
    """A service whose wallet has no ids."""

    service: Service
    between: Between
    wallet_url: str

    async def command(self, log: Path, *arguments: str, token: str = "") -> tuple[int, Any]:
        """Run a command on this service's databases; return its exit code and its JSON, or what it said."""
        code, said = await run(
            *arguments,
            log=log,
            operator_token=token,
            database_url=self.service.urls["pay"],
            trade_database_url=self.service.urls["trade"],
            jwt_secret=SETTINGS.jwt_secret,
            pin_pepper=SETTINGS.pin_pepper,
        )
        return code, json.loads(said.splitlines()[-1]) if "--json" in arguments and code == 0 else said


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def legacy(postgres: Databases) -> AsyncIterator[Legacy]:
    async with wallet_service() as (wallet, between, url):
        wallet.open("alice", PASSWORD, 10_000)
        settings = replace(SETTINGS, wallet_url=url, wallet_kind="legacy")
        async with in_process(await fresh_databases(postgres), settings=settings) as running:
            yield Legacy(running, between, url)


async def in_doubt(http: Client) -> str:
    """Return a pay order whose payment nobody can know of."""
    body = {"bizOrderNo": str(fresh_number()), "payerId": "alice", "amount": 100}
    order = str((await http.post("/pay-orders", http.shop, body)).json["payOrderId"])
    answer = await http.post(f"/pay-orders/{order}/pay", http.token("alice"), {"payPassword": "my login"})
    assert answer.status == 202
    return order


async def test_two_people_settle_by_hand_what_nobody_can_know(legacy: Legacy, tmp_path: Path) -> None:
    http, log = legacy.service.client, tmp_path / "log"
    order = await in_doubt(http)
    _, listed = await legacy.command(log, "attempts", "list", "--json")
    (attempt,) = [one["attemptId"] for one in listed if one["payOrderId"] == order]
    settle = ("attempts", "settle", attempt, "paid", "--note", "row 8812", "--json")

    ann, ben = (http.token(name, "ops:repair") for name in ("ann", "ben"))
    assert await legacy.command(log, *settle, token=ann) == (
        0,
        {"attemptId": attempt, "state": "MANUAL", "decided": False},
    )
    code, said = await legacy.command(log, *settle, token=ann)
    assert code == 1
    assert "Another person has to confirm this settlement" in said
    assert await legacy.command(log, *settle, token=ben) == (
        0,
        {"attemptId": attempt, "state": "SUCCEEDED", "decided": True},
    )
    assert (await http.get(f"/pay-orders/{order}", http.shop)).json["status"] == "TRADE_SUCCESS"
    detail = (await http.get(f"/attempts/{attempt}", http.shop)).json
    assert (detail["settlement"]["askedBy"], detail["settlement"]["confirmedBy"]) == ("ann", "ben")


async def test_the_command_that_is_shown_to_the_second_person_settles_it(
    legacy: Legacy, tmp_path: Path
) -> None:
    http, log = legacy.service.client, tmp_path / "log"
    order = await in_doubt(http)
    attempts = (await http.get(f"/pay-orders/{order}/attempts", http.shop)).json["attempts"]
    attempt = attempts[0]["attemptId"]
    ann, ben = (http.token(name, "ops:repair") for name in ("ann", "ben"))
    given = ("paid", "--note", "row 1", "--reference", "number 8 of 12")

    _, said = await legacy.command(log, "attempts", "settle", attempt, *given, token=ann)
    _, shown = await legacy.command(log, "attempts", "show", attempt)
    command = said.partition("confirm it: paybell ")[2].strip().removesuffix(".")
    code, done = await legacy.command(log, *split(command), "--json", token=ben)

    assert command in shown
    assert (code, done["state"]) == (0, "SUCCEEDED")


async def test_a_list_of_nothing_says_so(postgres: Databases, tmp_path: Path) -> None:
    urls = await fresh_databases(postgres)
    where: dict[str, Any] = {"database_url": urls["pay"], "trade_database_url": urls["trade"]}
    said = []
    for words in (
        "attempts list",
        "attempts list --need manual",
        "dead-letters list --state retry",
        "verify",
    ):
        code, text = await run(*words.split(), log=tmp_path / "log", **where)
        assert code == 0
        said += text.splitlines()

    assert said == [
        "No attempt needs a person.",
        "None.",
        "None is retry.",
        "The books are empty: 0 wrong.",
        "Nothing is sealed yet.",
    ]


async def test_a_command_takes_back_what_was_asked_for(legacy: Legacy, tmp_path: Path) -> None:
    """What is listed says who has to do what; what was withdrawn can be asked for anew, by anybody."""
    http, log = legacy.service.client, tmp_path / "log"
    order = await in_doubt(http)
    attempts = (await http.get(f"/pay-orders/{order}/attempts", http.shop)).json["attempts"]
    attempt = attempts[0]["attemptId"]
    ann, ben = (http.token(name, "ops:repair") for name in ("ann", "ben"))
    await legacy.command(log, "attempts", "settle", attempt, "paid", "--note", "row 1", token=ann)

    _, listed = await legacy.command(log, "attempts", "list")
    assert "another one than ann to confirm paid" in listed
    code, said = await legacy.command(log, "attempts", "withdraw", attempt)
    assert code == 1
    assert "PAYBELL_OPERATOR_TOKEN" in said
    _, done = await legacy.command(log, "attempts", "withdraw", attempt, "--json", token=ben)
    assert done == {"attemptId": attempt, "withdrawn": True}
    _, shown = await legacy.command(log, "attempts", "show", attempt, "--json")
    moments = [(one["what"], one["who"]) for one in shown["history"][-2:]]
    assert (shown["settlement"], moments) == (None, [("asked", "ann"), ("withdrawn", "ben")])
    _, shown = await legacy.command(log, "attempts", "show", attempt)
    assert f"paybell attempts settle {attempt} paid|not_paid" in shown
    actions = (await http.get("/ops/actions", http.shop)).json["actions"]
    assert (actions[0]["who"], actions[0]["action"]) == ("ben", "withdraw settlement")


async def test_an_implementer_reads_what_is_wrong(legacy: Legacy, tmp_path: Path) -> None:
    check = ("wallet", "check", legacy.wallet_url, "--user", "alice", "--pay-password", PASSWORD, "--json")
    code, found = await legacy.command(tmp_path / "log", *check)
    assert (code, found["wrong"]) == (0, {})
    assert found["rules"] > 15
