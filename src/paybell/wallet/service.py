"""Wallets as their users see them: open, top up, read."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from paybell.idempotency.errors import IdempotencyKeyReused
from paybell.idempotency.keys import IdempotencyKey, KeptAnswer, answer_once
from paybell.money import DEFAULT_CURRENCY, TOTAL_MAX, check_amount, check_currency
from paybell.storage import Database, Transaction, load_queries
from paybell.wallet import ledger
from paybell.wallet.errors import BalanceLimit, WalletExists, WalletNotFound
from paybell.wallet.ledger import Transfer, TransferKind
from paybell.wallet.pay_password import Pepper, check_pay_password

_SQL = load_queries(__package__)
# Where top-ups come from: one account for each currency, standing for the world outside.
_FUNDING_OWNER = "paybell"


@dataclass(frozen=True, slots=True)
class Wallet:
    """A user's balance in one currency, in minor units, and until when its pay password is locked."""

    user_id: str
    balance: int
    currency: str
    locked_until: datetime | None = None


class WalletService:
    """Opens wallets and puts money into them."""

    def __init__(self, database: Database, pepper: Pepper) -> None:
        self._database = database
        self._pepper = pepper

    async def open(
        self,
        user_id: str,
        pay_password: str,
        currency: str = DEFAULT_CURRENCY,
        *,
        opened_by: str | None = None,
    ) -> Wallet:
        """Open an empty wallet; ``opened_by`` is whose token asked for it.

        Raises:
            InvalidRequest: the pay password has not six digits, or the currency is unknown.
            WalletExists: the user has one in this currency; its password stays as it was.
        """
        stored = self._pepper.protect(check_pay_password(pay_password))
        check_currency(currency)
        async with self._database.transaction() as tx:
            account = await tx.fetch_one(_SQL["open_wallet"], user_id, currency, tx.now)
            if account is None:
                raise WalletExists
            await tx.execute(_SQL["set_pay_password"], account["id"], stored, opened_by)
        return Wallet(user_id, 0, currency)

    async def opened_with(
        self, opener: str, pay_password: str, owners: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], bool]:
        """Say of those of these (user id, currency) wallets that exist who has them: this opener, or another.

        True: ``opener`` opened it and its pay password is still this one. No try is counted.
        """
        users, currencies = [user for user, _ in owners], [currency for _, currency in owners]
        return {
            (row["owner_id"], row["currency"]): row["opened_by"] == opener
            and self._pepper.matches(row["pay_password"], pay_password)
            for row in await self._database.fetch(_SQL["find_openers"], users, currencies)
        }

    async def read(self, user_id: str, currency: str | None = None) -> Wallet:
        """Return a wallet; without a currency the CNY one, else the user's first.

        Raises:
            WalletNotFound: there is none.
        """
        row = await self._database.fetch_one(_SQL["find_wallet"], user_id, currency)
        if row is None:
            raise WalletNotFound
        return Wallet(row["owner_id"], row["balance"], row["currency"], row["locked_until"])

    async def top_up(
        self,
        user_id: str,
        amount: int,
        currency: str | None,
        key: IdempotencyKey,
        show: Callable[[Wallet], KeptAnswer],
        *,
        reference: str | None = None,
    ) -> tuple[KeptAnswer, bool]:
        """Put money into a wallet, once for each key; return the answer and whether it is a replay.

        A bank's statement is matched by ``reference``, else by the key.

        Raises:
            WalletNotFound, InvalidAmount, BalanceLimit, IdempotencyKeyInUse, IdempotencyKeyReused, Busy.
        """
        check_amount(amount)

        async def work(tx: Transaction) -> Wallet:
            funded = await self._fund(tx, user_id, amount, currency, key)
            if reference is not None:
                await tx.execute(_SQL["keep_top_up_reference"], _reference(user_id, key), reference)
            return funded

        return await self._database.until_free(
            lambda: answer_once(self._database, key, work, show, taken="transfer_once")
        )

    async def _fund(
        self, tx: Transaction, user_id: str, amount: int, currency: str | None, key: IdempotencyKey
    ) -> Wallet:
        wallet = await tx.fetch_one(_SQL["find_wallet"], user_id, currency)
        if wallet is None:
            raise WalletNotFound
        former = [_reference(user_id, key, caller) for caller in key.callers[1:]]
        if former and await tx.fetch_one(_SQL["find_top_up"], former[0]):
            raise IdempotencyKeyReused  # its answer was removed, the money had come
        held = (await ledger.lock_wallets(tx, [(user_id, wallet["currency"])])).popitem()[1]
        if held.credits + amount > TOTAL_MAX:
            raise BalanceLimit
        funding = await ledger.system_account(tx, "funding", _FUNDING_OWNER, held.currency)
        transfer = Transfer(TransferKind.TOP_UP, _reference(user_id, key), funding, held.account_id, amount)
        await ledger.post(tx, [transfer])
        return Wallet(user_id, held.balance + amount, held.currency)


def _reference(user_id: str, key: IdempotencyKey, caller: str | None = None) -> str:
    """Name a top-up's transfer; neither a user id nor a key has spaces, so no two come out the same."""
    return f"{user_id} {key.key} {caller or key.merchant_id}"
