"""The statuses and Chinese sentences of what every route may answer; each context adds its own."""

from paybell.errors import (
    AlreadyPaid,
    BrokerUnavailable,
    DatabaseBusy,
    DatabaseUnavailable,
    InsufficientScope,
    InvalidAmount,
    InvalidId,
    InvalidRequest,
    NotAuthenticated,
    OutcomeUnknown,
    Overloaded,
    PaybellError,
    PayOrderClosed,
    Refused,
    Unavailable,
    UnknownCurrency,
)
from paybell.idempotency.errors import IdempotencyKeyInUse, IdempotencyKeyMissing, IdempotencyKeyReused
from paybell.web.errors import (
    BodyTooLarge,
    DuplicateField,
    InvalidText,
    MalformedJson,
    MethodNotAllowed,
    MissingField,
    NotFound,
    NotReady,
    UnknownField,
    UnsupportedMediaType,
)
from paybell.web.refusals import ProblemType, ProblemTypes

PROBLEMS = ProblemTypes(
    {
        PaybellError: ProblemType(500, "系统内部错误，请稍后重试"),
        Unavailable: ProblemType(503, "服务暂不可用，请稍后重试"),
        NotReady: ProblemType(503, "服务尚未就绪，详见 checks"),
        DatabaseUnavailable: ProblemType(503, "数据库暂不可用，未作任何变更，请稍后重试"),
        DatabaseBusy: ProblemType(503, "数据库语句等待或执行超时，未作任何变更，请稍后重试"),
        OutcomeUnknown: ProblemType(503, "处理结果未知，请使用相同请求重试以确认"),
        BrokerUnavailable: ProblemType(503, "消息服务暂不可用，请稍后重试"),
        Overloaded: ProblemType(503, "请求过多，请稍后重试"),
        Refused: ProblemType(400, "请求被拒绝"),
        InvalidRequest: ProblemType(400, "请求格式错误"),
        InvalidAmount: ProblemType(400, "金额必须为正整数（最小货币单位）"),
        UnknownCurrency: ProblemType(400, "币种必须为 ISO 4217 代码，例如 CNY"),
        MalformedJson: ProblemType(400, "请求体不是有效的 UTF-8 JSON"),
        MissingField: ProblemType(400, "缺少必填字段"),
        UnknownField: ProblemType(400, "请求包含未知字段"),
        DuplicateField: ProblemType(400, "请求体字段重复"),
        InvalidId: ProblemType(400, "编号必须为数字字符串（1 至 9223372036854775807）"),
        InvalidText: ProblemType(400, "文本不得包含控制字符"),
        IdempotencyKeyMissing: ProblemType(
            400, "请提供 Idempotency-Key 请求头（1 至 255 个可打印 ASCII 字符）"
        ),
        NotAuthenticated: ProblemType(401, "请提供有效的访问令牌"),
        InsufficientScope: ProblemType(403, "访问令牌权限不足"),
        NotFound: ProblemType(404, "地址不存在"),
        MethodNotAllowed: ProblemType(405, "不支持的请求方法"),
        AlreadyPaid: ProblemType(409, "交易已支付"),
        PayOrderClosed: ProblemType(409, "交易已支付或关闭"),
        IdempotencyKeyInUse: ProblemType(409, "相同 Idempotency-Key 的请求正在处理，请稍后重试"),
        BodyTooLarge: ProblemType(413, "请求体超过 64 KiB"),
        UnsupportedMediaType: ProblemType(415, "请以 application/json 发送请求体"),
        IdempotencyKeyReused: ProblemType(422, "该 Idempotency-Key 已用于其他请求，请更换"),
    }
)
