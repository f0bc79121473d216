"""What the order service refuses, and what it says when pay does not answer."""

from paybell.errors import Refused, Unavailable


class PayServiceUnavailable(Unavailable):
    """The pay service did not answer the order service."""

    code = "pay_service_unavailable"
    detail = "The pay service did not answer; send the same request again, with the same orderId."


class NotTheBuyer(Refused):
    """The order belongs to another buyer."""

    code = "not_the_buyer"
    detail = "Only the buyer of this order may do this."


class OrderNotFound(Refused):
    """There is no such order."""

    code = "order_not_found"
    detail = "There is no such order."


class RefundRefused(Refused):
    """Pay does not give money back that the order service owes, for now."""

    code = "refund_refused"
    detail = "The refund was refused; it is tried again."


class RefundPending(Unavailable):
    """The money is on its way back by the channel it came from; pay says when it has arrived."""

    code = "refund_pending"
    detail = "The refund is on its way."


class RefundFailed(Refused):
    """The channel did not give the money back; the merchant has it again, and a person has to decide."""

    code = "owed_refund_failed"
    detail = "The channel refused the refund; give the money back by another refund or outside."


class OrderMismatch(Refused):
    """The same order id came with another fee, currency or buyer."""

    code = "order_mismatch"
    detail = "This orderId exists with another fee, currency or buyer."


class OrderCancelled(Refused):
    """The order was cancelled."""

    code = "order_cancelled"
    detail = "The order was cancelled; create a new order."
