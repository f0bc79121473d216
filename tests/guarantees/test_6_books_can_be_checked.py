"""Promise 6: whoever changes a book by hand, in whatever way, is found, and the row is named."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from relaying import pay
from support import PaySide, connected, seeded, until

from paybell.clock import SystemClock
from paybell.errors import DatabaseUnavailable, Misconfigured
from paybell.ids import ID_MAX
from paybell.pay.model import Application
from paybell.pay.tables import SCHEMA
from paybell.storage import Database, Query, Transaction
from paybell.storage.embedded import PAY_DATABASE, embedded_postgres
from paybell.storage.migrate import migrate
from paybell.verification import ledger_check
from paybell.verification.anchors import note_anchor, read_anchors
from paybell.verification.ledger_check import LedgerFault, LedgerProgress, verify
from paybell.wallet import ledger
from paybell.wallet.ledger import Transfer, TransferKind
from paybell.wallet.seal_keys import UNKEYED, SealKeys
from paybell.wallet.sealing import TransferSealer

ORDERS, CORRUPTIONS = 300, 10


async def seal(database: Database) -> int:
    """Seal everything there is; return how many transfers that were."""
    sealer, sealed = TransferSealer(database), 0
    await sealer.run_once()
    while count := await sealer.run_once():
        sealed += count
    return sealed


async def books(side: PaySide) -> None:
    """Make top-ups, payments, refunds, closed and open orders."""
    await side.fund("7", (ORDERS + 100) * 100)
    paid = await pay(side, *range(1, ORDERS + 1))
    for order in paid[:40]:
        await side.refund(order.id, 30)
    for number in range(ORDERS + 1, ORDERS + 21):
        await side.order(number, "7", 100)


async def checked(database: Database) -> LedgerProgress:
    """Verify quietly."""
    return await verify(database, lambda _: None)


@asynccontextmanager
async def by_hand(url: str) -> "AsyncIterator[asyncpg.Connection[Any]]":
    """Open a connection of somebody who can do anything: triggers and foreign keys look away."""
    async with connected(url) as rows:
        await rows.execute("SET session_replication_role = replica")
        yield rows


# Each changes one thing about row $1 of a table; what is found must name that row.
KINDS: dict[str, tuple[str, str]] = {
    "transfers.amount": ("transfers", "UPDATE transfers SET amount = amount + 1 WHERE id = $1"),
    "transfers.created_at": (
        "transfers",
        "UPDATE transfers SET created_at = created_at + interval '1 microsecond' WHERE id = $1",
    ),
    "transfers.accounts": (
        "transfers",
        "UPDATE transfers SET debit_account = credit_account, credit_account = debit_account WHERE id = $1",
    ),
    "transfers.gone": ("transfers", "DELETE FROM transfers WHERE id = $1"),
    "transfers.reference": ("transfers", "UPDATE transfers SET reference = reference || 'x' WHERE id = $1"),
    "accounts.credits": ("accounts", "UPDATE accounts SET credits = credits + 1 WHERE id = $1"),
    "pay_orders.amount": ("pay_orders", "UPDATE pay_orders SET amount = amount + 1 WHERE id = $1"),
    "pay_orders.payer": ("pay_orders", "UPDATE pay_orders SET payer_id = '8' WHERE id = $1"),
    "pay_orders.payee": (
        "pay_orders",
        "UPDATE pay_orders SET payee_account = (SELECT min(id) FROM accounts) WHERE id = $1",
    ),
    "pay_orders.refunded": (
        "pay_orders",
        "UPDATE pay_orders SET refunded_amount = 31 WHERE id = $1",
    ),
    "refunds.amount": ("refunds", "UPDATE refunds SET amount = amount + 1 WHERE id = $1"),
    "transfer_seals.chain": (
        "transfer_seals",
        "UPDATE transfer_seals SET chain = set_byte(chain, 3, 255 - get_byte(chain, 3)) WHERE id = $1",
    ),
    "outbox.event": ("outbox", "UPDATE outbox SET event_id = '999-2' WHERE id = $1"),
}


async def test_books_of_any_id_are_in_order(pay_database: Database) -> None:
    """From July 2031 on ids have nineteen digits."""
    side = PaySide(pay_database, first_id=ID_MAX - 100)
    await side.fund("7", 1_000)
    paid = await pay(side, 1, 2)
    await side.refund(paid[0].id, 30)

    assert (await checked(pay_database)).findings == []


async def test_untouched_books_are_right_also_while_payments_go_on(pay_database: Database) -> None:
    """And everything is sealed behind them, whatever order the transactions end in."""
    side = PaySide(pay_database, batch_max=7)
    await books(side)
    sealer = TransferSealer(pay_database)
    over = asyncio.Event()

    async def sealing() -> None:
        while not over.is_set():
            await sealer.run_once()

    async def checking() -> list[LedgerFault]:
        return [one for _ in range(5) for one in (await checked(pay_database)).findings]

    async with asyncio.TaskGroup() as group:
        group.create_task(sealing())
        paid, found, _ = await asyncio.gather(
            pay(side, *range(1_001, 1_101)), checking(), side.fund("8", 1_000)
        )
        over.set()
    await seal(pay_database)

    assert found == []
    last = await checked(pay_database)
    assert last.findings == []
    assert last.rows["sealed transfers"] == last.rows["transfers"] == 2 + ORDERS + 40 + len(paid)


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_is_changed_by_hand_is_found_and_named(
    pay_database: Database, pay_url: str, kind: str
) -> None:
    """Up to ten rows of each kind; over a hundred corruptions in all."""
    rng = seeded()
    side = PaySide(pay_database)
    await books(side)
    await seal(pay_database)
    table, change = KINDS[kind]
    async with by_hand(pay_url) as rows:
        # Of pay orders the paid ones: what nobody has paid has no counterpart yet.
        paid = " WHERE status = 3" if table == "pay_orders" else ""
        ids = [row["id"] for row in await rows.fetch(f"SELECT id FROM {table}{paid} ORDER BY id")]  # noqa: S608
        chosen = rng.sample(ids, min(CORRUPTIONS, len(ids)))
        for row in chosen:
            await rows.execute(change, row)
        found = (await checked(pay_database)).findings

    named = {one.row for one in found if one.table == table}
    assert named >= set(chosen)
    assert named == set(chosen) or table in ("accounts", "transfers")


async def test_a_transfer_that_is_slipped_in_is_found(pay_database: Database, pay_url: str) -> None:
    """Before the last sealed one, with accounts that agree with it."""
    side = PaySide(pay_database)
    await books(side)
    async with by_hand(pay_url) as rows:
        gap = await rows.fetchval("SELECT nextval('transfers_id_seq')")
        await side.fund("8", 1)
        await seal(pay_database)
        await rows.execute(
            "INSERT INTO transfers (id, kind, reference, debit_account, credit_account, amount, created_at) "
            "OVERRIDING SYSTEM VALUE "
            "SELECT $1, kind, 'x', debit_account, credit_account, 1, created_at FROM transfers LIMIT 1",
            gap,
        )
    found = (await checked(pay_database)).findings

    assert ("transfers", gap, "sealed_row_added") in {(one.table, one.row, one.what) for one in found}


async def test_a_payee_that_is_changed_before_the_payment_is_found(
    pay_database: Database, pay_url: str
) -> None:
    """The transfer then agrees with the order; that the account is not the merchant's stays to be seen."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(1, "7", 100)
    other = await side.pay.apply(Application("2", 1, "7", 100, "CNY", "", 600))
    async with by_hand(pay_url) as rows:
        await rows.execute(
            "UPDATE pay_orders SET payee_account = (SELECT payee_account FROM pay_orders WHERE id = $2) "
            "WHERE id = $1",
            order.id,
            other[0].id,
        )
    await side.attempt(order.id, "7")

    assert [(one.row, one.what) for one in (await checked(pay_database)).findings] == [
        (order.id, "payee_differs")
    ]


