"""The statuses and Chinese sentences of what the routes of attempts answer."""

from paybell.channels.channel import NoticeRefused
from paybell.channels.errors import (
    ChannelNotOffered,
    ChannelRefused,
    ChannelUnavailable,
    NothingAsked,
    NothingToSettle,
    ReceiptTaken,
    SecondPersonNeeded,
    SettlementDiffers,
    UnknownAttempt,
)
from paybell.pay.problems import PROBLEMS as PAY
from paybell.web.refusals import ProblemType

PROBLEMS = PAY | {
    ChannelUnavailable: ProblemType(503, "支付渠道暂时无响应，未发生扣款，请稍后重试"),
    ChannelRefused: ProblemType(409, "支付渠道拒绝了本次支付，详见 channelCode"),
    ChannelNotOffered: ProblemType(409, "该订单不支持此支付方式，请选择其他方式"),
    UnknownAttempt: ProblemType(404, "支付尝试不存在"),
    NothingToSettle: ProblemType(409, "只有 MANUAL 状态的支付尝试可以人工处理"),
    NothingAsked: ProblemType(409, "没有可撤回的人工处理申请，该支付尝试可能已处理"),
    ReceiptTaken: ProblemType(409, "该渠道流水号已用于另一笔支付尝试，请核对渠道记录"),
    SecondPersonNeeded: ProblemType(409, "须由另一位操作员使用自己的令牌确认"),
    SettlementDiffers: ProblemType(409, "与第一位操作员提出的处理结果不一致"),
    NoticeRefused: ProblemType(400, "通知未通过验签或已过期"),
}
