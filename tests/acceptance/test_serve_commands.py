"""The smaller commands as processes: token, migrate, dead-letters."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serving import PEPPER_SETTING, SECRET, Client, fresh_databases, fresh_user, in_process, process, run
from support import Databases, admin, connected, until

from paybell.clock import SystemClock
from paybell.tokens import Tokens

pytestmark = pytest.mark.slow


async def result(*arguments: str, log: Path, **settings: Any) -> Any:
    """Run a command with --json and return its last line."""
    code, said = await run(*arguments, "--json", log=log / "log", **settings)
    assert code == 0, said
    return json.loads(said.splitlines()[-1])


async def test_a_minted_token_opens_the_service_of_the_same_folder(home: Path) -> None:
    """The first of the two to run makes the secret, the other one finds it."""
    code, said = await run("token", "7", "--scope", "wallets:write orders:write", log=home / "t", home=home)
    made, plain = said.splitlines()  # the first of them says so on stderr
    minted = await result("token", "7", "--merchant", "m2", "--lifetime-seconds", "60", log=home, home=home)
    with process("serve", log=home / "log", home=home, port=0) as service:
        async with Client.open(await service.url(), (home / "jwt-secret").read_text()) as client:
            opened = await client.post("/wallets", plain, {"userId": "7", "payPassword": "123456"})
            read = await client.get("/wallets/7", minted["token"])
            principal = client.tokens.verify(minted["token"])

    assert code == 0
    assert made.startswith("Made a new home /")
    assert f"{home.name} with a secret of its own" in made
    assert (opened.status, read.status) == (201, 200)
    assert minted["expiresInSeconds"] == 60
    assert (principal.user_id, principal.merchant_id, principal.scopes) == ("7", "m2", frozenset())


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", ""),
        ("token", "x" * 65),
        ("token", "a\nb"),
        ("token", "7", "--merchant", "a\tb"),
        ("dead-letters", "show", "1"),
        ("migrate", "--listeners", "nothing"),
    ],
    ids=str,
)
async def test_what_cannot_be_done_is_one_sentence_and_exit_code_1(
    home: Path, arguments: tuple[str, ...]
) -> None:
    code, said = await run(*arguments, log=home / "log", home=home)

    assert code == 1
    assert said.startswith("paybell: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("token",),
        ("token", "7", "--lifetime-seconds", "0"),
        ("dead-letters", "show", "0"),
        ("dead-letters", "show", "99999999999999999999"),
        ("dead-letters", "replay", "x"),
        ("dead-letters", "list", "--most", "-1"),
        ("dead-letters", "list", "--state", "alive"),
        ("serve", "--workers", "0"),
        ("serve", "--role", "boss"),
        ("nothing",),
    ],
    ids=str,
)
async def test_a_wrong_command_line_is_explained_with_exit_code_2(
    home: Path, arguments: tuple[str, ...]
) -> None:
    code, said = await run(*arguments, log=home / "log", home=home)

    assert code == 2
    assert "Error" in said
    assert "Traceback" not in said
    assert not (home / "postgres").exists()


@pytest.mark.parametrize("deed", ["replay", "acknowledge"])
async def test_a_number_that_is_no_dead_letters_is_not_passed_over(
    postgres: Databases, tmp_path: Path, deed: str
) -> None:
    url = (await fresh_databases(postgres))["trade"]

    code, said = await run("dead-letters", deed, "98", "99", log=tmp_path / "log", trade_database_url=url)

    assert code == 1
    assert said.splitlines()[-1].startswith("paybell: 2 left as they are: paybell dead-letters show ID")


async def test_a_scope_that_nobody_knows_is_told(home: Path) -> None:
    tokens = Tokens(SECRET, SystemClock(), merchant_id="1", require_expiry=True)
    scopes = "wallet:write orders:read"

    code, said = await run("token", "7", "--scope", scopes, log=home / "log", home=home, jwt_secret=SECRET)

    warning, minted = said.splitlines()
    assert code == 0
    assert warning == ("Paybell knows no scope wallet:write: it opens nothing here. Is it wallets:write?")
    assert tokens.verify(minted).scopes == set(scopes.split())


async def test_a_command_that_is_not_told_what_to_do_it_to_ends_with_exit_code_2(home: Path) -> None:
    code, said = await run("dead-letters", "replay", log=home / "log", home=home)

    assert (code, said) == (2, "paybell: Say which: row ids, --reason or --all.\n")


async def test_migrating_is_repeatable_and_says_from_where_to_where(
    postgres: Databases, tmp_path: Path
) -> None:
    urls = {}
    for name, beside in (("database_url", postgres.pay), ("trade_database_url", postgres.trade)):
        database = f"migrated_{name}"
        await admin(beside, f"DROP DATABASE IF EXISTS {database}")
        await admin(beside, f"CREATE DATABASE {database}")
        urls[name] = beside.replace("/paybell_pay", f"/{database}").replace("/paybell_trade", f"/{database}")

    first = await result("migrate", log=tmp_path, **urls)
    again = await result("migrate", log=tmp_path, **urls)

    assert [step["schema"] for step in first] == ["pay", "trade", "listeners"]
    assert [step["from"] for step in first] == [None, None, None]
    assert [step["from"] for step in again] == [step["to"] for step in first] == [s["to"] for s in again]


async def test_a_terminal_that_cannot_show_an_arrow_fails_no_migration(
    postgres: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    await admin(postgres.pay, "DROP DATABASE IF EXISTS own_listeners")
    await admin(postgres.pay, "CREATE DATABASE own_listeners")
    url = postgres.pay.replace("/paybell_pay", "/own_listeners")

    code, said = await run("migrate", "--listeners", url, log=tmp_path / "migrate")

    assert code == 0
    assert re.fullmatch(r"listeners: empty \? \d{4}\n", said)


async def test_a_database_of_our_own_can_hold_listeners(postgres: Databases, tmp_path: Path) -> None:
    """For whoever writes a listener: inbox and failed deliveries, and nothing else of ours."""
    await admin(postgres.pay, "DROP DATABASE IF EXISTS own_listeners")
    await admin(postgres.pay, "CREATE DATABASE own_listeners")
    url = postgres.pay.replace("/paybell_pay", "/own_listeners")

    steps = await result("migrate", "--listeners", url, log=tmp_path, home="/dev/null/never-used")

    assert [(step["schema"], step["from"]) for step in steps] == [("listeners", None)]
    async with connected(url) as rows:
        tables = await rows.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert [row["tablename"] for row in tables] == [
        "failed_deliveries",
        "inbox",
        "operator_actions",
        "paybell_schema_versions",
        "suspected_deliveries",
    ]


async def test_dead_letters_of_ones_own_listeners_are_looked_at_where_they_are(
    postgres: Databases, tmp_path: Path
) -> None:
    """Without a database of Paybell's own; one that was not prepared is told the command for it."""
    url = postgres.trade.replace("/paybell_trade", "/own_listeners")
    await admin(postgres.trade, "DROP DATABASE IF EXISTS own_listeners")
    await admin(postgres.trade, "CREATE DATABASE own_listeners")
    own = ("--listeners", url)
    away: dict[str, Any] = {"home": "/dev/null/never-used"}
    code, said = await run("dead-letters", "list", *own, log=tmp_path / "empty", **away)
    assert code == 1
    assert "run paybell migrate --listeners URL" in " ".join(said.split())

    await result("migrate", *own, log=tmp_path, **away)
    async with connected(url) as rows:
        await rows.execute(
            "INSERT INTO failed_deliveries (listener, event_id, state, reason, error, attempts, exchange, "
            "routing_key, content_type, headers, first_failed_at, last_failed_at, body) "
            "VALUES ('points', 'e-1', 'dead', 'listener_failed', 'x', 5, '', '', '', '{}', now(), now(), '')"
        )
    (listed,) = await result("dead-letters", "list", *own, log=tmp_path, **away)
    shown = await result("dead-letters", "show", str(listed["id"]), *own, log=tmp_path, **away)
    replayed = await result("dead-letters", "replay", "--all", *own, log=tmp_path, **away)

    assert (listed["eventId"], shown["listener"], replayed) == ("e-1", "points", {"replayed": 1})


