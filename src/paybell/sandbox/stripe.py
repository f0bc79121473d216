"""Stripe's API, simulated: Checkout sessions, refunds, webhooks, idempotency keys."""

import hashlib
import secrets
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from aiohttp import web

from paybell.sandbox.books import BackMoney, Differs, NotPossible, RefundState, Trade, TradeState
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.pages import pay_page
from paybell.sandbox.simulator import Reply, Simulator
from paybell.sandbox.stripe_format import (
    Fields,
    charge_of,
    event_of,
    fault_reply,
    ok_reply,
    refund_of,
    session_of,
    signature_of,
)

_EXPIRES_MIN, _EXPIRES_MAX = timedelta(minutes=30), timedelta(hours=24)
# How long an idempotency key is remembered.
_KEYS_KEPT = timedelta(hours=24)


class StripeSimulator(Simulator):
    """The API of one account in test mode, and its payment page."""

    name = "stripe"
    signs_answers = False  # only its webhooks are signed

    def __init__(self, clock: SandboxClock, *, api_keys: list[str], webhook_secrets: list[str]) -> None:
        """Take these keys; webhooks carry one ``v1`` for each secret."""
        super().__init__(clock)
        self.bearers = {f"Bearer {key}" for key in api_keys}
        self.secrets = webhook_secrets
        self.webhook_url = ""
        self._answers: dict[str, tuple[str, Reply, datetime]] = {}
        self._metadata: dict[str, Fields] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of the API, and the page."""
        sessions = "/v1/checkout/sessions"
        return [
            web.post(sessions, self._route(Operation.OPEN, self._create)),
            web.get(sessions, self._route(Operation.QUERY, self._list)),
            web.get(sessions + "/{id}", self._route(Operation.QUERY, self._retrieve)),
            web.post(sessions + "/{id}/expire", self._route(Operation.CLOSE, self._expire)),
            web.post("/v1/refunds", self._route(Operation.REFUND, self._refund)),
            web.get("/v1/refunds", self._route(Operation.QUERY_REFUND, self._refunds)),
            web.get("/v1/balance_transactions", self._route(Operation.QUERY, self._balance)),
            web.get("/c/pay/{token}", self._page),
        ]

    def _route(
        self, operation: Operation, act: Callable[[web.Request, Fields, Fault | None], Reply]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            return await self.answer(request, operation, lambda fault: self._act(request, body, fault, act))

        return handle

    def _act(
        self,
        request: web.Request,
        body: bytes,
        fault: Fault | None,
        act: Callable[[web.Request, Fields, Fault | None], Reply],
    ) -> Reply:
        """Do it once for each idempotency key; what was answered once is answered again, a fault included."""
        if request.headers.get("Authorization") not in self.bearers:
            return fault_reply(401, "invalid_request_error", "")
        fields = dict(parse_qsl(body.decode() or request.query_string))
        key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
        asked = hashlib.sha256(request.path.encode() + b"\n" + body).hexdigest()
        if key in self._answers and self.clock.now() - self._answers[key][2] < _KEYS_KEPT:
            before, reply, _ = self._answers[key]
            return reply if before == asked else fault_reply(400, "idempotency_error", "")
        reply = act(request, fields, fault)
        if fault is Fault.FAIL_AFTER:
            reply = self.failure(500)
        if key and (reply.status == 200 or reply.status >= 500):  # noqa: PLR2004 - validation is not kept
            self._answers[key] = asked, reply, self.clock.now()
        return reply

    def _create(self, _: web.Request, fields: Fields, fault: Fault | None) -> Reply:
        del fault
        now = self.clock.now()
        expires = now + _EXPIRES_MAX
        if "expires_at" in fields:
            expires = datetime.fromtimestamp(int(fields["expires_at"]), UTC)
            if not now + _EXPIRES_MIN <= expires <= now + _EXPIRES_MAX:
                return fault_reply(400, "invalid_request_error", "")
        price = "line_items[0][price_data]"
        if not {"success_url", f"{price}[currency]", f"{price}[unit_amount]"} <= fields.keys():
            return fault_reply(400, "invalid_request_error", "parameter_missing")
        token = f"cs_test_{secrets.token_hex(16)}"
        # Our own number does not keep a second session from being made: only the key does.
        trade = self.books.open(
            Trade(
                number=fields.get("client_reference_id", token),
                token=token,
                transaction_id=f"pi_{secrets.token_hex(12)}",
                amount=int(fields[f"{price}[unit_amount]"]),
                currency=fields[f"{price}[currency]"],
                subject=fields[f"{price}[product_data][name]"],
                expires_at=expires,
                notify_url=self.webhook_url,
                parameters=token.encode(),
                made_at=now,
                return_url=fields["success_url"],
            )
        )
        return ok_reply(self._session(trade))

    def _session(self, trade: Trade, fault: Fault | None = None) -> dict[str, object]:
        if trade.state is TradeState.OPEN and self.clock.now() >= trade.expires_at:
            self.books.close(trade)
        return session_of(trade, f"{self.url}/c/pay/{trade.token}", fault)

    def _retrieve(self, request: web.Request, _: Fields, fault: Fault | None) -> Reply:
        trade = self.books.of_token(request.match_info["id"])
        if trade is None or fault is Fault.NOT_FOUND:
            return fault_reply(404, "invalid_request_error", "resource_missing")
        return ok_reply(self._session(trade, fault))

    def _list(self, _: web.Request, fields: Fields, fault: Fault | None) -> Reply:
        since, until = int(fields.get("created[gte]", 0)), int(fields.get("created[lte]", sys.maxsize))
        newest = [one for one in reversed(list(self.books)) if since <= int(one.made_at.timestamp()) <= until]
        most = int(fields.get("limit", "10"))
        tokens = [one.token for one in newest]
        if "starting_after" in fields:
            newest = newest[tokens.index(fields["starting_after"]) + 1 :]
        page = [self._session(trade, fault) for trade in newest[:most]]
        return ok_reply({"object": "list", "data": page, "has_more": len(newest) > most})

    def _expire(self, request: web.Request, _: Fields, fault: Fault | None) -> Reply:
        trade = self.books.of_token(request.match_info["id"])
        if trade is None:
            return fault_reply(404, "invalid_request_error", "resource_missing")
        self.pay_meanwhile(trade, fault)
        if trade.state is not TradeState.OPEN:
            return fault_reply(400, "invalid_request_error", "")
        self.books.close(trade)
        self._later(
            self._send(self.webhook_url, lambda f: self._event("checkout.session.expired", trade, f), None, 0)
        )
        return ok_reply(self._session(trade))

    def _refund(self, _: web.Request, fields: Fields, fault: Fault | None) -> Reply:
        trade = next((one for one in self.books if one.transaction_id == fields["payment_intent"]), None)
        if trade is None:
            return fault_reply(404, "invalid_request_error", "resource_missing")
        number = f"re_{secrets.token_hex(12)}"
        metadata = {name[9:-1]: value for name, value in fields.items() if name.startswith("metadata[")}
        self._metadata[number] = metadata
        try:
            back = self.refund(trade, number, int(fields["amount"]), fault)
        except (Differs, NotPossible):
            code = "charge_already_refunded" if trade.given_back == trade.amount else "amount_too_large"
            return fault_reply(400, "invalid_request_error", code)
        return ok_reply(self._back(trade, back))

    def _refunds(self, _: web.Request, fields: Fields, fault: Fault | None) -> Reply:
        del fault
        found = [
            self._back(trade, back)
            for trade in self.books
            if trade.transaction_id == fields.get("payment_intent")
            for back in trade.refunds.values()
        ]
        return ok_reply({"object": "list", "data": found, "has_more": False})

    def _balance(self, _: web.Request, fields: Fields, fault: Fault | None) -> Reply:
        """List what moved, each with the charge or refund behind it, and a fee that is nobody's."""
        del fault
        rows: list[dict[str, object]] = [{"id": "txn_fee", "type": "stripe_fee", "source": None}]
        for trade in self.books:
            if trade.state is TradeState.PAID and trade.paid_at is not None:
                rows.append({"id": f"txn_{trade.token}", "type": "charge", "source": charge_of(trade)})
            rows += [
                {"id": f"txn_{back.number}", "type": "refund", "source": self._back(trade, back)}
                for back in trade.refunds.values()
                if back.state is RefundState.DONE
            ]
        ids, most = [row["id"] for row in rows], int(fields.get("limit", "10"))
        start = ids.index(fields["starting_after"]) + 1 if "starting_after" in fields else 0
        page = rows[start : start + most]
        return ok_reply({"object": "list", "data": page, "has_more": start + most < len(rows)})

    def _back(self, trade: Trade, back: BackMoney) -> dict[str, object]:
        return refund_of(trade, back, self._metadata.get(back.number, {}))

    async def _page(self, request: web.Request) -> web.StreamResponse:
        trade = self.books.of_token(request.match_info["token"])
        return web.Response(status=404) if trade is None else pay_page(trade, self.name)

    def failure(self, status: int) -> Reply:
        """Return the error of an outage, or of too many calls."""
        return fault_reply(status, "api_error" if status >= 500 else "invalid_request_error", "")  # noqa: PLR2004

    def error(self, code: str) -> Reply:
        """Return an error by its status, type and code."""
        status, kind, name = f"{code} ".split(" ", 2)
        return fault_reply(int(status), kind, name.strip())

    def signed(self, reply: Reply, fault: Fault | None, request: web.Request | None) -> Reply:
        """Return it as it is: Stripe signs webhooks only."""
        del fault, request
        return reply

    def paid_notice(self, trade: Trade, fault: Fault | None) -> Reply:
        """Return the webhook of a completed session."""
        return self._event("checkout.session.completed", trade, fault)

    def refund_notice(self, trade: Trade, back: BackMoney, fault: Fault | None) -> Reply | None:
        """Return the webhook of a refund that has ended."""
        event = "refund.failed" if back.state is RefundState.FAILED else "refund.updated"
        return self.webhook(f"{event}{back.number}", event, self._back(trade, back), fault)

    def _event(self, event: str, trade: Trade, fault: Fault | None) -> Reply:
        return self.webhook(f"{event}{trade.token}", event, self._session(trade, fault), fault)

    def webhook(
        self, about: str, event: str, content: dict[str, object], fault: Fault | None = None
    ) -> Reply:
        """Return a signed event; the same ``about`` has the same id."""
        forged = fault in {Fault.BAD_SIGNATURE, Fault.UNKNOWN_KEY}
        keys = ["whsec_forged"] if forged else self.secrets
        body = event_of(about, event, content, livemode=fault is Fault.WRONG_SELLER)
        signature = signature_of(body, self.signing_time(fault), keys)
        return Reply(200, body, {} if fault is Fault.UNSIGNED else {"Stripe-Signature": signature})
