"""Every error Paybell raises, sorted by who has to act.

    PaybellError
      Refused         the caller must change something; nothing was changed
        NotFound, Forbidden, Conflict, Invalid, ... (one class per stable code)
      Unavailable     try again: nothing is wrong with the request
      Misconfigured   the operator must change something

A class carries its stable ``code`` and its sentence in English and Chinese;
`paybell.web.problems` turns it into an RFC 9457 problem. Bugs are assertions and
are not caught.
"""

from typing import ClassVar


class PaybellError(Exception):
    """The root of everything raised on purpose."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    detail: ClassVar[str] = "Something went wrong on our side; try again later."
    detail_zh: ClassVar[str] = "系统内部错误，请稍后重试"

    def __init__(self, message: str | None = None, **extensions: object) -> None:
        """Keep a message for people and extension members for programs.

        Args:
            message: overrides the class's English sentence; never holds a secret.
            extensions: extra members of the problem document, in camelCase.
        """
        super().__init__(message or self.detail)
        self.message = message
        self.extensions = extensions


class Misconfigured(PaybellError):
    """A setting, a schema or the broker's topology must be changed by the operator."""

    code = "misconfigured"


class Unavailable(PaybellError):
    """Something Paybell needs is away for now; the same request may be sent again."""

    code = "unavailable"
    status = 503
    detail = "The service is not available right now; try again shortly."
    detail_zh = "服务暂不可用，请稍后重试"
    retry_after_seconds: ClassVar[int] = 1


class Outage(Unavailable):
    """A database of ours is away, or does not get it done: everybody's trouble, no request's fault."""


class DatabaseUnavailable(Outage):
    """The database cannot be reached; nothing was changed."""

    code = "database_unavailable"
    detail = "The database cannot be reached; nothing was changed, try again shortly."
    detail_zh = "数据库暂不可用，未作任何变更，请稍后重试"


class DatabaseBusy(Outage):
    """The database answers, and ended a statement that waited for a lock or ran for longer than it may."""

    code = "database_busy"
    detail = "The database ended a statement that took too long; nothing was changed, try again shortly."
    detail_zh = "数据库语句等待或执行超时，未作任何变更，请稍后重试"


class OutcomeUnknown(Outage):
    """The connection was lost while committing: done or not done, never half."""

    code = "outcome_unknown"
    detail = "It is not known whether this was done; send the same request again to find out."
    detail_zh = "处理结果未知，请使用相同请求重试以确认"


class BrokerUnavailable(Unavailable):
    """The message broker cannot be reached."""

    code = "broker_unavailable"
    detail = "The message broker cannot be reached; try again shortly."
    detail_zh = "消息服务暂不可用，请稍后重试"


class PayServiceUnavailable(Unavailable):
    """The pay service did not answer the order service."""

    code = "pay_service_unavailable"
    detail = "The pay service did not answer; send the same request again, with the same orderId."
    detail_zh = "支付服务无响应，请使用相同的订单号重试"


class Overloaded(Unavailable):
    """More is waiting than can be done in time."""

    code = "overloaded"
    detail = "Too many requests are waiting; try again after the time in Retry-After."
    detail_zh = "请求过多，请稍后重试"


class Refused(PaybellError):
    """The caller must change something; nothing was changed here."""

    code = "refused"
    status = 400
    detail = "The request was refused."
    detail_zh = "请求被拒绝"


class InvalidRequest(Refused):
    """The request is not of the documented form."""

    code = "invalid_request"
    detail = "The request is not of the documented form."
    detail_zh = "请求格式错误"


class InvalidAmount(InvalidRequest):
    """Amounts are integers in minor units, from 1 to 10^15."""

    code = "invalid_amount"
    detail = "The amount must be a whole number of minor units, from 1 to 10^15."
    detail_zh = "金额必须为正整数（最小货币单位）"


class UnknownCurrency(InvalidRequest):
    """Not a currency of ISO 4217."""

    code = "unknown_currency"
    detail = "The currency must be a code of ISO 4217, such as CNY."
    detail_zh = "币种必须为 ISO 4217 代码，例如 CNY"


class MalformedJson(InvalidRequest):
    """The body is not JSON (RFC 8259), or not UTF-8."""

    code = "malformed_json"
    detail = "The body is not valid JSON in UTF-8."
    detail_zh = "请求体不是有效的 UTF-8 JSON"


