"""The statuses and Chinese sentences of what the order service's routes answer."""

from paybell.trade.errors import (
    NotTheBuyer,
    OrderCancelled,
    OrderMismatch,
    OrderNotFound,
    PayServiceUnavailable,
)
from paybell.web.problems import PROBLEMS as SHARED
from paybell.web.refusals import ProblemType

PROBLEMS = SHARED | {
    NotTheBuyer: ProblemType(403, "仅订单买家可以执行此操作"),
    OrderNotFound: ProblemType(404, "订单不存在"),
    OrderMismatch: ProblemType(409, "该订单号已存在，但金额、币种或买家不一致"),
    OrderCancelled: ProblemType(409, "订单已取消"),
    PayServiceUnavailable: ProblemType(503, "支付服务无响应，请使用相同的订单号重试"),
}
