"""Wallets: opened, read and topped up."""

from paybell_client.calls import DEFAULT_CURRENCY, Calls, new_key, part_of
from paybell_client.model import Wallet


class WalletCalls(Calls):
    """What the service may do with wallets for a caller."""

    __slots__ = ()

    async def open_wallet(self, user_id: str, pay_password: str, currency: str = DEFAULT_CURRENCY) -> Wallet:
        """Open a user's wallet; the pay password has six digits.

        Raises:
            WalletExists: there is one; when a first try had no answer it may be that one's.
        """
        body = {"userId": user_id, "payPassword": pay_password, "currency": currency}
        return await self._post("/wallets", Wallet, body)

    async def read_wallet(self, user_id: str, currency: str = DEFAULT_CURRENCY) -> Wallet:
        """Read a balance."""
        return await self._get(f"/wallets/{part_of(user_id)}?currency={part_of(currency)}", Wallet)

    async def top_up(
        self,
        user_id: str,
        amount: int,
        currency: str = DEFAULT_CURRENCY,
        *,
        reference: str = "",
        idempotency_key: str = "",
    ) -> Wallet:
        """Put money into a wallet, once for each key.

        Args:
            user_id: whose.
            amount: minor units.
            currency: of which wallet.
            reference: the bank's own, by which its statement is matched.
            idempotency_key: the same for the same money whenever it is called again; without one the call
                makes its own, which covers its own tries and no others.
        """
        body = {"amount": amount, "currency": currency} | ({"reference": reference} if reference else {})
        return await self._post(
            f"/wallets/{part_of(user_id)}/top-ups", Wallet, body, idempotency_key or new_key()
        )
