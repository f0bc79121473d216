"""Waiting until a payment is confirmed: bounded, and as patient with an outage as there is time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TypeVar

import msgspec

from paybell_client.errors import NotConfirmed, OrderCancelled, PayOrderClosed, Unavailable
from paybell_client.model import Order, PayOrder
from paybell_client.transport import TROUBLES, Token, Transport, backoff

Subject = TypeVar("Subject", Order, PayOrder)

_CANCELLED, _CLOSED = "CANCELLED", "TRADE_CLOSED"


class _OrderNews(msgspec.Struct):
    order: Order


async def until_paid(what: str, news: Callable[[], AsyncGenerator[Subject, None]], seconds: float) -> Subject:
    """Return an order or pay order when the news say that it is paid.

    Raises:
        OrderCancelled, PayOrderClosed: it never will be. NotConfirmed: it was not within ``seconds``.
    """
    seen = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), aclosing(news()) as states:
            async for state in states:
                seen = state.status
                if state.is_paid:
                    return state
                if seen == _CANCELLED:
                    raise OrderCancelled(409, "order_cancelled", f"{what} was cancelled.")
                if seen == _CLOSED:
                    raise PayOrderClosed(409, "pay_order_closed", f"{what} was closed.")
    raise NotConfirmed(what, seconds, seen)


async def order_news(
    transport: Transport, token: Token, path: str, read: Callable[[], Awaitable[Order]]
) -> AsyncGenerator[Order, None]:
    """Yield an order by its event stream at ``path``; where there is none, or it breaks, by reading it."""
    for pause in backoff(transport.jitter):
        with suppress(*TROUBLES):
            async with aclosing(transport.events(path, token)) as events:
                async for _, data in events:
                    yield msgspec.json.decode(data, type=_OrderNews).order
        with suppress(Unavailable):
            yield await read()
        await asyncio.sleep(pause)


async def pay_order_news(
    transport: Transport, read: Callable[[], Awaitable[PayOrder]]
) -> AsyncGenerator[PayOrder, None]:
    """Yield a pay order again and again, with growing pauses."""
    for pause in backoff(transport.jitter):
        with suppress(Unavailable):
            yield await read()
        await asyncio.sleep(pause)
