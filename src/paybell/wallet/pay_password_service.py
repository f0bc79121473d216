"""Changing a pay password: by its owner with the old one, by support without it.

A user has one password for the wallets of all currencies, so all of them change, or none.
"""

from collections.abc import Callable, Mapping

from paybell.errors import Refused
from paybell.storage import Database, Transaction, load_queries
from paybell.storage.operator_actions import note_action
from paybell.wallet import ledger
from paybell.wallet.errors import PayPasswordLocked, WalletNotFound
from paybell.wallet.pay_password import PayPassword, Pepper, check_pay_password

_SQL = load_queries(__package__)
_NEW = "newPayPassword"


class PayPasswordService:
    """Changes, resets and unlocks the pay passwords of a user's wallets."""

    def __init__(self, database: Database, pepper: Pepper) -> None:
        self._database = database
        self._pepper = pepper

    async def change(self, user_id: str, old: str, new: str) -> None:
        """Give all wallets of a user a new password; the old one must be right for each of them.

        Raises:
            InvalidRequest: one of the two has not six digits.
            WalletNotFound: the user has none.
            PayPasswordLocked: nothing was looked at. WrongPayPassword: counted as a try, as in a payment.
        """
        check_pay_password(old)
        check_pay_password(new, _NEW)
        await self._database.until_free(lambda: self._change(user_id, old, new))

    async def _change(self, user_id: str, old: str, new: str) -> None:
        async with self._database.transaction() as tx:
            before = await _lock(tx, user_id)
            tried = {key: state.attempt(old, self._pepper, tx.now) for key, state in before.items()}
            refusal = _gravest([refused for _, refused in tried.values() if refused])
            if refusal is None:
                await ledger.write_pay_passwords(
                    tx, {key: PayPassword(self._pepper.protect(new), 0, None) for key in before}
                )
            elif not isinstance(refusal, PayPasswordLocked):
                await ledger.write_pay_passwords(tx, {key: state for key, (state, _) in tried.items()})
        if refusal:
            raise refusal

    async def reset(self, user_id: str, new: str, who: str) -> None:
        """Give all wallets of a user a new password without the old one, and unlock them.

        Args:
            user_id: whose.
            new: six digits.
            who: the operator, for the record.

        Raises:
            InvalidRequest: it has not six digits. WalletNotFound: the user has none.
        """
        check_pay_password(new, _NEW)
        await self._overwrite(
            user_id, lambda _: PayPassword(self._pepper.protect(new), 0, None), who, "reset pay password"
        )

    async def unlock(self, user_id: str, who: str) -> None:
        """Forget the wrong tries of all wallets of a user; the password stays.

        Raises:
            WalletNotFound: the user has none.
        """
        await self._overwrite(
            user_id, lambda before: PayPassword(before.stored, 0, None), who, "unlock pay password"
        )

    async def _overwrite(
        self, user_id: str, decide: Callable[[PayPassword], PayPassword], who: str, action: str
    ) -> None:
        async def work() -> None:
            async with self._database.transaction() as tx:
                before = await _lock(tx, user_id)
                after = {key: decide(state) for key, state in before.items()}
                await ledger.write_pay_passwords(tx, after)
                await note_action(tx, who, action, f"user {user_id}", list(before))

        await self._database.until_free(work)


async def _lock(tx: Transaction, user_id: str) -> Mapping[int, PayPassword]:
    currencies = await tx.fetch(_SQL["list_currencies"], user_id)
    wallets = await ledger.lock_wallets(tx, [(user_id, row["currency"]) for row in currencies])
    if not wallets:
        raise WalletNotFound
    return {wallet.account_id: wallet.pay_password for wallet in wallets.values()}


def _gravest(refusals: list[Refused]) -> Refused | None:
    """A lock before any wrong try, and the wrong try that leaves least."""

    def left(refusal: Refused) -> int:
        return int(str(refusal.extensions.get("triesLeft", -1)))

    return min(refusals, key=left, default=None)
