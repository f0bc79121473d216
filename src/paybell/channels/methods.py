"""By which methods an order may be paid: the balance, and the channels that take such a payment."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from paybell.channels.channel import Channel, Kind
from paybell.pay.model import BALANCE, PayOrder

# A window ends this much before its order, so that what is paid at its last moment is paid in time.
WINDOW_MARGIN = timedelta(seconds=30)


class Asks(StrEnum):
    """What a buyer gives to pay by a method."""

    PAY_PASSWORD = "pay_password"  # noqa: S105 - six digits, of a balance of ours
    WALLET_PASSWORD = "wallet_password"  # noqa: S105 - 1 to 128 characters, of a remote wallet
    NOTHING = "nothing"  # an attempt by the channel shows where to pay


class Method(NamedTuple):
    """One way to pay an order."""

    channel: str
    asks: Asks


def methods_of(
    order: PayOrder, channels: Iterable[Channel], now: datetime, window_margin: timedelta = WINDOW_MARGIN
) -> list[Method]:
    """Return how an order may be paid, the balance first; none once it is paid or closed."""
    if order.refusal(now) is not None:
        return []
    offered = [one for one in channels if end_of_attempt(order, one, now, window_margin) is not None]
    found = [
        Method(one.name, Asks.NOTHING if one.kind is Kind.WINDOW else Asks.WALLET_PASSWORD) for one in offered
    ]
    # A remote wallet takes the place of our own balances, also where this order is nothing for it.
    remote = any(one.name == BALANCE for one in channels)
    return found if remote else [Method(BALANCE, Asks.PAY_PASSWORD), *found]


def end_of_attempt(
    order: PayOrder, channel: Channel, now: datetime, window_margin: timedelta = WINDOW_MARGIN
) -> datetime | None:
    """Return when an attempt that is made now would end; None: the channel is not offered for this order."""
    margin = window_margin if channel.kind is Kind.WINDOW else timedelta(0)
    end = order.expires_at - margin
    offered = end > now and channel.offer.covers(order.amount, order.currency, end - now)
    return end if offered else None