async def test_dead_letters_are_listed_shown_and_replayed(postgres: Databases, tmp_path: Path) -> None:
    """An order that was cancelled behind everybody's back: its payment is kept, and applied after all."""
    urls = await fresh_databases(postgres)
    where: dict[str, Any] = {
        "database_url": urls["pay"],
        "trade_database_url": urls["trade"],
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
    }
    async with in_process(urls) as service, connected(urls["trade"]) as rows:
        client, user = service.client, fresh_user()
        await client.fund(user, 100)
        order = await client.order(user, 100)
        number = int(order["id"])
        await rows.execute("DELETE FROM order_checks")
        await rows.execute("UPDATE orders SET id = $1::bigint + 1 WHERE id = $1", number)
        await client.pay(order["payOrderId"], user)

        async def kept() -> bool:
            return bool(await rows.fetchval("SELECT count(*) FROM failed_deliveries WHERE state = 'dead'"))

        await until(kept)
        code, table = await run("dead-letters", "list", log=tmp_path / "table", **where)
        (listed,) = await result("dead-letters", "list", log=tmp_path, **where)
        others = await result("dead-letters", "list", "--reason", "not_paid", log=tmp_path, **where)
        shown = await result("dead-letters", "show", str(listed["id"]), log=tmp_path, **where)
        _, page = await run("dead-letters", "show", str(listed["id"]), log=tmp_path / "page", **where)
        still = await result("dead-letters", "replay", "--reason", "not_paid", log=tmp_path, **where)
        await rows.execute("UPDATE orders SET id = $1 WHERE id = $1::bigint + 1", number)
        given_up = await result("dead-letters", "acknowledge", "--all", log=tmp_path, **where)
        hidden = await result("dead-letters", "list", log=tmp_path, **where)
        (seen,) = await result("dead-letters", "list", "--state", "acknowledged", log=tmp_path, **where)
        replayed = await result("dead-letters", "replay", str(listed["id"]), log=tmp_path, **where)
        await client.until_order(order["id"], "PAID")
        left = await result("dead-letters", "list", log=tmp_path, **where)

    assert code == 0
    assert "order_not_found" in table
    assert (listed["reason"], listed["state"], listed["attempts"]) == ("order_not_found", "dead", 1)
    assert listed["eventId"] == f"pay.success:{order['id']}"
    assert listed["lastFailedAt"].endswith("Z")
    assert others == []
    assert shown["error"] == "there is no order of this number"
    assert shown["headers"]["cloudEvents:type"] == "pay.success"
    assert shown["routingKey"] == "pay.success"
    assert order["id"] in page
    assert (given_up, hidden, seen["id"]) == ({"acknowledged": 1}, [], listed["id"])
    assert (still, replayed, left) == ({"replayed": 0}, {"replayed": 1}, [])


