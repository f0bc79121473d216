"""Wallets as their users see them: open, top up, read."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from paybell.batching import Batcher, bisect, is_no_outage
from paybell.idempotency.keys import IdempotencyKey, KeptAnswer
from paybell.money import DEFAULT_CURRENCY, check_currency
from paybell.storage import Database, load_queries
from paybell.wallet.errors import WalletExists, WalletNotFound
from paybell.wallet.model import Wallet
from paybell.wallet.pay_password import Pepper, check_pay_password
from paybell.wallet.top_ups import TopUp, TopUps

_SQL = load_queries(__package__)


@dataclass(frozen=True, slots=True)
class _Opening:
    """A wallet to be opened, its pay password as it is stored."""

    user_id: str
    currency: str
    stored: str
    opened_by: str | None


class WalletService:
    """Opens wallets and puts money into them."""

    def __init__(self, database: Database, pepper: Pepper) -> None:
        self._database = database
        self._pepper = pepper
        self._openings = Batcher(self._open_batch)
        self._top_ups = TopUps(database)

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
        await self._openings.submit(_Opening(user_id, currency, stored, opened_by))
        return Wallet(user_id, 0, currency)

    async def _open_batch(self, openings: Sequence[_Opening]) -> Sequence[WalletExists | Exception | None]:
        return await bisect(self._open, openings, is_no_outage)

    async def _open(self, openings: Sequence[_Opening]) -> Sequence[WalletExists | None]:
        """Open many in one transaction; return why not for those that exist, the second of two alike too."""
        owners = [(one.user_id, one.currency) for one in openings]
        columns = [user for user, _ in owners], [currency for _, currency in owners]
        async with self._database.transaction() as tx:
            rows = await tx.fetch(_SQL["open_wallets"], *columns, tx.now)
            accounts = {(row["owner_id"], row["currency"]): row["id"] for row in rows}
            first = dict(zip(reversed(owners), reversed(openings), strict=True))
            opened = [(account, first[owner]) for owner, account in accounts.items()]
            await tx.execute(
                _SQL["set_pay_passwords"],
                [account for account, _ in opened],
                [one.stored for _, one in opened],
                [one.opened_by for _, one in opened],
            )
        return [
            None if owner in accounts and first[owner] is one else WalletExists()
            for owner, one in zip(owners, openings, strict=True)
        ]

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
        return await self._top_ups.make(TopUp(user_id, amount, currency, key, show, reference))
