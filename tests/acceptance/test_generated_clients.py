"""Clients that others generate from the OpenAPI document: they are made without a warning, and can pay."""

import asyncio
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from serving import Client, fresh_user
from support import PASSWORD

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

PACKAGE = "generated_paybell"


async def generated(http: Client, folder: Path) -> None:
    """Generate a Python client of the service into a folder, as a package."""
    document = folder / "openapi.json"
    document.write_bytes((await http.get("/schema/openapi.json")).content)
    binaries = Path(sys.executable).parent
    process = await asyncio.create_subprocess_exec(
        *(str(binaries / "openapi-python-client"), "generate", "--path", str(document)),
        *("--output-path", str(folder / PACKAGE), "--meta", "none", "--fail-on-warning"),
        env=os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}"},  # it formats with ruff
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_a_generated_python_client_opens_a_wallet_orders_pays_and_reads_a_refusal(
    http: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await generated(http, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    models: Any = importlib.import_module(f"{PACKAGE}.models")
    client: Any = importlib.import_module(PACKAGE).AuthenticatedClient

    async def call(operation: str, token: str, *path: str, **arguments: object) -> Any:
        module: Any = importlib.import_module(f"{PACKAGE}.api.{operation}")
        async with client(http.url, token, raise_on_unexpected_status=True) as session:
            return await module.asyncio(*path, client=session, **arguments)

    user = fresh_user()
    buyer, shop = http.token(user), http.shop
    wallet = models.NewWallet(user_id=user, pay_password=PASSWORD)
    await call("wallets.open_wallet", shop, body=wallet)
    money = models.TopUp(amount=100)
    await call("wallets.top_up_wallet", shop, user, body=money, idempotency_key=f"generated-{user}")
    order = await call("orders.create_order", shop, body=models.NewOrder(buyer_id=user, total_fee=100))
    wrong = await call(
        "pay_orders.pay_pay_order", buyer, order.pay_order_id, body=models.Payment(pay_password="000000")
    )
    paid = await call(
        "pay_orders.pay_pay_order", buyer, order.pay_order_id, body=models.Payment(pay_password=PASSWORD)
    )

    assert (wrong.status, wrong.code) == (403, "wrong_pay_password")
    assert paid.status == "TRADE_SUCCESS"
    await http.until_order(order.id, "PAID")
    assert (await call("orders.read_order", buyer, order.id)).status == "PAID"
    assert (await call("wallets.read_wallet", buyer, user)).balance == 0
