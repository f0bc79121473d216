"""Alipay's gateway, simulated."""

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from paybell.channels.crypto import PrivateKey, PublicKey
from paybell.sandbox.bills import alipay_bill
from paybell.sandbox.books import BackMoney, Differs, NotPossible, RefundState, Trade, TradeState
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.pages import pay_page
from paybell.sandbox.simulator import Reply, Simulator

_BEIJING = timezone(timedelta(hours=8))
_TIME = "%Y-%m-%d %H:%M:%S"
_OPERATIONS = {
    "alipay.trade.precreate": Operation.OPEN,
    "alipay.trade.query": Operation.QUERY,
    "alipay.trade.close": Operation.CLOSE,
    "alipay.trade.refund": Operation.REFUND,
    "alipay.trade.fastpay.refund.query": Operation.QUERY_REFUND,
    "alipay.data.dataservice.bill.downloadurl.query": Operation.BILL,
}
_STATUS = {
    TradeState.OPEN: "WAIT_BUYER_PAY",
    TradeState.PAID: "TRADE_SUCCESS",
    TradeState.CLOSED: "TRADE_CLOSED",
}
Content = Mapping[str, str]


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
    ) -> None:
        """Know one application with its public keys; answers are signed with the first of ours."""
        super().__init__(clock)
        self.app_id, self.seller_id = app_id, seller_id
        self.app_keys, self.keys = app_keys, keys
        self._stranger: PrivateKey | None = None

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
        operation = _OPERATIONS.get(method, Operation.QUERY)

        def act(fault: Fault | None) -> Reply:
            wrong = self._wrong(fields)
            content = json.loads(fields.get("biz_content", "{}")) if not wrong else {}
            acts: dict[str, Callable[[Content, Mapping[str, str], Fault | None], Content]] = {
                "alipay.trade.precreate": self._precreate,
                "alipay.trade.query": self._query,
                "alipay.trade.close": self._close,
                "alipay.trade.refund": self._refund,
                "alipay.trade.fastpay.refund.query": self._query_refund,
                "alipay.data.dataservice.bill.downloadurl.query": self._bill_url,
            }
            said = wrong or acts[method](content, fields, fault)
            name = method.replace(".", "_") + "_response"
            return Reply(200, json.dumps([name, said]).encode())

        return await self.answer(request, operation, act)

    def _wrong(self, fields: Mapping[str, str]) -> Content:
        """Return why a call is not taken; empty if it is."""
        if fields.get("app_id") != self.app_id:
            return _invalid("isv.invalid-app-id")
        if fields.get("method") not in _OPERATIONS and fields.get("method") != "alipay.trade.page.pay":
            return _invalid("isv.invalid-method")
        covered = "&".join(f"{k}={fields[k]}" for k in sorted(fields) if k != "sign" and fields[k])
        if not any(key.verifies(fields.get("sign", ""), covered.encode()) for key in self.app_keys):
            return _invalid("isv.invalid-signature")
        try:
            datetime.strptime(fields.get("timestamp", ""), _TIME).replace(tzinfo=_BEIJING)
        except ValueError:
            return _invalid("isv.invalid-timestamp")
        return {}

    def _made(self, content: Content, fields: Mapping[str, str]) -> Trade:
        expires = datetime.strptime(content["time_expire"], _TIME).replace(tzinfo=_BEIJING)
        return self.books.open(
            Trade(
                number=content["out_trade_no"],
                token=secrets.token_hex(12),
                transaction_id=f"2026{secrets.randbelow(10**24):024d}",
                amount=int(Decimal(content["total_amount"]) * 100),
                currency="CNY",
                subject=content["subject"],
                expires_at=expires,
                notify_url=fields.get("notify_url", ""),
                parameters=json.dumps(content, sort_keys=True).encode(),
                made_at=self.clock.now(),
                known=False,
                return_url=fields.get("return_url", ""),
            )
        )

    def _precreate(self, content: Content, fields: Mapping[str, str], _: Fault | None) -> Content:
        try:
            trade = self._made(content, fields)
        except Differs:
            return _failed("ACQ.CONTEXT_INCONSISTENT")
        if trade.state is TradeState.PAID:
            return _failed("ACQ.TRADE_HAS_SUCCESS")
        if trade.state is TradeState.CLOSED:
            return _failed("ACQ.TRADE_HAS_CLOSE")
        return _accepted(out_trade_no=trade.number, qr_code=f"{self.url}/qr/{trade.token}")

    def _found(self, content: Content, fault: Fault | None) -> Trade | None:
        trade = self.books.find(content.get("out_trade_no", ""))
        return trade if trade and trade.known and fault is not Fault.NOT_FOUND else None

    def _query(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        if trade is None:
            return _failed("ACQ.TRADE_NOT_EXIST", total_amount="0.00")
        said = _accepted(
            out_trade_no=trade.number,
            trade_no=trade.transaction_id,
            trade_status=_STATUS[trade.state],
            total_amount=_yuan(trade.amount + (fault is Fault.WRONG_AMOUNT)),
            buyer_logon_id="buyer{}@example.com",
        )
        if trade.paid_at is not None:
            said["send_pay_date"] = _beijing(trade.paid_at)
            if trade.given_back == trade.amount:
                said["trade_status"] = "TRADE_CLOSED"
        return said

    def _close(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        if trade is None:
            return _failed("ACQ.TRADE_NOT_EXIST")
        self.pay_meanwhile(trade, fault)
        try:
            self.books.close(trade)
        except NotPossible:
            return _failed("ACQ.REASON_TRADE_STATUS_INVALID")
        return _accepted(out_trade_no=trade.number, trade_no=trade.transaction_id)

    def _refund(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        if trade is None:
            return _failed("ACQ.TRADE_NOT_EXIST")
        number, amount = content["out_request_no"], int(Decimal(content["refund_amount"]) * 100)
        if number in trade.refunds and trade.refunds[number].state is RefundState.FAILED:
            del trade.refunds[number]  # it left no trace; under the same number it is tried again
        known = number in trade.refunds
        try:
            back = self.refund(trade, number, amount, fault)
        except (Differs, NotPossible):
            return _failed("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
        changed = back.state is RefundState.DONE and not known
        return _accepted(
            out_trade_no=trade.number,
            trade_no=trade.transaction_id,
            refund_fee=_yuan(trade.given_back),
            fund_change="Y" if changed else "N",
        )

    def _query_refund(self, content: Content, _: Mapping[str, str], fault: Fault | None) -> Content:
        trade = self._found(content, fault)
        back = trade.refunds.get(content["out_request_no"]) if trade else None
        if trade is None or back is None or back.state is not RefundState.DONE:
            return _accepted()
        return _accepted(
            out_trade_no=trade.number,
            trade_no=trade.transaction_id,
            out_request_no=back.number,
            refund_amount=_yuan(back.amount),
            refund_status="REFUND_SUCCESS",
        )

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
        said = {"code": code, "msg": "…"} if code.isdecimal() else _failed(code)
        return Reply(200, json.dumps(["error_response", said]).encode())

    def bill(self, day: date | None = None) -> bytes:
        """Return the ZIP of a day's bill."""
        return alipay_bill(self.books, day)

    def _bill_url(self, content: Content, _: Mapping[str, str], __: Fault | None) -> Content:
        # The real one has no bill of today; this one has, so that it can be tried at once.
        bill = self.bill(date.fromisoformat(content["bill_date"]))
        if content["bill_type"] != "trade":
            return _failed("isv.invalid_arguments")
        if not bill:
            return _failed("isp.bill_not_exist")
        token = self.downloads.offer(bill, self.clock.now())
        return _accepted(bill_download_url=f"{self.url}/alipay/bill/{token}")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        bill = self.downloads.take(request.match_info["token"], self.clock.now())
        return web.Response(status=404) if bill is None else web.Response(body=bill)

    def signed(self, reply: Reply, fault: Fault | None, request: web.Request | None) -> Reply:
        """Write the object as PHP does, with escaped slashes, and sign exactly that."""
        del request
        name, said = json.loads(reply.body)
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
        signature = self._sign(text.encode(), fault)
        sign = "" if fault is Fault.UNSIGNED else f',"sign":"{signature}"'
        return Reply(reply.status, f'{{"{name}":{text}{sign}}}'.encode(), {}, "text/html")

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
        whole = trade.given_back == trade.amount
        more = {
            "trade_status": "TRADE_CLOSED" if whole else "TRADE_SUCCESS",
            "out_biz_no": back.number,
            "refund_fee": _yuan(trade.given_back),
            "gmt_refund": _beijing(back.made_at),
        }
        return self._notice(trade, fault, more)

    def _notice(self, trade: Trade, fault: Fault | None, more: Mapping[str, str]) -> Reply:
        assert trade.paid_at is not None
        about = more.get("out_biz_no", "paid")
        fields = {
            "notify_time": datetime.fromtimestamp(self.signing_time(fault), _BEIJING).strftime(_TIME),
            "notify_type": "trade_status_sync",
            "notify_id": f"{trade.token}{about}",
            "app_id": self.app_id,
            "auth_app_id": self.app_id,
            "charset": "utf-8",
            "version": "1.0",
            "sign_type": "RSA2",
            "trade_no": trade.transaction_id,
            "out_trade_no": trade.number,
            "buyer_id": "2088102100000000",
            "seller_id": "2088999999999999" if fault is Fault.WRONG_SELLER else self.seller_id,
            "total_amount": _yuan(trade.amount + (fault is Fault.WRONG_AMOUNT)),
            "receipt_amount": _yuan(trade.amount),
            "buyer_pay_amount": _yuan(trade.amount),
            "gmt_create": _beijing(trade.made_at),
            "gmt_payment": _beijing(trade.paid_at),
            "fund_bill_list": json.dumps([{"amount": _yuan(trade.amount), "fundChannel": "ALIPAYACCOUNT"}]),
            "subject": trade.subject,
            **more,
        }
        covered = "&".join(f"{k}={fields[k]}" for k in sorted(fields) if k != "sign_type" and fields[k])
        if fault is not Fault.UNSIGNED:
            fields["sign"] = self._sign(covered.encode(), fault)
        return Reply(200, urlencode(fields).encode(), {}, "application/x-www-form-urlencoded")

    def is_taken(self, status: int, body: bytes) -> bool:
        """Only the seven bytes count."""
        del status
        return body == b"success"


def _accepted(**fields: str) -> dict[str, str]:
    return {"code": "10000", "msg": "Success", **fields}


def _failed(sub_code: str, **fields: str) -> dict[str, str]:
    return {"code": "40004", "msg": "Business Failed", "sub_code": sub_code, "sub_msg": sub_code, **fields}


def _invalid(sub_code: str) -> dict[str, str]:
    return {"code": "40002", "msg": "Invalid Arguments", "sub_code": sub_code, "sub_msg": sub_code}


def _yuan(fen: int) -> str:
    return f"{Decimal(fen) / 100:.2f}"


def _beijing(moment: datetime) -> str:
    return moment.astimezone(_BEIJING).strftime(_TIME)