class MissingField(InvalidRequest):
    """A member of the body, or a query parameter, that is needed is not there; ``field`` names it."""

    code = "missing_field"
    detail = "Something the request needs is missing."
    detail_zh = "缺少必填字段"


class UnknownField(InvalidRequest):
    """The body has a member nobody knows: better refused than misunderstood."""

    code = "unknown_field"
    detail = "The body has a member that is not documented."
    detail_zh = "请求体包含未知字段"


class DuplicateField(InvalidRequest):
    """A member stands in the body twice, and readers differ in which of the two counts."""

    code = "duplicate_field"
    detail = "A member stands in the body twice."
    detail_zh = "请求体字段重复"


class InvalidId(InvalidRequest):
    """Ids are strings of digits, from 1 to 2^63-1."""

    code = "invalid_id"
    detail = "An id is a string of digits from 1 to 9223372036854775807."
    detail_zh = "编号必须为数字字符串（1 至 9223372036854775807）"


class InvalidText(InvalidRequest):
    """Text for people holds nothing that is no text."""

    code = "invalid_text"
    detail = "Text must not hold control characters or unpaired surrogates."
    detail_zh = "文本不得包含控制字符"


class IdempotencyKeyMissing(InvalidRequest):
    """This request moves money and needs the caller's own key."""

    code = "idempotency_key_missing"
    detail = "Send an Idempotency-Key header of 1 to 255 printable ASCII characters."
    detail_zh = "请提供 Idempotency-Key 请求头（1 至 255 个可打印 ASCII 字符）"


class NotFound(Refused):
    """There is no such address."""

    code = "not_found"
    status = 404
    detail = "There is nothing at this address."
    detail_zh = "地址不存在"


class MethodNotAllowed(Refused):
    """The address knows other methods; the ``Allow`` header names them."""

    code = "method_not_allowed"
    status = 405
    detail = "This address does not know this method."
    detail_zh = "不支持的请求方法"


class BodyTooLarge(Refused):
    """No body of ours comes near 64 KiB."""

    code = "body_too_large"
    status = 413
    detail = "The body is larger than 64 KiB."
    detail_zh = "请求体超过 64 KiB"


class UnsupportedMediaType(Refused):
    """Bodies are JSON and say so."""

    code = "unsupported_media_type"
    status = 415
    detail = "Send the body as application/json."
    detail_zh = "请以 application/json 发送请求体"


class NotAuthenticated(Refused):
    """No bearer token, or one that is wrong or expired."""

    code = "not_authenticated"
    status = 401
    detail = "Send a valid bearer token."
    detail_zh = "请提供有效的访问令牌"


class InsufficientBalance(Refused):
    """The payer's wallet holds less than the amount."""

    code = "insufficient_balance"
    status = 402
    detail = "The balance is not enough for this payment; top up and try again."
    detail_zh = "余额不足，请充值后重试"


class InsufficientScope(Refused):
    """The token is valid but does not allow this."""

    code = "insufficient_scope"
    status = 403
    detail = "The token does not carry the scope this request needs."
    detail_zh = "访问令牌权限不足"


class NotThePayer(Refused):
    """The pay order belongs to another payer."""

    code = "not_the_payer"
    status = 403
    detail = "Only the payer of this order may do this."
    detail_zh = "仅订单付款人可以执行此操作"


class NotTheBuyer(Refused):
    """The order belongs to another buyer."""

    code = "not_the_buyer"
    status = 403
    detail = "Only the buyer of this order may do this."
    detail_zh = "仅订单买家可以执行此操作"


class NotTheOwner(Refused):
    """The wallet belongs to another user."""

    code = "not_the_owner"
    status = 403
    detail = "Only the owner of this wallet may do this."
    detail_zh = "仅钱包所有者可以执行此操作"


class WrongPayPassword(Refused):
    """The pay password does not match."""

    code = "wrong_pay_password"
    status = 403
    detail = "The pay password is wrong."
    detail_zh = "支付密码错误"


class FailureNotFound(Refused):
    """There is no such failed delivery."""

    code = "failure_not_found"
    status = 404
    detail = "There is no such failed delivery; it was applied meanwhile, or never was."
    detail_zh = "该失败消息不存在，可能已被处理"


