"""Routes of wallets."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, JSONBody
from msgspec import Meta

from paybell.errors import Busy, InsufficientScope, InvalidAmount, InvalidId, OutcomeUnknown, UnknownCurrency
from paybell.idempotency.keys import KeptAnswer
from paybell.money import DEFAULT_CURRENCY, check_currency
from paybell.wallet.errors import BalanceLimit, NotTheOwner, WalletExists, WalletNotFound
from paybell.wallet.model import Wallet
from paybell.wallet.problems import PROBLEMS
from paybell.wallet.service import WalletService
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.fields import Amount, Currency, PathUserId, SixDigits, UserId
from paybell.web.idempotency import WITH_A_KEY, IdempotencyHeader, done_once, kept, read_key, replayable
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_text, check_user_id


class NewWallet(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Whose wallet, with which six-digit pay password, in which currency."""

    user_id: UserId
    pay_password: SixDigits
    currency: Currency = DEFAULT_CURRENCY


Reference = Annotated[
    str,
    Meta(
        pattern=r"^\S(.*\S)?$(?!\n)",
        max_length=64,
        description="The bank's own of the money that came; its statement is matched by it.",
    ),
]


class TopUp(msgspec.Struct, forbid_unknown_fields=True):
    """How much, in minor units; without a currency into the wallet `GET /wallets/{userId}` shows."""

    amount: Amount
    currency: Currency | None = None
    # Unset and not null: what an idempotency key stands for stays what it was before there were references.
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class WalletView(msgspec.Struct, rename="camel"):
    """A wallet as HTTP shows it, the balance in minor units."""

    user_id: str
    balance: int
    currency: str


class WalletState(WalletView, rename="camel"):
    """A wallet, and until when its pay password is locked: null when it is not."""

    locked_until: datetime | None


def view(wallet: Wallet) -> WalletView:
    """Show a wallet."""
    return WalletView(wallet.user_id, wallet.balance, wallet.currency)


def topped_up(wallet: Wallet) -> KeptAnswer:
    """Make the answer that is kept for a top-up."""
    return kept(view(wallet))


def _topping_up(service: WalletService) -> HTTPRouteHandler:
    @post(
        "/{user_id:str}/top-ups",
        operation_id="topUpWallet",
        summary="Put money into a wallet",
        opt=scope("wallets:write"),
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidAmount,
            InvalidId,
            UnknownCurrency,
            InsufficientScope,
            WalletNotFound,
            BalanceLimit,
            *WITH_A_KEY,
            OutcomeUnknown,
            Busy,
        )
        | done_once(WalletView),
    )
    async def top_up(
        request: Caller,
        user_id: PathUserId,
        data: JSONBody[TopUp],
        idempotency_key: IdempotencyHeader = None,
    ) -> Response[bytes]:
        check_user_id(user_id)
        key = read_key(
            request,
            f"POST /wallets/{user_id}/top-ups",
            idempotency_key,
            data,
            former_caller=request.user.user_id,
        )
        currency = None if data.currency is None else check_currency(data.currency)
        reference = None if data.reference is msgspec.UNSET else check_text(data.reference, "reference")
        answer, replayed = await service.top_up(
            user_id, data.amount, currency, key, topped_up, reference=reference
        )
        return replayable(answer, replayed=replayed)

    return top_up


def wallet_routes(service: WalletService, merchant_id: str) -> Router:
    """Return the routes under ``/wallets``, which one merchant's tokens may use."""

    @post(
        "/",
        operation_id="openWallet",
        summary="Open a wallet",
        opt=scope("wallets:write"),
        responses=PROBLEMS.refusals(
            *WITH_A_BODY, UnknownCurrency, InsufficientScope, WalletExists, OutcomeUnknown
        ),
    )
    async def open_wallet(request: Caller, data: JSONBody[NewWallet]) -> WalletView:
        currency = check_currency(data.currency)
        opened_by = request.user.user_id
        return view(await service.open(data.user_id, data.pay_password, currency, opened_by=opened_by))

    @get(
        "/{user_id:str}",
        operation_id="readWallet",
        summary="Read a wallet: the CNY one, or the one in `currency`",
        responses=PROBLEMS.refusals(InvalidId, UnknownCurrency, NotTheOwner, WalletNotFound),
    )
    async def read_wallet(
        request: Caller, user_id: PathUserId, currency: FromQuery[str | None] = None
    ) -> WalletState:
        if check_user_id(user_id) != request.user.user_id and not request.user.has("wallets:read"):
            raise NotTheOwner
        wanted = None if currency is None else check_currency(currency)
        wallet = await service.read(user_id, wanted)
        return WalletState(wallet.user_id, wallet.balance, wallet.currency, wallet.locked_until)

    handlers = [open_wallet, read_wallet, _topping_up(service)]
    return Router("/wallets", route_handlers=handlers, opt=scopes_of(merchant_id), tags=["wallets"])
