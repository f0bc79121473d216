"""``paybell verify`` beside a running service."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import PEPPER_SETTING, SECRET, SETTINGS, fresh_databases, fresh_user, in_process, run
from support import Databases, connected, until

from paybell.verification.anchors import read_anchors

KEYS = "1:a key of thirty-two bytes or of more"
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_books_are_right_until_somebody_changes_one(postgres: Databases, tmp_path: Path) -> None:
    """Exit code 0, then 1 with the row; the service seals its transfers by itself."""
    urls = await fresh_databases(postgres)
    settings: dict[str, Any] = {
        "database_url": urls["pay"],
        "trade_database_url": urls["trade"],
        "jwt_secret": SECRET,
        "pin_pepper": PEPPER_SETTING,
        "seal_keys": KEYS,
    }
    anchors = tmp_path / "anchors"

    async def verify(*arguments: str) -> tuple[int, str]:
        return await run("verify", *arguments, log=tmp_path / "log", **settings)

    keyed = replace(SETTINGS, seal_keys=KEYS)
    async with in_process(urls, keyed) as service, connected(urls["pay"]) as rows:
        client, user = service.client, fresh_user()
        await client.fund(user, 1_000)
        order = await client.order(user, 100)
        await client.pay(order["payOrderId"], user)

        async def sealed() -> bool:
            return bool(
                await rows.fetchval(
                    "SELECT (SELECT max(last_id) FROM transfer_seals) = (SELECT max(id) FROM transfers)"
                )
            )

        await until(sealed)
        right, said = await verify("--json", "--anchor", str(anchors))
        await rows.execute("SET session_replication_role = replica")
        changed = await rows.fetchval(
            "UPDATE transfers SET amount = amount + 1 WHERE kind = 'payment' RETURNING id"
        )
        wrong, found = await verify("--json", "--anchor", str(anchors))
        _, table = await verify()

    summary = json.loads(said.splitlines()[-1])
    assert right == 0
    assert (summary["ok"], summary["transfers"], summary["sealed"], summary["findings"]) == (True, 2, 2, [])
    assert wrong == 1
    findings = json.loads(found.splitlines()[-1])["findings"]
    assert {"table": "transfers", "row": str(changed), "what": "sealed_row_changed", "detail": ""} in findings
    assert "sealed row changed" in table
    assert f"The chain is keyed from block 1 to {summary['head']}." in " ".join(table.split())
    assert (summary["keyedFrom"], len(read_anchors(anchors))) == ("1", 1)


@pytest.mark.slow
async def test_a_home_that_was_never_served_has_books_in_which_nothing_is_wrong(tmp_path: Path) -> None:
    """They are created, as `serve` would; a database that somebody named is only looked at."""
    status, said = await run("verify", "--json", log=tmp_path / "log", home=tmp_path / "home")

    assert status == 0
    assert json.loads(said.splitlines()[-1])["ok"]
