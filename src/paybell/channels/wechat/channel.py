"""WeChat Pay as a channel: a QR code to scan."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from paybell.channels.answers import (
    Closed,
    CloseSaid,
    NotFound,
    Opened,
    OpenSaid,
    Paid,
    QuerySaid,
    RefundAccepted,
    RefundDone,
    RefundFailed,
    RefundSaid,
    Refused,
    Unknown,
    Waiting,
    undecided,
)
from paybell.channels.channel import Charge, Heard, Kind, Notice, NoticeAnswer, NoticeRefused, Offer, Return
from paybell.channels.crypto import AesKey
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed, convert
from paybell.channels.wechat import messages
from paybell.channels.wechat.api import WechatApi
from paybell.channels.wechat.messages import Fault, Refund, Transaction
from paybell.channels.wechat.signing import fault_of

_FEN_MAX = 10_000_000_000
_NATIVE = "/v3/pay/transactions/native"
# Codes without underscores (`Fault.name`).
_OPEN_REFUSED = {
    "ACCOUNTERROR",
    "NOAUTH",
    "ORDERCLOSED",
    "PARAMERROR",
    "RULELIMIT",
    "SIGNERROR",
    "TRADEERROR",
}
# The number is taken: paid already, or an older window with other parameters may still be paid.
_ASK_WHY = {"INVALIDREQUEST", "ORDERPAID", "OUTTRADENOUSED"}
_NOT_FOUND = {"ORDERNOTEXIST", "RESOURCENOTEXISTS"}
_REFUND_REFUSED = {"INVALIDREQUEST", "PARAMERROR", "USERACCOUNTABNORMAL"}


class WechatChannel:
    """Windows of WeChat Pay (native); what is not signed by one of its keys is not known."""

    kind = Kind.WINDOW

    def __init__(
        self,
        name: str,
        api: WechatApi,
        *,
        aes_keys: Keyring[AesKey],
        schedule: tuple[float, ...],
        shortest: timedelta = timedelta(minutes=2),
    ) -> None:
        """Take what it needs.

        Args:
            name: as in URLs and rows.
            api: where it is called, and who we are there.
            aes_keys: APIv3 keys; each decrypts.
            schedule: seconds between queries.
            shortest: WeChat takes no deadline that is nearer than a minute.
        """
        self.name, self.schedule = name, schedule
        self.offer = Offer(frozenset({"CNY"}), 1, _FEN_MAX, shortest)
        self._we, self._api, self._aes_keys = api.merchant, api, aes_keys
        self.merchant = f"{self._we.mchid}/{self._we.appid}"
        self.keyrings = (api.own_keys, api.wechat_keys, aes_keys)

    async def open(self, charge: Charge) -> OpenSaid:
        """Make a QR code; the same number with the same parameters gives it again."""
        body = messages.native_body(
            self._we,
            charge.attempt_id,
            charge.amount,
            charge.subject,
            expires_at=charge.expires_at,
            notify_url=charge.notify_url,
        )
        answer = await self._api.call("POST", _NATIVE, body)
        if isinstance(answer, Fault):
            return await self._why_not_opened(answer, charge)
        if not isinstance(answer, dict):
            return answer
        code_url = answer.get("code_url")
        return (
            Opened(qr_code=code_url) if isinstance(code_url, str) and code_url else undecided("no code_url")
        )

    async def _why_not_opened(self, fault: Fault, charge: Charge) -> OpenSaid:
        if fault.name in _OPEN_REFUSED:
            return Refused(fault.code, fault.message)
        if fault.name in _ASK_WHY:
            said = await self.query(charge)
            if isinstance(said, Paid):
                return said
            if isinstance(said, NotFound) and fault.name == "INVALIDREQUEST":
                return Refused(fault.code, fault.message)
        return undecided(fault.code)

    async def query(self, charge: Charge) -> QuerySaid:
        """Ask for the payment."""
        answer = await self._api.call("GET", messages.trade_target(charge.attempt_id, self._we.mchid))
        if isinstance(answer, Fault):
            return NotFound() if answer.name in _NOT_FOUND else undecided(answer.code)
        if not isinstance(answer, dict):
            return answer
        try:
            transaction = convert(answer, Transaction)
        except Malformed as error:
            return Unknown(str(error))
        if transaction.out_trade_no != charge.attempt_id:
            return undecided("an answer about another payment")
        return _state(transaction)

    async def close(self, charge: Charge) -> CloseSaid:
        """Close the window; its deadline alone does not."""
        body = messages.close_body(self._we)
        answer = await self._api.call("POST", messages.trade_target(charge.attempt_id, close=True), body)
        if isinstance(answer, dict):
            return Closed()
        if not isinstance(answer, Fault):
            return answer
        if answer.name == "ORDERCLOSED":
            return Closed()
        if answer.name in _NOT_FOUND:
            return NotFound()
        if answer.name in _ASK_WHY:
            said = await self.query(charge)
            return said if isinstance(said, Paid | Closed) else undecided(answer.code)
        return undecided(answer.code)

    async def refund(self, back: Return) -> RefundSaid:
        """Give money back; the same number is the same refund, a new one would be a second."""
        body = messages.refund_body(
            back.charge.attempt_id, back.refund_id, back.amount, back.charge.amount, back.charge.notify_url
        )
        answer = await self._api.call("POST", messages.refund_target(), body)
        if isinstance(answer, dict):
            return _refund_state(answer, back)
        if isinstance(answer, Fault):
            if answer.name not in _REFUND_REFUSED:
                return undecided(answer.code)
            # Also said of a number that was used: only one that is not known was really refused.
            said = await self.query_refund(back)
            return RefundFailed(answer.code, answer.message) if isinstance(said, NotFound) else said
        return answer

    async def query_refund(self, back: Return) -> RefundSaid:
        """Ask for a refund."""
        answer = await self._api.call("GET", messages.refund_target(back.refund_id))
        if isinstance(answer, dict):
            return _refund_state(answer, back)
        if isinstance(answer, Fault):
            return NotFound() if answer.name in _NOT_FOUND else undecided(answer.code)
        return answer

    def read_notice(self, notice: Notice) -> Heard:
        """Verify, decrypt, read.

        Raises:
            NoticeRefused: not signed by WeChat now, not encrypted with our key, or a probe.
        """
        if fault := fault_of(notice.headers, notice.body, self._api.wechat_keys.all, notice.received_at):
            raise NoticeRefused(reason=fault)
        try:
            envelope = messages.read_notice(notice.body)
            content = messages.decrypted(envelope.resource, [key for _, key in self._aes_keys.all])
            if envelope.event_type.startswith("TRANSACTION."):
                transaction = convert(content, Transaction)
                said = _state(transaction)
                known = None if isinstance(said, Unknown) else said
                return Heard(envelope.id, transaction.out_trade_no, known)
            if envelope.event_type.startswith("REFUND."):
                refund = convert(content, Refund)
                return Heard(envelope.id, refund.out_trade_no, refund_id=refund.out_refund_no)
        except Malformed as error:
            raise NoticeRefused from error
        return Heard(envelope.id, "")

    def answer_notice(self, *, taken: bool) -> NoticeAnswer:
        """Return 204, or a failure that makes WeChat send it again."""
        if taken:
            return NoticeAnswer(204)
        return NoticeAnswer(500, b'{"code":"FAIL","message":"try again"}', "application/json")


def _state(transaction: Transaction) -> Paid | Waiting | Closed | Unknown:
    match transaction.trade_state:
        # REFUND: paid, and a refund has begun since.
        case "SUCCESS" | "REFUND":
            amount = transaction.amount
            merchant = f"{transaction.mchid}/{transaction.appid}"
            return Paid(amount.total, amount.currency, transaction.transaction_id, merchant)
        case "NOTPAY" | "USERPAYING":
            return Waiting()
        case "CLOSED" | "REVOKED":
            return Closed()
    return undecided(transaction.trade_state[:40])


def _refund_state(content: Mapping[str, Any], back: Return) -> RefundSaid:
    try:
        refund = convert(content, Refund)
    except Malformed as error:
        return Unknown(str(error))
    if (refund.out_refund_no, refund.amount.refund) != (back.refund_id, back.amount):
        return undecided("an answer about another refund")
    match refund.status:
        case "SUCCESS":
            return RefundDone(refund.refund_id)
        case "PROCESSING":
            return RefundAccepted()
        case "CLOSED":
            return RefundFailed("CLOSED", "WeChat Pay has closed the refund.")
    # ABNORMAL: the buyer's card does not take it; a person has to choose another way at WeChat.
    return undecided(refund.status[:40])
