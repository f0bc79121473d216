"""How WeChat Pay writes: its answers and errors, payments and refunds, and the envelope of a notice."""

import json
import secrets
from datetime import datetime, timedelta, timezone

from paybell.channels.crypto import AesKey
from paybell.sandbox.books import BackMoney, RefundState, Trade, TradeState
from paybell.sandbox.faults import Fault
from paybell.sandbox.simulator import Reply

_BEIJING = timezone(timedelta(hours=8))
_STATE = {TradeState.OPEN: "NOTPAY", TradeState.PAID: "SUCCESS", TradeState.CLOSED: "CLOSED"}
REFUND = {RefundState.PENDING: "PROCESSING", RefundState.DONE: "SUCCESS", RefundState.FAILED: "CLOSED"}


def ok_reply(said: dict[str, object]) -> Reply:
    """Return an answer."""
    return Reply(200, json.dumps(said, ensure_ascii=False).encode())


def fault_reply(status: int, code: str) -> Reply:
    """Return an error by its status and code."""
    return Reply(status, json.dumps({"code": code, "message": code, "detail": {}}).encode())


def transaction(trade: Trade, appid: str, mchid: str, fault: Fault | None) -> dict[str, object]:
    """Return a payment as it stands; a fault makes some of it wrong."""
    said: dict[str, object] = {
        "appid": appid,
        "mchid": "1900000000" if fault is Fault.WRONG_SELLER else mchid,
        "out_trade_no": trade.number,
        "trade_state": "REFUND" if trade.given_back else _STATE[trade.state],
        "trade_state_desc": "…",
        "amount": {
            "total": trade.amount + (fault is Fault.WRONG_AMOUNT),
            "payer_total": trade.amount,
            "currency": trade.currency,
        },
    }
    if trade.paid_at is not None:
        paid_at = trade.paid_at.astimezone(_BEIJING).isoformat(timespec="seconds")
        said |= {
            "transaction_id": trade.transaction_id,
            "trade_type": "NATIVE",
            "success_time": paid_at,
            "payer": {"openid": "o-sandbox"},
        }
    return said


def refund_of(trade: Trade, back: BackMoney, status: str) -> dict[str, object]:
    """Return a refund, its state under the name it has there."""
    return {
        "refund_id": f"5030{trade.token}{back.number}",
        "out_refund_no": back.number,
        "out_trade_no": trade.number,
        "transaction_id": trade.transaction_id,
        "amount": {"refund": back.amount, "total": trade.amount, "currency": trade.currency},
        status: REFUND[back.state],
    }


def encrypted_notice(
    aes: AesKey, trade: Trade, event: str, content: dict[str, object], now: datetime
) -> dict[str, object]:
    """Return a notice about a trade, its content encrypted; the same event has the same id."""
    nonce, about = secrets.token_hex(6), "transaction" if event.startswith("TRANSACTION") else "refund"
    return {
        "id": f"{trade.token}-{event}-{content.get('out_refund_no', '')}",
        "create_time": now.astimezone(_BEIJING).isoformat(timespec="seconds"),
        "resource_type": "encrypt-resource",
        "event_type": event,
        "summary": "…",
        "resource": {
            "original_type": about,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": aes.encrypted(json.dumps(content).encode(), nonce, about),
            "associated_data": about,
            "nonce": nonce,
        },
    }
