"""What pay refuses about pay orders and refunds."""

from paybell.errors import Refused


class NotThePayer(Refused):
    """The pay order belongs to another payer."""

    code = "not_the_payer"
    detail = "Only the payer of this order may do this."


class PayOrderNotFound(Refused):
    """There is no such pay order."""

    code = "pay_order_not_found"
    detail = "There is no such pay order."


class PayOrderNotPaid(Refused):
    """There is nothing to give back."""

    code = "pay_order_not_paid"
    detail = "The order has not been paid, so nothing can be refunded."


class RefundExceedsPayment(Refused):
    """More than what was paid and is not refunded yet."""

    code = "refund_exceeds_payment"
    detail = "That is more than what is left of the payment; see refundableAmount."


class MerchantInsufficientBalance(Refused):
    """The merchant's account does not hold what is to be refunded."""

    code = "merchant_insufficient_balance"
    detail = "The merchant's account does not hold enough for this refund; try again when it does."


class PayOrderMismatch(Refused):
    """The same business order number came with another amount, currency or payer."""

    code = "pay_order_mismatch"
    detail = "This business order number exists with another amount, currency or payer."