# 15,000 paid orders, half of them refunded, as a restore leaves them: no statistics of anything.
NEVER_ANALYSED = """
ALTER TABLE accounts SET (autovacuum_enabled = off);
ALTER TABLE pay_orders SET (autovacuum_enabled = off);
ALTER TABLE transfers SET (autovacuum_enabled = off);
ALTER TABLE refunds SET (autovacuum_enabled = off);
SET session_replication_role = replica;
INSERT INTO accounts (kind, owner_id, currency, debits, credits, created_at)
VALUES ('funding', 'paybell', 'CNY', 30000, 0, now()), ('wallet', '7', 'CNY', 30000, 37500, now()),
       ('merchant', '1', 'CNY', 7500, 30000, now());
INSERT INTO wallets (account_id, pay_password) VALUES (2, '1$0$0');
INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
VALUES ('top_up', 'x', 1, 2, 30000, now());
INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
SELECT 'payment', number::text, 2, 3, 2, now() FROM generate_series(1, 15000) AS number;
INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
SELECT 'refund', (20000 + number)::text, 3, 2, 1, now() FROM generate_series(1, 7500) AS number;
INSERT INTO refunds (id, pay_order_id, number, amount, reason, created_at)
SELECT 20000 + number, number, '1', 1, '', now() FROM generate_series(1, 7500) AS number;
INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency, subject,
                        status, version, created_at, expires_at, succeeded_at, refunded_amount)
SELECT number, '1', number, '7', 3, 2, 'CNY', '', 3, 2, now(), now() + interval '1 h', now(),
       CASE WHEN number <= 7500 THEN 1 ELSE 0 END
FROM generate_series(1, 15000) AS number;
"""


