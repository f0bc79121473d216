"""The statuses and Chinese sentences of what the operators' routes answer."""

from paybell.operations.errors import (
    FailureNotFound,
    NothingToPublish,
)
from paybell.pay.problems import PROBLEMS as PAY
from paybell.web.refusals import ProblemType

PROBLEMS = PAY | {
    FailureNotFound: ProblemType(404, "该失败消息不存在，可能已被处理"),
    NothingToPublish: ProblemType(409, "该支付单尚未支付或关闭，没有可重新发布的消息"),
}
