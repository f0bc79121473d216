"""Routes of pay passwords: their owner changes them, support resets and unlocks them."""

import msgspec
from litestar import Router, post, put
from litestar.params import JSONBody

from paybell.errors import Busy, InsufficientScope, InvalidId, OutcomeUnknown
from paybell.wallet.errors import NotTheOwner, PayPasswordLocked, WalletNotFound, WrongPayPassword
from paybell.wallet.pay_password_service import PayPasswordService
from paybell.wallet.problems import PROBLEMS
from paybell.web.auth import Caller, scope, scopes_of
from paybell.web.fields import PathUserId, SixDigits
from paybell.web.refusals import WITH_A_BODY
from paybell.web.texts import check_user_id


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The pay password as it is and as it shall be, for the wallets of all currencies."""

    pay_password: SixDigits
    new_pay_password: SixDigits


class PasswordReset(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The pay password as it shall be."""

    new_pay_password: SixDigits


def pay_password_routes(service: PayPasswordService, merchant_id: str) -> Router:
    """Return the routes under ``/wallets/{userId}/pay-password``; resetting is for one merchant's tokens."""

    @put(
        "/",
        operation_id="changePayPassword",
        summary="Change the pay password of all wallets of their owner; a wrong old one counts as a try",
        status_code=204,
        responses=PROBLEMS.refusals(
            *WITH_A_BODY,
            InvalidId,
            NotTheOwner,
            WrongPayPassword,
            WalletNotFound,
            PayPasswordLocked,
            OutcomeUnknown,
            Busy,
        ),
    )
    async def change(request: Caller, user_id: PathUserId, data: JSONBody[PasswordChange]) -> None:
        if check_user_id(user_id) != request.user.user_id:
            raise NotTheOwner
        await service.change(user_id, data.pay_password, data.new_pay_password)

    @post(
        "/reset",
        operation_id="resetPayPassword",
        summary="Set the pay password of all wallets of a user without the old one, and unlock them",
        opt=scope(_SCOPE),
        status_code=204,
        responses=PROBLEMS.refusals(
            *WITH_A_BODY, InvalidId, InsufficientScope, WalletNotFound, OutcomeUnknown, Busy
        ),
    )
    async def reset(request: Caller, user_id: PathUserId, data: JSONBody[PasswordReset]) -> None:
        await service.reset(check_user_id(user_id), data.new_pay_password, request.user.user_id)

    @post(
        "/unlock",
        operation_id="unlockPayPassword",
        summary="Forget the wrong tries of all wallets of a user",
        opt=scope(_SCOPE),
        status_code=204,
        responses=PROBLEMS.refusals(InvalidId, InsufficientScope, WalletNotFound, OutcomeUnknown, Busy),
    )
    async def unlock(request: Caller, user_id: PathUserId) -> None:
        await service.unlock(check_user_id(user_id), request.user.user_id)

    return Router(
        "/wallets/{user_id:str}/pay-password",
        route_handlers=[change, reset, unlock],
        opt=scopes_of(merchant_id),
        tags=["wallets"],
    )


_SCOPE = "pay-passwords:reset"