async def test_tables_that_were_never_analysed_are_read_in_order(pay_url: str) -> None:
    """Within the limits of a service, though the command's own are wider."""
    async with connected(pay_url) as rows:
        await rows.execute(NEVER_ANALYSED)
    async with Database.open(pay_url, SystemClock(), connections=2) as database:
        last = await checked(database)

    assert last.findings == []
    assert (last.rows["pay_orders"], last.rows["refunds"]) == (15_000, 7_500)


async def test_of_books_that_are_wrong_throughout_all_rows_are_counted_and_some_are_kept(
    pay_url: str, pay_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a check remembers does not grow with what is wrong."""
    monkeypatch.setattr(ledger_check, "FINDINGS_MAX", 10)
    side = PaySide(pay_database)
    await books(side)
    async with by_hand(pay_url) as rows:
        await rows.execute("UPDATE pay_orders SET payer_id = '8' WHERE status = 3")
    last = await checked(pay_database)

    assert len(last.findings) == 10
    assert last.kinds["payment_differs"] == ORDERS


KEYS = SealKeys("1:a key of thirty-two bytes or of more")


async def keyed_books(database: Database, *keys: SealKeys, prefix: str = "u") -> None:
    """One sealed block for each of these, of one top-up each."""
    side = PaySide(database)
    for number, key in enumerate(keys):
        await side.fund(f"{prefix}{number}", 1)
        sealer = TransferSealer(database, key)
        await until(partial(_seals, sealer))


async def _seals(sealer: TransferSealer) -> bool:
    return await sealer.run_once() > 0


async def test_a_chain_is_keyed_from_the_block_on_that_has_the_first_mac(pay_database: Database) -> None:
    """Keys rotate; a release without them, or none at all, has sealed what is before."""
    another = "2:another key of thirty-two bytes or more"
    rotated = SealKeys(f"{another},1:a key of thirty-two bytes or of more")
    await keyed_books(pay_database, UNKEYED, UNKEYED, KEYS, rotated)

    found = await verify(pay_database, lambda _: None, rotated)

    assert (found.findings, found.keyed_from) == ([], 3)
    assert found.head is not None
    assert found.head.block == 4
    only_the_newest = await verify(pay_database, lambda _: None, SealKeys(another))
    assert [(one.row, one.what) for one in only_the_newest.findings] == [(3, "seal_key_unknown")]
    with pytest.raises(Misconfigured, match="set PAYBELL_SEAL_KEYS"):
        await keyed_books(pay_database, UNKEYED, prefix="v")


@pytest.mark.parametrize("with_mac", [False, True])
async def test_a_chain_that_is_sealed_anew_by_the_databases_owner_has_no_valid_macs(
    pay_database: Database, pay_url: str, with_mac: bool
) -> None:
    """The hashes agree with what the transfers say now; the MACs cannot."""
    await keyed_books(pay_database, KEYS, KEYS)
    async with by_hand(pay_url) as rows:
        macs = [row["mac"] for row in await rows.fetch("SELECT mac FROM transfer_seals ORDER BY id")]
        await rows.execute("UPDATE transfers SET reference = 'another' WHERE id = 1; TRUNCATE transfer_seals")
        await seal(pay_database)
        await rows.execute("UPDATE transfer_seals SET mac = $1", macs[-1] if with_mac else None)

    found = await verify(pay_database, lambda _: None, KEYS)

    if with_mac:
        assert found.kinds == {"seal_forged": 1}
    else:  # what is left to see is that it is not keyed any more
        assert (found.findings, found.keyed_from) == ([], None)


async def test_a_chain_that_was_rewritten_or_cut_off_differs_from_its_anchors(
    pay_database: Database, pay_url: str, tmp_path: Path
) -> None:
    """Also one without keys: the heads stand in a file the database's owner cannot write."""
    file = tmp_path / "anchors"
    await keyed_books(pay_database, UNKEYED)
    for user in ("8", "9"):
        head = (await verify(pay_database, lambda _: None, anchors=read_anchors(file))).head
        assert head is not None
        note_anchor(file, head)
        await PaySide(pay_database).fund(user, 1)
        await until(partial(_seals, TransferSealer(pay_database)))
    anchors = read_anchors(file)
    assert [one.block for one in anchors] == [1, 2]
    assert (await verify(pay_database, lambda _: None, anchors=anchors)).findings == []

    async with by_hand(pay_url) as rows:
        await rows.execute("DELETE FROM transfer_seals WHERE id > 1; DELETE FROM transfers WHERE id = 2")
    await seal(pay_database)
    found = await verify(pay_database, lambda _: None, anchors=anchors)
    assert [one.row for one in found.findings if one.what == "anchor_differs"] == [2]
    file.write_text("no anchor")
    with pytest.raises(Misconfigured, match="something else than anchors"):
        read_anchors(file)


async def top_up(tx: Transaction, user_id: str) -> None:
    """Give a user one more, in somebody's transaction that has taken its id already."""
    wallet = (await ledger.lock_wallets(tx, [(user_id, "CNY")]))[user_id, "CNY"]
    funding = await ledger.system_account(tx, "funding", "paybell", "CNY")
    reference = f"by hand {user_id}"
    await ledger.post(tx, [Transfer(TransferKind.TOP_UP, reference, funding, wallet.account_id, 1)])


async def test_a_transaction_that_stalls_before_its_commit_is_never_sealed_around(
    pay_database: Database,
) -> None:
    """Also not the one whose id stands right behind the newest completed one."""
    side = PaySide(pay_database)
    await side.fund("7", 1)
    await side.fund("8", 1)
    await seal(pay_database)
    sealer = TransferSealer(pay_database)
    async with pay_database.transaction() as stalls:
        async with pay_database.transaction() as first:
            await ledger.lock_wallets(first, [("8", "CNY")])
            await top_up(stalls, "7")
            await top_up(first, "8")
        for _ in range(3):
            await sealer.run_once()
    await seal(pay_database)
    last = await checked(pay_database)

    assert last.findings == []
    assert last.rows["sealed transfers"] == last.rows["transfers"] == 4


@pytest.mark.slow
async def test_what_was_seen_at_one_server_says_nothing_about_its_successor(tmp_path: Path) -> None:
    """A standby that was behind, here an older copy of the files, gives out the same ids again."""
    async with AsyncExitStack() as stack:
        with embedded_postgres(tmp_path) as urls:
            url = urls[PAY_DATABASE]
            await migrate(url, SCHEMA)
            async with Database.open(url, SystemClock(), connections=2) as database:
                await PaySide(database).fund("7", 1)
                await PaySide(database).fund("8", 1)
                await seal(database)
        files = (tmp_path / "postgres").resolve()
        older = files.with_name(f"{files.name}-older")
        copy(files, older)
        with embedded_postgres(tmp_path):
            database = await stack.enter_async_context(Database.open(url, SystemClock(), connections=4))
            sealer = TransferSealer(database)
            for user in ("7", "8"):
                async with database.transaction() as tx:
                    await top_up(tx, user)
            await sealer.run_once()
        shutil.rmtree(files)
        older.rename(files)
        with embedded_postgres(tmp_path):
            await until(partial(answers, database))
            for _ in range(20):  # the successor has come as far as the other one was
                await database.fetch(Query("SELECT pg_current_xact_id()"))
            async with database.transaction() as stalls:
                await top_up(stalls, "7")
                async with database.transaction() as tx:
                    await top_up(tx, "8")
                for _ in range(3):
                    await sealer.run_once()
            await seal(database)
            assert (await checked(database)).findings == []


def copy(files: Path, to: Path) -> None:
    """Copy a server's files with their owner."""
    subprocess.run(["/bin/cp", "-a", files, to], check=True)  # noqa: S603


async def answers(database: Database) -> bool:
    """Say whether a server that was started again can be reached."""
    with suppress(DatabaseUnavailable):
        await database.check()
        return True
    return False
