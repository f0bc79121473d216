"""The statuses and Chinese sentences of what pay's routes answer."""

from paybell.pay.errors import (
    MerchantInsufficientBalance,
    NotThePayer,
    PayOrderMismatch,
    PayOrderNotFound,
    PayOrderNotPaid,
    RefundExceedsPayment,
)
from paybell.wallet.problems import PROBLEMS as WALLET
from paybell.web.refusals import ProblemType

PROBLEMS = WALLET | {
    NotThePayer: ProblemType(403, "仅订单付款人可以执行此操作"),
    PayOrderNotFound: ProblemType(404, "支付单不存在"),
    PayOrderNotPaid: ProblemType(409, "交易未支付，无法退款"),
    RefundExceedsPayment: ProblemType(409, "退款金额超过可退金额"),
    MerchantInsufficientBalance: ProblemType(409, "商户余额不足，暂时无法退款"),
    PayOrderMismatch: ProblemType(409, "该业务订单号已存在，但金额、币种或付款人不一致"),
}
