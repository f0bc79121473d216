"""An attempt as it is shown; beside the routes, so that a command need not load the web framework."""

from datetime import datetime

import msgspec

from paybell.channels.attempt import Attempt, AttemptState


class AttemptView(msgspec.Struct, rename="camel"):
    """An attempt as its payer sees it: a QR code to scan or a URL to go to while it is open."""

    attempt_id: str
    pay_order_id: str
    channel: str
    state: AttemptState
    amount: int
    currency: str
    created_at: datetime
    expires_at: datetime
    qr_code: str | None
    redirect_url: str | None
    code: str


def view(attempt: Attempt) -> AttemptView:
    """Show an attempt."""
    return AttemptView(
        attempt_id=str(attempt.id),
        pay_order_id=str(attempt.pay_order_id),
        channel=attempt.channel,
        state=attempt.state,
        amount=attempt.amount,
        currency=attempt.currency,
        created_at=attempt.created_at,
        expires_at=attempt.expires_at,
        qr_code=attempt.qr_code or None,
        redirect_url=attempt.redirect_url or None,
        code=attempt.code,
    )
