"""WeChat Pay as a channel: a QR code to scan."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from paybell.channels.channel import (
    Charge,
    Closed,
    CloseSaid,
    Heard,
    Kind,
    NotFound,
    Notice,
    NoticeAnswer,
    NoticeRefused,
    NotSent,
    Offer,
    Opened,
    OpenSaid,
    Paid,
    QuerySaid,
    RefundAccepted,
    RefundDone,
    RefundFailed,
    RefundSaid,
    Refused,
    Return,
    Unknown,
    Waiting,
)
from paybell.channels.crypto import AesKey, PrivateKey, PublicKey
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed, convert, read_object
from paybell.channels.wechat import messages
from paybell.channels.wechat.messages import Fault, Merchant, Refund, Transaction
from paybell.channels.wechat.signing import authorization, fault_of
from paybell.clock import Clock

_FEN_MAX = 10_000_000_000
_PUBLIC_KEY_ID = "PUB_KEY_ID_"
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
        merchant: Merchant,
        http: ChannelHttp,
        clock: Clock,
        *,
        own_keys: Keyring[PrivateKey],
        wechat_keys: Keyring[PublicKey],
        aes_keys: Keyring[AesKey],
        schedule: tuple[float, ...],
        shortest: timedelta = timedelta(minutes=2),
    ) -> None:
        """Take what it needs.

        Args:
            name: as in URLs and rows.
            merchant: who we are.
            http: makes the calls.
            clock: of our timestamps, and of how old a signature may be.
            own_keys: the merchant's, each under the serial of its certificate; the newest signs.
            wechat_keys: WeChat's, certificates or public keys with their ids; each verifies.
            aes_keys: APIv3 keys; each decrypts.
            schedule: seconds between queries.
            shortest: WeChat takes no deadline that is nearer than a minute.
        """
        self.name, self.schedule = name, schedule
        self.offer = Offer(frozenset({"CNY"}), 1, _FEN_MAX, shortest)
        self.merchant = f"{merchant.mchid}/{merchant.appid}"
        self.keyrings = (own_keys, wechat_keys, aes_keys)
        self._we, self._http, self._clock = merchant, http, clock
        self._own_keys, self._wechat_keys, self._aes_keys = own_keys, wechat_keys, aes_keys

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
        answer = await self._call("POST", _NATIVE, body)
        if isinstance(answer, Fault):
            return await self._why_not_opened(answer, charge)
        if not isinstance(answer, dict):
            return answer
        code_url = answer.get("code_url")
        return Opened(qr_code=code_url) if isinstance(code_url, str) and code_url else Unknown("no code_url")

    async def _why_not_opened(self, fault: Fault, charge: Charge) -> OpenSaid:
        if fault.name in _OPEN_REFUSED:
            return Refused(fault.code, fault.message)
        if fault.name in _ASK_WHY:
            said = await self.query(charge)
            if isinstance(said, Paid):
                return said
            if isinstance(said, NotFound) and fault.name == "INVALIDREQUEST":
                return Refused(fault.code, fault.message)
        return Unknown(fault.code)

    async def query(self, charge: Charge) -> QuerySaid:
        """Ask for the payment."""
        answer = await self._call("GET", messages.trade_target(charge.attempt_id, self._we.mchid))
        if isinstance(answer, Fault):
            return NotFound() if answer.name in _NOT_FOUND else Unknown(answer.code)
        if not isinstance(answer, dict):
            return answer
        try:
            transaction = convert(answer, Transaction)
        except Malformed as error:
            return Unknown(str(error))
        if transaction.out_trade_no != charge.attempt_id:
            return Unknown("an answer about another payment")
        return _state(transaction)

    async def close(self, charge: Charge) -> CloseSaid:
        """Close the window; its deadline alone does not."""
        body = messages.close_body(self._we)
        answer = await self._call("POST", messages.trade_target(charge.attempt_id, close=True), body)
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
            return said if isinstance(said, Paid | Closed) else Unknown(answer.code)
        return Unknown(answer.code)

    async def refund(self, back: Return) -> RefundSaid:
        """Give money back; the same number is the same refund, a new one would be a second."""
        body = messages.refund_body(
            back.charge.attempt_id, back.refund_id, back.amount, back.charge.amount, back.charge.notify_url
        )
        answer = await self._call("POST", messages.refund_target(), body)
        if isinstance(answer, dict):
            return _refund_state(answer, back)
        if isinstance(answer, Fault):
            if answer.name not in _REFUND_REFUSED:
                return Unknown(answer.code)
            # Also said of a number that was used: only one that is not known was really refused.
            said = await self.query_refund(back)
            return RefundFailed(answer.code, answer.message) if isinstance(said, NotFound) else said
        return answer

    async def query_refund(self, back: Return) -> RefundSaid:
        """Ask for a refund."""
        answer = await self._call("GET", messages.refund_target(back.refund_id))
        if isinstance(answer, dict):
            return _refund_state(answer, back)
        if isinstance(answer, Fault):
            return NotFound() if answer.name in _NOT_FOUND else Unknown(answer.code)
        return answer

    def read_notice(self, notice: Notice) -> Heard:
        """Verify, decrypt, read.

        Raises:
            NoticeRefused: not signed by WeChat now, not encrypted with our key, or a probe.
        """
        if fault := fault_of(notice.headers, notice.body, self._wechat_keys.all, notice.received_at):
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

    async def _call(
        self, method: str, target: str, body: bytes = b""
    ) -> dict[str, Any] | Fault | Unknown | NotSent:
        """Call; return a verified object (empty for 204), a verified error, or what is not known."""
        headers = self._headers(method, target, body)
        answer = await self._http.send(method, self._we.base_url + target, headers=headers, body=body or None)
        if isinstance(answer, Unknown | NotSent):
            return answer
        if fault := fault_of(answer.headers, answer.body, self._wechat_keys.all, self._clock.now()):
            return Unknown(f"HTTP {answer.status} {_code(answer.body)}, {fault}")
        try:
            return _content(answer.status, answer.body)
        except Malformed as error:
            return Unknown(str(error))

    def _headers(self, method: str, target: str, body: bytes) -> Mapping[str, str]:
        serial, key = self._own_keys.all[0]
        headers = {
            "Accept": "application/json",
            "User-Agent": "paybell",
            "Authorization": authorization(
                method,
                target,
                body,
                mchid=self._we.mchid,
                serial=serial,
                key=key,
                now=self._clock.now(),
                nonce=secrets.token_hex(16),
            ),
        }
        if body:
            headers["Content-Type"] = "application/json"
        # With public keys the channel signs by the one that is named here.
        ids = [name for name, _ in self._wechat_keys.all if name.startswith(_PUBLIC_KEY_ID)]
        return headers | ({"Wechatpay-Serial": ids[0]} if ids else {})


def _code(body: bytes) -> str:
    """Return an error's code for people; nobody vouches for it."""
    try:
        return convert(read_object(body), Fault).code[:40]
    except Malformed:
        return ""


def _content(status: int, body: bytes) -> dict[str, Any] | Fault | Unknown:
    """Read what was verified; only errors of the caller's side are certain."""
    if status == HTTPStatus.NO_CONTENT:
        return {}
    content = read_object(body)
    if status == HTTPStatus.OK:
        return content
    fault = convert(content, Fault)
    client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    certain = client_error and status != HTTPStatus.TOO_MANY_REQUESTS
    return fault if certain else Unknown(f"HTTP {status} {fault.code}"[:80])


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
    return Unknown(transaction.trade_state[:40])


def _refund_state(content: Mapping[str, Any], back: Return) -> RefundSaid:
    try:
        refund = convert(content, Refund)
    except Malformed as error:
        return Unknown(str(error))
    if (refund.out_refund_no, refund.amount.refund) != (back.refund_id, back.amount):
        return Unknown("an answer about another refund")
    match refund.status:
        case "SUCCESS":
            return RefundDone(refund.refund_id)
        case "PROCESSING":
            return RefundAccepted()
        case "CLOSED":
            return RefundFailed("CLOSED", "WeChat Pay has closed the refund.")
    # ABNORMAL: the buyer's card does not take it; a person has to choose another way at WeChat.
    return Unknown(refund.status[:40])
