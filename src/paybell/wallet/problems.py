"""The statuses and Chinese sentences of what the ledger's routes answer."""

from paybell.wallet.errors import (
    BalanceLimit,
    InsufficientBalance,
    NotTheOwner,
    PayPasswordLocked,
    WalletExists,
    WalletNotFound,
    WrongPayPassword,
)
from paybell.web.problems import PROBLEMS as SHARED
from paybell.web.refusals import ProblemType

PROBLEMS = SHARED | {
    InsufficientBalance: ProblemType(402, "余额不足，请充值后重试"),
    NotTheOwner: ProblemType(403, "仅钱包所有者可以执行此操作"),
    WrongPayPassword: ProblemType(403, "支付密码错误"),
    WalletNotFound: ProblemType(404, "该用户没有此币种的钱包，请先开通"),
    WalletExists: ProblemType(409, "该用户已有此币种的钱包"),
    BalanceLimit: ProblemType(409, "超出钱包余额上限"),
    PayPasswordLocked: ProblemType(423, "支付密码错误次数过多，已被锁定"),
}
