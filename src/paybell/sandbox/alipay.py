"""Alipay's gateway, simulated."""

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from paybell.channels.crypto import PrivateKey, PublicKey
from paybell.sandbox.alipay_format import (
    BEIJING,
    CertificateNames,
    accepted,
    beijing,
    covered,
    failed,
    fen,
    invalid,
    notice_fields,
    read_time,
    read_trade,
    refund_fields,
    refund_of,
    signed_answer,
    state_of,
    yuan,
)
from paybell.sandbox.bills import alipay_bill
from paybell.sandbox.books import BackMoney, Differs, NotPossible, RefundState, Trade, TradeState
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.pages import pay_page
from paybell.sandbox.simulator import Reply, Simulator

Content = Mapping[str, str]
# Takes the business content, all fields of the call and what is to go wrong.
Act = Callable[[Content, Mapping[str, str], Fault | None], Content]


class AlipaySimulator(Simulator):
    """The gateway, and the page a buyer pays on."""

    name = "alipay"

    def __init__(
        self,
        clock: SandboxClock,
        *,
        app_id: str,
        seller_id: str,
        app_keys: list[PublicKey],
        keys: list[PrivateKey],
        names: CertificateNames | None = None,
    ) -> None:
        """Know one application with its public keys; answers are signed with the first of ours."""
        super().__init__(clock)
        self.app_id, self.seller_id, self._names = app_id, seller_id, names or CertificateNames()
        self.app_keys, self.keys = app_keys, keys
        self._acts: Mapping[str, tuple[Operation, Act]] = {
            "alipay.trade.precreate": (Operation.OPEN, self._precreate),
            "alipay.trade.query": (Operation.QUERY, self._query),
            "alipay.trade.close": (Operation.CLOSE, self._close),
            "alipay.trade.refund": (Operation.REFUND, self._refund),
            "alipay.trade.fastpay.refund.query": (Operation.QUERY_REFUND, self._query_refund),
            "alipay.data.dataservice.bill.downloadurl.query": (Operation.BILL, self._bill_url),
        }

    def routes(self) -> list[web.RouteDef]:
        """Return the gateway and the pages."""
        return [
            web.post("/gateway.do", self._gateway),
            web.get("/gateway.do", self._gateway),
            web.get("/qr/{token}", self._scanned),
            web.get("/alipay/bill/{token}", self._download),
        ]

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        # In the body, in the query, or some of them here and some there: all count.
        fields = {**request.query, **dict(parse_qsl((await request.read()).decode()))}
        method = fields.get("method", "")
        if method == "alipay.trade.page.pay":
            return self._page(fields)
        operation, act = self._acts.get(method, (Operation.QUERY, self._query))
        name = method.replace(".", "_") + "_response"

        def reply(fault: Fault | None) -> Reply:
            said = self._wrong(fields) or act(json.loads(fields.get("biz_content", "{}")), fields, fault)
            return Reply(200, json.dumps([name, said]).encode())

        return await self.answer(request, operation, reply)

    def _wrong(self, fields: Mapping[str, str]) -> Content:
        """Return why a call is not taken; empty if it is."""
        if fields.get("app_id") != self.app_id:
            return invalid("isv.invalid-app-id")
        if fields.get("method") not in self._acts and fields.get("method") != "alipay.trade.page.pay":
            return invalid("isv.invalid-method")
        text, sign = covered(fields, "sign").encode(), fields.get("sign", "")
        if not (self._names.are_in(fields) and any(key.verifies(sign, text) for key in self.app_keys)):
            return invalid("isv.invalid-signature")
        try:
            read_time(fields.get("timestamp", ""))
        except ValueError:
            return invalid("isv.invalid-timestamp")
        return {}

    def _made(self, content: Content, fields: Mapping[str, str]) -> Trade:
        return self.books.open(read_trade(content, fields, self.clock.now()))

    def _precreate(self, content: Content, fields: Mapping[str, str], _: Fault | None) -> Content:
        try:
            trade = self._made(content, fields)
        except Differs:
            return failed("ACQ.CONTEXT_INCONSISTENT")
        if trade.state is TradeState.PAID:
            return failed("ACQ.TRADE_HAS_SUCCESS")
        if trade.state is TradeState.CLOSED:
            return failed("ACQ.TRADE_HAS_CLOSE")
        return accepted(out_trade_no=trade.number, qr_code=f"{self.url}/qr/{trade.token}")

    def _found(self, content: Content, fault: Fault | None) -> Trade | None:
        trade = self.books.find(content.get("out_trade_no", ""))
        return trade if trade and trade.known and fault is not Fault.NOT_FOUND else None

    def _query(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        if trade is None:
            return failed("ACQ.TRADE_NOT_EXIST", total_amount="0.00")
        return state_of(trade, fault)

    def _close(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        if trade is None:
            return failed("ACQ.TRADE_NOT_EXIST")
        self.pay_meanwhile(trade, fault)
        try:
            self.books.close(trade)
        except NotPossible:
            return failed("ACQ.REASON_TRADE_STATUS_INVALID")
        return accepted(out_trade_no=trade.number, trade_no=trade.transaction_id)

    def _refund(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        if trade is None:
            return failed("ACQ.TRADE_NOT_EXIST")
        number, amount = content["out_request_no"], fen(content["refund_amount"])
        if number in trade.refunds and trade.refunds[number].state is RefundState.FAILED:
            del trade.refunds[number]  # it left no trace; under the same number it is tried again
        known = number in trade.refunds
        try:
            back = self.refund(trade, number, amount, fault)
        except (Differs, NotPossible):
            return failed("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
        changed = back.state is RefundState.DONE and not known
        return accepted(
            out_trade_no=trade.number,
            trade_no=trade.transaction_id,
            refund_fee=yuan(trade.given_back),
            fund_change="Y" if changed else "N",
        )

    def _query_refund(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        back = trade.refunds.get(content["out_request_no"]) if trade else None
        if trade is None or back is None or back.state is not RefundState.DONE:
            return accepted()
        return refund_of(trade, back)

    def _page(self, fields: Mapping[str, str]) -> web.StreamResponse:
        if wrong := self._wrong(fields):
            return web.Response(status=400, text=wrong["sub_code"])
        try:
            trade = self._made(json.loads(fields["biz_content"]), fields)
        except Differs:
            return web.Response(status=400, text="CONTEXT_INCONSISTENT")
        trade.known = True
        return pay_page(trade, self.name)

    async def _scanned(self, request: web.Request) -> web.StreamResponse:
        trade = self.books.of_token(request.match_info["token"])
        if trade is None:
            return web.Response(status=404)
        trade.known = True
        return pay_page(trade, self.name)

    def failure(self, status: int) -> Reply:
        """Return the gateway's word for an outage; it says so with 200."""
        said = {"code": "20000", "msg": "Service Currently Unavailable", "sub_code": "isp.unknow-error"}
        return Reply(200 if status == 500 else status, json.dumps(["error_response", said]).encode())  # noqa: PLR2004

    def error(self, code: str) -> Reply:
        """Return an error by its ``sub_code``, or by its ``code`` if it is a number."""
        said = {"code": code, "msg": "…"} if code.isdecimal() else failed(code)
        return Reply(200, json.dumps(["error_response", said]).encode())

    def bill(self, day: date | None = None) -> bytes:
        """Return the ZIP of a day's bill."""
        return alipay_bill(self.books, day)

    def _bill_url(self, content: Content, _: Mapping[str, str], __: Fault | None) -> Content:
        # The real one has no bill of today; this one has, so that it can be tried at once.
        bill = self.bill(date.fromisoformat(content["bill_date"]))
        if content["bill_type"] != "trade":
            return failed("isv.invalid_arguments")
        if not bill:
            return failed("isp.bill_not_exist")
        token = self.downloads.offer(bill, self.clock.now())
        return accepted(bill_download_url=f"{self.url}/alipay/bill/{token}")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        bill = self.downloads.take(request.match_info["token"], self.clock.now())
        return web.Response(status=404) if bill is None else web.Response(body=bill)

    def signed(self, reply: Reply, fault: Fault | None, request: web.Request | None) -> Reply:
        """Sign the object, not the whole answer."""
        del request
        sign = None if fault is Fault.UNSIGNED else partial(self._sign, fault=fault)
        return Reply(reply.status, signed_answer(reply.body, sign, self._names.own), {}, "text/html")

    def _sign(self, text: bytes, fault: Fault | None) -> str:
        if fault is Fault.BAD_SIGNATURE:
            return base64.b64encode(secrets.token_bytes(256)).decode()
        return self.keys[-1 if fault is Fault.OTHER_KEY else 0].sign(text)

    def paid_notice(self, trade: Trade, fault: Fault | None) -> Reply:
        """Return the form of a payment."""
        return self._notice(trade, fault, {"trade_status": "TRADE_SUCCESS"})

    def refund_notice(self, trade: Trade, back: BackMoney, fault: Fault | None) -> Reply | None:
        """Return the form of a refund; after the last one the trade is closed."""
        if back.state is not RefundState.DONE:
            return None
        return self._notice(trade, fault, refund_fields(trade, back))

    def _notice(self, trade: Trade, fault: Fault | None, more: Mapping[str, str]) -> Reply:
        sent_at = datetime.fromtimestamp(self.signing_time(fault), BEIJING)
        fields = notice_fields(trade, self.app_id, self.seller_id, more, fault)
        fields["notify_time"] = beijing(sent_at)
        if fault is not Fault.UNSIGNED:
            fields["sign"] = self._sign(covered(fields, "sign_type").encode(), fault)
        return Reply(200, urlencode(fields).encode(), {}, "application/x-www-form-urlencoded")

    def is_taken(self, status: int, body: bytes) -> bool:
        """Only the seven bytes count."""
        del status
        return body == b"success"
