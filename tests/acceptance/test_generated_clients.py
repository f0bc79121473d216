"""Clients that others generate from the OpenAPI document: they are made without a warning, and can pay."""

import asyncio
import importlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from programs import NODE_MODULES, node, run
from serving import Client, fresh_user
from support import PASSWORD

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

PACKAGE = "generated_paybell"
# With the checks that a strict project has; `types` empty: nothing of Node's own is needed.
TYPESCRIPT = (
    "--strict --noEmit --module nodenext --target es2023 --lib es2023,dom --allowImportingTsExtensions"
)


async def generated(http: Client, folder: Path) -> None:
    """Generate a Python client of the service into a folder, as a package."""
    document = folder / "openapi.json"
    document.write_bytes((await http.get("/schema/openapi.json")).content)
    await run(
        *("openapi-python-client", "generate", "--path", str(document)),
        *("--output-path", str(folder / PACKAGE), "--meta", "none", "--fail-on-warning"),
    )


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


async def test_a_typescript_client_on_generated_types_compiles_and_pays(http: Client, tmp_path: Path) -> None:
    """And reads a refusal; openapi-typescript's types, openapi-fetch's client."""
    assert NODE_MODULES.exists(), "run make .venv/node"
    document, types = tmp_path / "openapi.json", tmp_path / "paybell.d.ts"
    document.write_bytes((await http.get("/schema/openapi.json")).content)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    program = tmp_path / "generated_client.mts"
    shutil.copy(Path(__file__).with_name(program.name), program)
    await node(NODE_MODULES / "openapi-typescript" / "bin" / "cli.js", str(document), "--output", str(types))
    compiled = asyncio.create_task(
        node(NODE_MODULES / "typescript" / "bin" / "tsc", *TYPESCRIPT.split(), str(program))
    )
    user = fresh_user()

    said = await node(program, http.url, user, PASSWORD, http.shop, http.token(user))
    answers = msgspec.json.decode(said)
    await compiled

    assert answers == {
        "id": answers["id"],
        "refusal": "wrong_pay_password",
        "succeeded": True,
        "balance": 0,
    }
    await http.until_order(answers["id"], "PAID")
