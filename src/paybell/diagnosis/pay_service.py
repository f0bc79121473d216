"""The pay service, where the order service has one elsewhere."""

from paybell.clock import Clock
from paybell.diagnosis.findings import Finding, of_error
from paybell.errors import PaybellError
from paybell.settings import Settings
from paybell.tokens import Tokens
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.pay_client import PayClient


async def examine_pay_service(settings: Settings, clock: Clock) -> Finding:
    """See that the service at PAYBELL_PAY_URL answers and takes our tokens."""
    try:
        tokens = Tokens.from_settings(settings, clock)
        async with PayClient.open(settings.pay_url, tokens, clock) as client:
            await client.check()
    except PayServiceUnavailable:
        what = "does not answer at PAYBELL_PAY_URL"
        return Finding(
            "pay service", "error", what, "Start it (paybell serve --role api), or set its address."
        )
    except PaybellError as error:
        return of_error("pay service", error)
    return Finding("pay service", "ok", "answers, and takes our tokens")
