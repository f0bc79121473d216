"""The double-entry ledger: accounts, and the one statement that moves money between them.

The model is TigerBeetle's (accounts with debits and credits, immutable transfers), in SQL.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

import structlog

from paybell.errors import Busy
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.wallet.pay_password import PayPassword

log = structlog.get_logger()
_SQL = load_queries(__package__)
# Whether there is something to post.
POSTINGS_DUE = _SQL["postings_due"]

# Postings added to balances in one transaction: a few milliseconds under the lock of a merchant's row.
POST_MAX = 2_000

# Accounts that every payment or top-up of an owner touches; never locked on the paying path.
SystemKind = Literal["merchant", "funding", "clearing"]


class TransferKind(StrEnum):
    """Why money moved."""

    TOP_UP = "top_up"
    PAYMENT = "payment"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    RECEIPT = "receipt"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money on its way from one account to another, in minor units; unique by kind and reference."""

    kind: TransferKind
    reference: str
    debit_account: int
    credit_account: int
    amount: int


@dataclass(frozen=True, slots=True)
class WalletAccount:
    """A payer's wallet, locked by the transaction that read it."""

    account_id: int
    owner_id: str
    currency: str
    debits: int
    credits: int
    pay_password: PayPassword

    @property
    def balance(self) -> int:
        """What may be spent, in minor units."""
        return self.credits - self.debits


async def lock_wallets(
    tx: Transaction, owners: Collection[tuple[str, str]]
) -> dict[tuple[str, str], WalletAccount]:
    """Lock the wallets of these (user id, currency) pairs; missing ones are left out.

    Raises:
        Busy: somebody else holds one of them.
    """
    wallets, busy = await lock_free_wallets(tx, owners)
    if busy:
        raise Busy
    return wallets


async def lock_free_wallets(
    tx: Transaction, owners: Collection[tuple[str, str]]
) -> tuple[dict[tuple[str, str], WalletAccount], set[tuple[str, str]]]:
    """Lock those of these wallets that nobody else holds; return them, and which others there are.

    It never waits: whoever holds a wallet keeps its owner from paying, and nobody else.
    """
    columns = [owner for owner, _ in owners], [currency for _, currency in owners]
    rows = await tx.fetch(_SQL["lock_wallets"], *columns)
    wallets = {
        (row["owner_id"], row["currency"]): wallet_account(row, row["owner_id"], row["currency"])
        for row in rows
    }
    return wallets, await existing_wallets(tx, set(owners) - wallets.keys())


async def existing_wallets(tx: Transaction, owners: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of these (user id, currency) pairs that have a wallet, locked or not."""
    if not owners:
        return set()
    rows = await tx.fetch(
        _SQL["find_wallets"], [owner for owner, _ in owners], [currency for _, currency in owners]
    )
    return {(row["owner_id"], row["currency"]) for row in rows}


def wallet_account(row: Record, owner_id: str, currency: str) -> WalletAccount:
    """Read a row of `lock_wallets`, or one that has its columns."""
    return WalletAccount(
        account_id=row["account_id"],
        owner_id=owner_id,
        currency=currency,
        debits=row["debits"],
        credits=row["credits"],
        pay_password=PayPassword(row["pay_password"], row["failed_tries"], row["locked_until"]),
    )


async def post(tx: Transaction, transfers: Sequence[Transfer]) -> None:
    """Move money: write the transfers and both sides of each.

    Raises:
        ConstraintViolated: ``transfer_once`` (this movement was made before) or
            ``account_never_overdrawn``; nothing of the batch is written.
    """
    if not transfers:
        return
    await tx.execute(
        _SQL["post_transfers"],
        [transfer.kind.value for transfer in transfers],
        [transfer.reference for transfer in transfers],
        [transfer.debit_account for transfer in transfers],
        [transfer.credit_account for transfer in transfers],
        [transfer.amount for transfer in transfers],
        tx.now,
    )


async def write_pay_passwords(tx: Transaction, states: Mapping[int, PayPassword]) -> None:
    """Store pay passwords and their tries, by the account id of locked wallets."""
    if not states:
        return
    until: list[datetime | None] = [state.locked_until for state in states.values()]
    await tx.execute(
        _SQL["write_pay_passwords"],
        list(states),
        [state.stored for state in states.values()],
        [state.failed_tries for state in states.values()],
        until,
    )


async def system_accounts(
    tx: Transaction, kind: SystemKind, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the account ids of these (owner id, currency) pairs, made where missing."""
    owners, currencies = [owner for owner, _ in wanted], [currency for _, currency in wanted]
    found = await _find_system_accounts(tx, kind, owners, currencies)
    if len(found) < len(wanted):
        await tx.execute(_SQL["ensure_system_accounts"], kind, owners, currencies, tx.now)
        found = await _find_system_accounts(tx, kind, owners, currencies)
    return found


async def system_account(tx: Transaction, kind: SystemKind, owner_id: str, currency: str) -> int:
    """Return the id of one such account, made if it is missing."""
    return (await system_accounts(tx, kind, [(owner_id, currency)]))[owner_id, currency]


async def _find_system_accounts(
    tx: Transaction, kind: SystemKind, owners: list[str], currencies: list[str]
) -> dict[tuple[str, str], int]:
    rows = await tx.fetch(_SQL["find_system_accounts"], kind, owners, currencies)
    return {(row["owner_id"], row["currency"]): row["id"] for row in rows}


async def lock_merchant(tx: Transaction, account_id: int) -> int:
    """Lock a merchant's account until the transaction ends; return what it holds, in minor units.

    What was appended for it is posted to its balance first. Paying goes on meanwhile: it appends, and
    never waits for this lock.

    Raises:
        Busy: somebody else holds it.
    """
    if await tx.fetch_one(_SQL["lock_account"], account_id) is None:
        raise Busy
    row = await tx.fetch_one(_SQL["post_to_account"], account_id)
    assert row is not None, "accounts are never deleted"
    return int(row["balance"])


class BalancePoster:
    """Posts what was appended for merchants, funding and clearing to their accounts' balances.

    It goes round: what has to be left alone is not in the way of what comes after it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last_id = 0
        self._full: frozenset[int] = frozenset()

    async def run_once(self) -> int:
        """Look at one bounded batch; return how many postings it had."""
        row = await self._database.fetch_one(_SQL["post_to_balances"], POST_MAX, self._last_id)
        assert row is not None
        self._last_id = row["last_id"] if row["postings"] == POST_MAX else 0
        self._report(frozenset(row["full_accounts"]))
        return int(row["postings"])

    def _report(self, full: frozenset[int]) -> None:
        """Say once of an account that its postings stay where they are, and count all the same."""
        if new := full - self._full:
            log.error("account_full", accounts=sorted(new))
        self._full |= full
