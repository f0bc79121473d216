"""What the ledger and pay passwords refuse."""

from paybell.errors import Refused


class InsufficientBalance(Refused):
    """The payer's wallet holds less than the amount."""

    code = "insufficient_balance"
    detail = "The balance is not enough for this payment; top up and try again."


class NotTheOwner(Refused):
    """The wallet belongs to another user."""

    code = "not_the_owner"
    detail = "Only the owner of this wallet may do this."


class WrongPayPassword(Refused):
    """The pay password does not match."""

    code = "wrong_pay_password"
    detail = "The pay password is wrong."


class WalletNotFound(Refused):
    """The user has no wallet in this currency."""

    code = "wallet_not_found"
    detail = "There is no wallet of this user in this currency; open one first."


class WalletExists(Refused):
    """The user has a wallet in this currency already."""

    code = "wallet_exists"
    detail = "This user has a wallet in this currency already."


class BalanceLimit(Refused):
    """The account's totals would leave the range of 64-bit integers."""

    code = "balance_limit"
    detail = "The wallet cannot hold that much."


class PayPasswordLocked(Refused):
    """Too many wrong pay passwords; see ``lockedUntil``."""

    code = "pay_password_locked"
    detail = "The pay password is locked after too many wrong tries; wait until lockedUntil."