class PayOrderNotFound(Refused):
    """There is no such pay order."""

    code = "pay_order_not_found"
    status = 404
    detail = "There is no such pay order."
    detail_zh = "支付单不存在"


class OrderNotFound(Refused):
    """There is no such order."""

    code = "order_not_found"
    status = 404
    detail = "There is no such order."
    detail_zh = "订单不存在"


class WalletNotFound(Refused):
    """The user has no wallet in this currency."""

    code = "wallet_not_found"
    status = 404
    detail = "There is no wallet of this user in this currency; open one first."
    detail_zh = "该用户没有此币种的钱包，请先开通"


class AlreadyPaid(Refused):
    """The pay order has been paid."""

    code = "already_paid"
    status = 409
    detail = "The order has been paid already."
    detail_zh = "交易已支付"


class PayOrderClosed(Refused):
    """The pay order was closed, or its time has run out."""

    code = "pay_order_closed"
    status = 409
    detail = "The pay order is closed or its time has run out; create a new order."
    detail_zh = "交易已支付或关闭"


class PayOrderNotPaid(Refused):
    """There is nothing to give back."""

    code = "pay_order_not_paid"
    status = 409
    detail = "The order has not been paid, so nothing can be refunded."
    detail_zh = "交易未支付，无法退款"


class RefundExceedsPayment(Refused):
    """More than what was paid and is not refunded yet."""

    code = "refund_exceeds_payment"
    status = 409
    detail = "That is more than what is left of the payment; see refundableAmount."
    detail_zh = "退款金额超过可退金额"


class RefundRefused(Refused):
    """Pay does not give money back that the order service owes, for now."""

    code = "refund_refused"
    status = 409
    detail = "The refund was refused; it is tried again."
    detail_zh = "退款被拒绝，将自动重试"


class MerchantInsufficientBalance(Refused):
    """The merchant's account does not hold what is to be refunded."""

    code = "merchant_insufficient_balance"
    status = 409
    detail = "The merchant's account does not hold enough for this refund; try again when it does."
    detail_zh = "商户余额不足，暂时无法退款"


class PayOrderMismatch(Refused):
    """The same business order number came with another amount, currency or payer."""

    code = "pay_order_mismatch"
    status = 409
    detail = "This business order number exists with another amount, currency or payer."
    detail_zh = "该业务订单号已存在，但金额、币种或付款人不一致"


class OrderMismatch(Refused):
    """The same order id came with another fee, currency or buyer."""

    code = "order_mismatch"
    status = 409
    detail = "This orderId exists with another fee, currency or buyer."
    detail_zh = "该订单号已存在，但金额、币种或买家不一致"


class OrderCancelled(Refused):
    """The order was cancelled."""

    code = "order_cancelled"
    status = 409
    detail = "The order was cancelled; create a new order."
    detail_zh = "订单已取消"


class WalletExists(Refused):
    """The user has a wallet in this currency already."""

    code = "wallet_exists"
    status = 409
    detail = "This user has a wallet in this currency already."
    detail_zh = "该用户已有此币种的钱包"


class BalanceLimit(Refused):
    """The account's totals would leave the range of 64-bit integers."""

    code = "balance_limit"
    status = 409
    detail = "The wallet cannot hold that much."
    detail_zh = "超出钱包余额上限"


class IdempotencyKeyInUse(Refused):
    """A request with this key is being worked on right now."""

    code = "idempotency_key_in_use"
    status = 409
    detail = "A request with this Idempotency-Key is being worked on; try again shortly."
    detail_zh = "相同 Idempotency-Key 的请求正在处理，请稍后重试"


class IdempotencyKeyReused(Refused):
    """The key was used for another request."""

    code = "idempotency_key_reused"
    status = 422
    detail = "This Idempotency-Key was used for another request; use a new key."
    detail_zh = "该 Idempotency-Key 已用于其他请求，请更换"


class PayPasswordLocked(Refused):
    """Too many wrong pay passwords; see ``lockedUntil``."""

    code = "pay_password_locked"
    status = 423
    detail = "The pay password is locked after too many wrong tries; wait until lockedUntil."
    detail_zh = "支付密码错误次数过多，已被锁定"
