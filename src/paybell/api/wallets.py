"""Routes of wallets."""

from typing import Annotated

import msgspec
from litestar import Response, Router, get, post
from litestar.params import Parameter

from paybell.errors import NotTheOwner
from paybell.money import DEFAULT_CURRENCY, check_amount, check_currency
from paybell.wallet.idempotency import IdempotencyKey
from paybell.wallet.service import Wallet, WalletService
from paybell.web import Caller, UserId, check_user_id, scope


class NewWallet(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Whose wallet, with which six-digit pay password, in which currency."""

    user_id: UserId
    pay_password: str
    currency: str = DEFAULT_CURRENCY


class TopUp(msgspec.Struct, forbid_unknown_fields=True):
    """How much, in minor units; without a currency into the wallet `GET /wallets/{userId}` shows."""

    amount: int
    currency: str | None = None


class WalletView(msgspec.Struct, rename="camel"):
    """A wallet as HTTP shows it, the balance in minor units."""

    user_id: str
    balance: int
    currency: str


def view(wallet: Wallet) -> WalletView:
    """Show a wallet."""
    return WalletView(wallet.user_id, wallet.balance, wallet.currency)


def wallet_routes(service: WalletService) -> Router:
    """Return the routes under ``/wallets``."""

    @post("/", guards=[scope("wallets:write")], summary="Open a wallet")
    async def open_wallet(data: NewWallet) -> WalletView:
        return view(await service.open(data.user_id, data.pay_password, check_currency(data.currency)))

    @get("/{user_id:str}", summary="Read a wallet")
    async def read_wallet(request: Caller, user_id: str, currency: str | None = None) -> WalletView:
        if check_user_id(user_id) != request.user.user_id and not request.user.has("wallets:read"):
            raise NotTheOwner
        return view(await service.read(user_id, currency and check_currency(currency)))

    @post("/{user_id:str}/top-ups", guards=[scope("wallets:write")], summary="Put money into a wallet")
    async def top_up(
        request: Caller,
        user_id: str,
        data: TopUp,
        idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key")] = None,
    ) -> Response[bytes]:
        check_user_id(user_id)
        key = IdempotencyKey.of(
            request.user.user_id,
            f"POST /wallets/{user_id}/top-ups",
            idempotency_key,
            msgspec.json.encode(data),
        )
        currency = data.currency and check_currency(data.currency)
        answer, replayed = await service.top_up(user_id, check_amount(data.amount), currency, key)
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return Response(
            answer.body, status_code=answer.status, media_type="application/json", headers=headers
        )

    return Router("/wallets", route_handlers=[open_wallet, read_wallet, top_up])
