"""Promise 5: paying does not wait for, and does not fail with, RabbitMQ or the order service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from amqp import Line, line, stranger
from notebook import BINDING, notebook
from relaying import MeanwhileBroker, listening, pay, pending, relay
from support import PASSWORD, PEPPER, PaySide, codes, payment, until

from paybell.clock import SystemClock
from paybell.errors import BrokerUnavailable, PaybellError
from paybell.messaging.broker import Topology
from paybell.messaging.events import PAY_DIRECT, PAY_EVENTS, TRADE_QUEUE, topology
from paybell.messaging.local import LocalBroker
from paybell.pay.model import PayOrder
from paybell.pay.service import PayService
from paybell.runtime import Runtime, open_runtime
from paybell.settings import read_settings
from paybell.storage import Database
from paybell.worker import run_loop

SECRETS = {"jwt_secret": "j" * 32, "pin_pepper": "p" * 32}


async def a_day(side: PaySide) -> list[str]:
    """Pay, and try to pay, in every way that has an answer of its own; return the answers."""
    await side.fund("rich", 1_000)
    await side.fund("poor", 10)
    orders = [await side.order(number, "rich", 100) for number in range(6001, 6006)]
    dear = await side.order(6006, "poor", 100)
    answers = [await side.attempt(order.id, "rich") for order in orders]
    answers += [
        await side.attempt(orders[0].id, "rich"),
        await side.attempt(orders[0].id, "poor"),
        await side.attempt(dear.id, "poor"),
        await side.attempt(dear.id, "poor", "000000"),
        await side.attempt(77, "rich"),
    ]
    return [*codes(answers), str(await side.balance("rich")), str(await side.balance("poor"))]
