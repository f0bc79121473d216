"""Alipay as a channel: a QR code to scan, or a page to pay on."""

from collections.abc import Mapping
from datetime import timedelta

from paybell.channels.alipay import messages
from paybell.channels.alipay.gateway import AlipayGateway
from paybell.channels.alipay.messages import FEN_MAX, Merchant, Reply
from paybell.channels.answers import (
    Closed,
    CloseSaid,
    NotFound,
    NotSent,
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
from paybell.channels.strict_json import Malformed

_TRADE = "alipay.trade."
_NOT_FOUND = {"ACQ.TRADE_NOT_EXIST"}
# The gateway has turned the call away before anything was done.
_NOT_EXECUTED = {"20001", "40001", "40002", "40006"}
_OPEN_REFUSED = {
    "ACQ.ACCESS_FORBIDDEN",
    "ACQ.BUYER_SELLER_EQUAL",
    "ACQ.EXIST_FORBIDDEN_WORD",
    "ACQ.INVALID_PARAMETER",
    "ACQ.PARTNER_ERROR",
    "ACQ.SELLER_BEEN_BLOCKED",
    "ACQ.TOTAL_FEE_EXCEED",
    "ACQ.TRADE_HAS_CLOSE",
}
# It is in a state that cannot be closed: paid, most likely.
_ASK_WHY = {
    "ACQ.REASON_ILLEGAL_STATUS",
    "ACQ.REASON_TRADE_STATUS_INVALID",
    "ACQ.TRADE_HAS_CLOSE",
    "ACQ.TRADE_HAS_SUCCESS",
    "ACQ.TRADE_STATUS_ERROR",
}
_REFUND_REFUSED = {
    "ACQ.INVALID_PARAMETER",
    "ACQ.REASON_TRADE_REFUND_FEE_ERR",
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL",
    "ACQ.REFUND_FEE_ERROR",
    "ACQ.TRADE_HAS_FINISHED",
}
_PAID = {"TRADE_SUCCESS", "TRADE_FINISHED"}
# It is Alipay itself that is not well.
_AWAY = {"20000", "ACQ.SYSTEM_ERROR"}


class AlipayChannel:
    """Windows of Alipay; all calls go to its gateway, and only what its key has signed counts."""

    kind = Kind.WINDOW

    def __init__(self, name: str, gateway: AlipayGateway, *, schedule: tuple[float, ...], page: bool) -> None:
        """Take what it needs.

        Args:
            name: as in URLs and rows.
            gateway: where it is called, and who we are there.
            schedule: seconds between queries.
            page: a link to Alipay's page instead of a QR code.
        """
        self.name = name
        self.schedule = schedule
        self.offer = Offer(frozenset({"CNY"}), 1, FEN_MAX, timedelta(minutes=1))
        self._we, self._gateway, self._page = gateway.merchant, gateway, page
        self.merchant = _identity(self._we, self._we.app_id, self._we.seller_id)
        self.keyrings = gateway.keyrings

    async def open(self, charge: Charge) -> OpenSaid:
        """Open a window: make a QR code, or sign a link."""
        content = messages.opening(
            charge.attempt_id, charge.amount, charge.subject, charge.expires_at, self._we.seller_id
        )
        if self._page:
            link = self._gateway.page_link(content, charge.notify_url, charge.return_url)
            return link if isinstance(link, NotSent) else Opened(redirect_url=link)
        reply = await self._call("precreate", content, charge.notify_url)
        if not isinstance(reply, Reply):
            return reply
        if reply.code == "10000" and reply.qr_code:
            return Opened(qr_code=reply.qr_code)
        if reply.why in _ASK_WHY:
            said = await self.query(charge)
            if isinstance(said, Paid):
                return said
        if reply.why in _OPEN_REFUSED or reply.code in _NOT_EXECUTED:
            return Refused(reply.why, reply.sub_msg)
        return _undecided(reply)

    async def query(self, charge: Charge) -> QuerySaid:
        """Ask for the trade; it exists only once the buyer has scanned or logged in."""
        reply = await self._call("query", {"out_trade_no": charge.attempt_id})
        if not isinstance(reply, Reply):
            return reply
        if reply.why in _NOT_FOUND:
            return NotFound()
        if reply.code != "10000" or reply.out_trade_no != charge.attempt_id:
            return _undecided(reply)
        return self._state(reply.trade_status, reply, paid_at=reply.send_pay_date)

    async def close(self, charge: Charge) -> CloseSaid:
        """Close the trade; one that was never made cannot be closed, and its QR code lives on."""
        reply = await self._call("close", {"out_trade_no": charge.attempt_id})
        if not isinstance(reply, Reply):
            return reply
        if reply.code == "10000":
            return Closed()
        if reply.why in _NOT_FOUND:
            return NotFound()
        if reply.why in _ASK_WHY:
            said = await self.query(charge)
            return said if isinstance(said, Paid | Closed) else _undecided(reply)
        return _undecided(reply)

    async def refund(self, back: Return) -> RefundSaid:
        """Give money back; 10000 alone proves nothing, only that money changed hands does."""
        content = {
            "out_trade_no": back.charge.attempt_id,
            "refund_amount": messages.yuan(back.amount),
            "out_request_no": back.refund_id,
            "refund_reason": back.reason,
        }
        reply = await self._call("refund", content)
        if not isinstance(reply, Reply):
            return reply
        if reply.code == "10000" and reply.fund_change == "Y":
            return RefundDone(reply.trade_no)
        if reply.code == "10000":  # a repetition of one that is done, or one that is not done yet
            said = await self.query_refund(back)
            return said if isinstance(said, RefundDone) else RefundAccepted()
        if reply.why in _REFUND_REFUSED:
            return RefundFailed(reply.why, reply.sub_msg)
        return _undecided(reply)

    async def query_refund(self, back: Return) -> RefundSaid:
        """Ask for a refund; an answer that says nothing of it means it was not made."""
        content = {"out_trade_no": back.charge.attempt_id, "out_request_no": back.refund_id}
        reply = await self._call("fastpay.refund.query", content)
        if not isinstance(reply, Reply):
            return reply
        if reply.code != "10000":
            return _undecided(reply)
        if reply.refund_status != "REFUND_SUCCESS":
            return NotFound()
        try:
            same = messages.fen(reply.refund_amount) == back.amount
        except Malformed:
            same = False
        return RefundDone(reply.trade_no) if same else undecided("another amount was refunded")

    def read_notice(self, notice: Notice) -> Heard:
        """Verify, then read a form.

        Raises:
            NoticeRefused: not signed by Alipay, or it lacks what every notice has.
        """
        try:
            fields = self._gateway.verified_notice(notice.body)
            if fields is None:
                raise NoticeRefused
            number = fields["out_trade_no"]
            if fields.get("refund_fee") and fields.get("out_biz_no"):
                return Heard(fields["notify_id"], number, refund_id=fields["out_biz_no"])
            reply = Reply(
                signed=True,
                trade_no=fields["trade_no"],
                total_amount=fields["total_amount"],
            )
            identity = _identity(self._we, fields["app_id"], fields.get("seller_id", ""))
            said = self._state(
                fields["trade_status"], reply, paid_at=fields.get("gmt_payment", ""), merchant=identity
            )
            return Heard(fields["notify_id"], number, None if isinstance(said, Unknown) else said)
        except (Malformed, KeyError) as error:
            raise NoticeRefused from error

    def answer_notice(self, *, taken: bool) -> NoticeAnswer:
        """Return exactly ``success``, or anything else."""
        return NoticeAnswer(200, b"success" if taken else b"fail")

    def _state(
        self, status: str, reply: Reply, *, paid_at: str, merchant: str | None = None
    ) -> Paid | Closed | Waiting | Unknown:
        # TRADE_CLOSED is said of what nobody paid, and of what was paid and given back since.
        if status in _PAID or (status == "TRADE_CLOSED" and paid_at):
            try:
                amount = messages.fen(reply.total_amount)
            except Malformed:
                return undecided("no amount")
            return Paid(amount, "CNY", reply.trade_no, self.merchant if merchant is None else merchant)
        if status == "TRADE_CLOSED":
            return Closed()
        return Waiting() if status == "WAIT_BUYER_PAY" else undecided(status[:40])

    async def _call(
        self, what: str, content: Mapping[str, str], notify_url: str = ""
    ) -> Reply | Unknown | NotSent:
        return await self._gateway.call(_TRADE + what, content, notify_url)


def _undecided(reply: Reply) -> Unknown:
    return Unknown(reply.why, answered=not {reply.code, reply.why} & _AWAY)


def _identity(merchant: Merchant, app_id: str, seller_id: str) -> str:
    """Return who a payment is for; the seller counts where a setting names ours."""
    return f"{app_id}/{seller_id}" if merchant.seller_id else app_id
