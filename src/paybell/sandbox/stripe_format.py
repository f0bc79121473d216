"""How Stripe writes: its answers and errors, its objects, and a signed event."""

import hashlib
import hmac
import json

from paybell.sandbox.books import BackMoney, RefundState, Trade, TradeState
from paybell.sandbox.faults import Fault
from paybell.sandbox.simulator import Reply

_STATUS = {TradeState.OPEN: "open", TradeState.PAID: "complete", TradeState.CLOSED: "expired"}
_REFUND = {RefundState.PENDING: "pending", RefundState.DONE: "succeeded", RefundState.FAILED: "failed"}
Fields = dict[str, str]


def ok_reply(said: dict[str, object]) -> Reply:
    """Return an answer."""
    return Reply(200, json.dumps(said).encode())


def fault_reply(status: int, kind: str, code: str) -> Reply:
    """Return an error by its status, type and code."""
    return Reply(
        status, json.dumps({"error": {"type": kind, "code": code, "message": code or kind}}).encode()
    )


def session_of(trade: Trade, page: str, fault: Fault | None) -> dict[str, object]:
    """Return a Checkout session, while it is open with its page; a fault makes some of it wrong."""
    is_open = trade.state is TradeState.OPEN
    paid = trade.state is TradeState.PAID
    return {
        "id": trade.token,
        "object": "checkout.session",
        "client_reference_id": trade.number,
        "status": _STATUS[trade.state],
        "payment_status": "paid" if paid else "unpaid",
        "amount_total": trade.amount + (fault is Fault.WRONG_AMOUNT),
        "currency": trade.currency,
        "payment_intent": trade.transaction_id if paid else None,
        "url": page if is_open else None,
        "livemode": fault is Fault.WRONG_SELLER,
        "created": int(trade.made_at.timestamp()),
        "expires_at": int(trade.expires_at.timestamp()),
    }


def charge_of(trade: Trade) -> dict[str, object]:
    """Return the charge of a session that was paid."""
    return {
        "id": f"ch_{trade.token}",
        "amount": trade.amount,
        "currency": trade.currency,
        "payment_intent": trade.transaction_id,
        "metadata": {"attempt": trade.number},
    }


def refund_of(trade: Trade, back: BackMoney, metadata: Fields) -> dict[str, object]:
    """Return a refund."""
    return {
        "id": back.number,
        "object": "refund",
        "amount": back.amount,
        "currency": trade.currency,
        "payment_intent": trade.transaction_id,
        "status": _REFUND[back.state],
        "metadata": metadata,
    }


def event_of(about: str, event: str, content: dict[str, object], *, livemode: bool) -> bytes:
    """Return an event; the same ``about`` has the same id."""
    notice = {
        "id": f"evt_{hashlib.sha256(about.encode()).hexdigest()[:24]}",
        "object": "event",
        "type": event,
        "livemode": livemode,
        "data": {"object": content},
    }
    return json.dumps(notice).encode()


def signature_of(body: bytes, timestamp: int, keys: list[str]) -> str:
    """Return the signature header, with one ``v1`` for each key."""
    signed = f"{timestamp}.".encode() + body
    macs = [hmac.digest(key.encode(), signed, "sha256").hex() for key in keys]
    return ",".join([f"t={timestamp}", *(f"v1={mac}" for mac in macs)])
