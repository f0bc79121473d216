"""WeChat Pay's API v3, simulated."""

import base64
import gzip
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import date, datetime

from aiohttp import web

from paybell.channels.crypto import AesKey, PrivateKey, PublicKey
from paybell.sandbox.bills import wechat_bill
from paybell.sandbox.books import BackMoney, Differs, NotPossible, Trade, TradeState
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.simulator import Reply, Simulator
from paybell.sandbox.wechat_format import (
    REFUND,
    encrypted_notice,
    fault_reply,
    ok_reply,
    refund_of,
    transaction,
)

_SKEW_SECONDS = 300
_FIELD = re.compile(r'(\w+)="([^"]*)"')


class WechatSimulator(Simulator):
    """The API; a person pays on the sandbox's own page, as nothing but WeChat opens its codes."""

    name = "wechat"

    def __init__(
        self,
        clock: SandboxClock,
        *,
        mchid: str,
        appid: str,
        merchant_keys: list[PublicKey],
        keys: list[tuple[str, PrivateKey]],
        api_v3_key: str,
    ) -> None:
        """Know one merchant with its public keys; sign with the first of ``keys``, each with id or serial."""
        super().__init__(clock)
        self.mchid, self.appid = mchid, appid
        self.merchant_keys, self.keys = merchant_keys, keys
        self.aes = AesKey(api_v3_key)

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of payments and refunds."""
        trade = "/v3/pay/transactions/out-trade-no/{number}"
        refunds = "/v3/refund/domestic/refunds"
        return [
            web.post("/v3/pay/transactions/native", self._route(Operation.OPEN, self._native)),
            web.get(trade, self._route(Operation.QUERY, self._query)),
            web.post(trade + "/close", self._route(Operation.CLOSE, self._close)),
            web.post(refunds, self._route(Operation.REFUND, self._refund)),
            web.get(refunds + "/{number}", self._route(Operation.QUERY_REFUND, self._query_refund)),
            web.get("/v3/bill/tradebill", self._route(Operation.BILL, self._bill_url)),
            web.get("/v3/billdownload/file", self._download),
        ]

    def _route(
        self, operation: Operation, act: Callable[[web.Request, bytes, Fault | None], Reply]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            wrong = self._wrong(request, body)
            return await self.answer(request, operation, lambda fault: wrong or act(request, body, fault))

        return handle

    def _wrong(self, request: web.Request, body: bytes) -> Reply | None:
        """Return why a call is not taken."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        fields = dict(_FIELD.findall(rest))
        if scheme != "WECHATPAY2-SHA256-RSA2048" or set(fields) != {
            "mchid",
            "nonce_str",
            "timestamp",
            "serial_no",
            "signature",
        }:
            return fault_reply(401, "SIGN_ERROR")
        if not request.headers.get("Accept"):
            return fault_reply(400, "PARAM_ERROR")
        if abs(int(fields["timestamp"]) - self.clock.now().timestamp()) > _SKEW_SECONDS:
            return fault_reply(401, "SIGN_ERROR")
        lines = (request.method, request.raw_path, fields["timestamp"], fields["nonce_str"])
        text = "\n".join(lines).encode() + b"\n" + body + b"\n"
        known = fields["mchid"] == self.mchid
        if not known or not any(key.verifies(fields["signature"], text) for key in self.merchant_keys):
            return fault_reply(401, "SIGN_ERROR")
        return None

    def _native(self, _: web.Request, body: bytes, fault: Fault | None) -> Reply:
        del fault
        asked = json.loads(body)
        expires = datetime.fromisoformat(asked["time_expire"])
        before = self.books.find(asked["out_trade_no"])
        if before is None and expires <= self.clock.now():
            return fault_reply(400, "PARAM_ERROR")
        try:
            trade = self.books.open(
                Trade(
                    number=asked["out_trade_no"],
                    token=secrets.token_urlsafe(9),
                    transaction_id=f"4200{secrets.randbelow(10**24):024d}",
                    amount=asked["amount"]["total"],
                    currency=asked["amount"].get("currency", "CNY"),
                    subject=asked["description"],
                    expires_at=expires,
                    notify_url=asked["notify_url"],
                    parameters=body,
                    made_at=self.clock.now(),
                )
            )
        except Differs:
            return fault_reply(400, "INVALID_REQUEST")
        if trade.state is TradeState.PAID:
            return fault_reply(400, "ORDERPAID")
        if trade.state is TradeState.CLOSED:
            return fault_reply(400, "ORDER_CLOSED")
        return ok_reply({"code_url": f"weixin://wxpay/bizpayurl?pr={trade.token}"})

    def _query(self, request: web.Request, _: bytes, fault: Fault | None) -> Reply:
        trade = self.books.find(request.match_info["number"])
        if trade is None or fault is Fault.NOT_FOUND or request.query.get("mchid") != self.mchid:
            return fault_reply(404, "ORDER_NOT_EXIST")
        return ok_reply(transaction(trade, self.appid, self.mchid, fault))

    def _close(self, request: web.Request, _: bytes, fault: Fault | None) -> Reply:
        trade = self.books.find(request.match_info["number"])
        if trade is None or fault is Fault.NOT_FOUND:
            return fault_reply(404, "ORDER_NOT_EXIST")
        self.pay_meanwhile(trade, fault)
        try:
            self.books.close(trade)
        except NotPossible:
            return fault_reply(400, "ORDER_PAID")
        return Reply(204, b"")

    def _refund(self, _: web.Request, body: bytes, fault: Fault | None) -> Reply:
        asked = json.loads(body)
        trade = self.books.find(asked["out_trade_no"])
        if trade is None:
            return fault_reply(404, "RESOURCE_NOT_EXISTS")
        try:
            back = self.refund(trade, asked["out_refund_no"], asked["amount"]["refund"], fault)
        except (Differs, NotPossible):
            return fault_reply(400, "INVALID_REQUEST")
        return ok_reply(refund_of(trade, back, "status"))

    def _query_refund(self, request: web.Request, _: bytes, fault: Fault | None) -> Reply:
        number = request.match_info["number"]
        for trade in self.books:
            if number in trade.refunds and fault is not Fault.NOT_FOUND:
                return ok_reply(refund_of(trade, trade.refunds[number], "status"))
        return fault_reply(404, "RESOURCE_NOT_EXISTS")

    def failure(self, status: int) -> Reply:
        """Return the error of an outage, or of too many calls."""
        return fault_reply(status, "SYSTEM_ERROR" if status >= 500 else "FREQUENCY_LIMITED")  # noqa: PLR2004

    def error(self, code: str) -> Reply:
        """Return an error by its status and code."""
        status, _, name = code.partition(" ")
        return fault_reply(int(status), name)

    def bill(self, day: date | None = None) -> bytes:
        """Return the text of a day's bill."""
        return wechat_bill(self.books, day)

    def _bill_url(self, request: web.Request, _: bytes, __: Fault | None) -> Reply:
        asked = request.query
        # The real one has no bill of today; this one has, so that it can be tried at once.
        bill = self.bill(date.fromisoformat(asked["bill_date"]))
        if asked.get("bill_type", "ALL") != "ALL":
            return fault_reply(400, "PARAM_ERROR")
        if not bill:
            return fault_reply(400, "NO_STATEMENT_EXIST")
        packed = gzip.compress(bill) if asked.get("tar_type") == "GZIP" else bill
        token = self.downloads.offer(packed, self.clock.now())
        return ok_reply(
            {
                "hash_type": "SHA1",
                "hash_value": hashlib.sha1(bill, usedforsecurity=False).hexdigest(),
                "download_url": f"{self.url}/v3/billdownload/file?token={token}",
            }
        )

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """Send a bill to whom we know; what is downloaded is not signed."""
        if wrong := self._wrong(request, b""):
            return web.Response(status=wrong.status, body=wrong.body, content_type=wrong.content_type)
        bill = self.downloads.take(request.query.get("token", ""), self.clock.now())
        return web.Response(status=404) if bill is None else web.Response(body=bill)

    def signed(self, reply: Reply, fault: Fault | None, request: web.Request | None) -> Reply:
        """Sign in headers, with the key that the merchant named if it is one of ours."""
        if fault is Fault.UNSIGNED:
            return reply
        wanted = request.headers.get("Wechatpay-Serial", "") if request is not None else ""
        matching = [one for one in self.keys if one[0] == wanted]
        serial, key = self.keys[-1] if fault is Fault.OTHER_KEY else (matching or self.keys)[0]
        timestamp, nonce = str(self.signing_time(fault)), secrets.token_hex(16)
        text = f"{timestamp}\n{nonce}\n".encode() + reply.body + b"\n"
        forged = base64.b64encode(secrets.token_bytes(256)).decode()
        headers = {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": "5DEA10EF55877E3C" if fault is Fault.UNKNOWN_KEY else serial,
            "Wechatpay-Signature": forged if fault is Fault.BAD_SIGNATURE else key.sign(text),
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Request-ID": secrets.token_hex(8),
        }
        return Reply(reply.status, reply.body, headers, reply.content_type)

    def paid_notice(self, trade: Trade, fault: Fault | None) -> Reply:
        """Return the notice of a payment, encrypted and signed."""
        return self._notice(
            trade, "TRANSACTION.SUCCESS", transaction(trade, self.appid, self.mchid, fault), fault
        )

    def refund_notice(self, trade: Trade, back: BackMoney, fault: Fault | None) -> Reply | None:
        """Return the notice of a refund that has ended."""
        content = {"mchid": self.mchid, **refund_of(trade, back, "refund_status")}
        return self._notice(trade, f"REFUND.{REFUND[back.state]}", content, fault)

    def _notice(self, trade: Trade, event: str, content: dict[str, object], fault: Fault | None) -> Reply:
        notice = encrypted_notice(self.aes, trade, event, content, self.clock.now())
        return self.signed(Reply(200, json.dumps(notice).encode()), fault, None)
