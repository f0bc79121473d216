"""What the pay service answers, as far as the order service reads it."""

from typing import Annotated

import msgspec

from paybell.ids import ID_MAX
from paybell.messaging.events import PayOrderData

Id = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,18}$")]

_NOTHING = msgspec.Raw(b"{}")


class Problem(msgspec.Struct):
    """Why pay refuses; ``code`` is stable."""

    code: str = ""


class Applied(msgspec.Struct, rename="camel"):
    """What an application for a pay order is answered with."""

    pay_order_id: Id

    def __post_init__(self) -> None:
        """Refuse what is no id of a pay order, though it has as many digits."""
        if int(self.pay_order_id) > ID_MAX:
            raise ValueError("a pay order id is not a number from 1 to 9223372036854775807")


class ApplicationAnswer(msgspec.Struct, rename="camel"):
    """What one application among many is answered with: the status, and what comes with it."""

    status: int
    pay_order: msgspec.Raw = _NOTHING
    problem: msgspec.Raw = _NOTHING


class ApplicationAnswers(msgspec.Struct):
    """One for each application, in their order."""

    answers: list[ApplicationAnswer]


class Refunded(msgspec.Struct, rename="camel"):
    """What a refund is answered with."""

    version: int
    refunded_amount: int
    status: str = "SUCCEEDED"


class Payment(msgspec.Struct, rename="camel"):
    """A pay order, as far as it says whether it was paid."""

    biz_order_no: Id
    amount: int
    currency: str
    status: str


class Payments(msgspec.Struct, rename="camel"):
    """Some of these."""

    pay_orders: list[Payment]


class States(msgspec.Struct, rename="camel"):
    """Pay orders as events describe them."""

    pay_orders: list[PayOrderData]