async def test_every_command_explains_itself(home: Path) -> None:
    for arguments in (
        (),
        ("serve",),
        ("token",),
        ("migrate",),
        ("dead-letters",),
        ("dead-letters", "replay"),
    ):
        code, said = await run(*arguments, "--help", log=home / "-".join(("help", *arguments)), home=home)
        assert code == 0
        assert "Usage: paybell" in said
        assert "inherited" not in said


async def test_a_slip_of_the_fingers_in_a_variable_is_named_by_every_command(home: Path) -> None:
    await run("token", "7", log=home / "made", home=home)

    _, said = await run("token", "7", log=home / "log", home=home, prot=8001)

    assert said.splitlines()[0] == "PAYBELL_PROT is no setting and is ignored; did you mean PAYBELL_PORT?"


async def test_help_describes_each_command_and_shows_no_internals(home: Path) -> None:
    _, said = await run("--help", log=home / "log", home=home)
    _, doctor = await run("doctor", "--help", log=home / "doctor", home=home)

    names = re.findall(r"^│ ([a-z]\S*)", said, re.MULTILINE)
    described = re.findall(r"^│ ([a-z]\S*) +[A-Z]\w+ ", said, re.MULTILINE)
    assert described == names
    assert {"serve", "doctor", "token", "dead-letters"} <= set(described)
    assert not re.search(r"--empty-|default: (False|\"\"|\()", doctor)


def test_make_replay_without_a_file_says_what_is_missing() -> None:
    done = subprocess.run(
        ["make", "--silent", "--assume-old=.venv/runtime", "replay"],  # noqa: S607
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "make replay FILE=purchases.csv" in done.stdout
