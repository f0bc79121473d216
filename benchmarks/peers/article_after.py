"""(c) The article's *after*: pay in one transaction, then publish; the order service listens.

As most would write it: FastAPI, SQLAlchemy, aio-pika, one transaction for each payment, publishing with
aio-pika's default of one confirm for each message, a listener that handles one message after the other.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from fastapi import Depends, FastAPI

from benchmarks.buying import buy
from benchmarks.paying import Pressure, Site, drive, load_generator
from benchmarks.peers import article
from benchmarks.processes import child, server, together
from benchmarks.servers import Servers
from paybell.testing.ports import free_port

QUEUE = "article.pay.success.queue"
_EXCHANGE, _KEY = "article.pay.direct", "pay.success"
_PREFETCH = 100
_NAME = "article after"
log = logging.getLogger(__name__)


async def measure(servers: Servers, pressure: Pressure, *, workers: int) -> dict[str, float]:
    """Pay over HTTP until the listener has marked the last order.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    async with servers.fresh(article.PAY) as pay, servers.fresh(article.TRADE) as trade:
        async with load_generator() as load, _running(servers, pay, trade, workers) as site:
            driven = await drive(load, site, pressure)
        count = driven.warm + driven.paid
        await article.check(servers, _NAME, pay, trade, paid=count, marked=count)
        await servers.empty_queue(QUEUE)
    return {"articlePaid": driven.arrived_rate, "articleAnswered": driven.answered_rate}


async def purchases(servers: Servers, pressure: Pressure, *, workers: int) -> dict[str, float]:
    """Create orders over HTTP and pay them until the listener has marked the last one.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    async with servers.fresh(article.PAY) as pay, servers.fresh(article.TRADE) as trade:
        shoppers, running = child("benchmarks.shoppers"), _running(servers, pay, trade, workers)
        async with shoppers as buying, running as site:
            bought = await buy(buying, site, site, pressure)
        await article.check(servers, _NAME, pay, trade, paid=bought.count, marked=bought.count)
        await servers.empty_queue(QUEUE)
    return {"articlePurchases": bought.rate}


@asynccontextmanager
async def _running(servers: Servers, pay: str, trade: str, workers: int) -> AsyncIterator[Site]:
    port = free_port()
    environment = {
        "ARTICLE_PAY": article.sqlalchemy_url(servers, pay),
        "ARTICLE_TRADE": article.sqlalchemy_url(servers, trade),
        "ARTICLE_BROKER": servers.rabbitmq.url,
    }
    app = [
        "-m",
        "uvicorn",
        f"{__name__}:app",
        "--port",
        str(port),
        "--workers",
        str(workers),
        "--no-access-log",
    ]
    listening = server(["-m", __name__], environment, started="listening")
    paying = server(app, environment, started="startup complete", times=workers)
    async with together(paying, listening) as (pid, _):
        yield Site(port, pid, servers.url(trade), article.PAID_QUERY, article.payer_of)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to the database and to RabbitMQ."""
    engine, trade = article.engine("ARTICLE_PAY"), article.engine("ARTICLE_TRADE")
    connection = await aio_pika.connect_robust(os.environ["ARTICLE_BROKER"])
    async with article.disposing(engine), article.disposing(trade), connection:
        channel = await connection.channel()
        app.state.exchange = await channel.declare_exchange(
            _EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True
        )
        app.state.sessions, app.state.orders = article.sessions(engine), article.sessions(trade)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/pay-orders/{pay_order_id}/pay")
async def pay(
    pay_order_id: int, form: article.PayOrderForm, user_id: Annotated[int, Depends(article.current_user)]
) -> article.PaidView:
    """Pay, commit, publish; a message that cannot be published is logged and forgotten, as in the article."""
    async with app.state.sessions.begin() as session:
        order = await article.try_pay_order_by_balance(session, pay_order_id, user_id, form.payPassword)
    message = aio_pika.Message(
        str(order.biz_order_no).encode(),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    try:
        await app.state.exchange.publish(message, routing_key=_KEY)
    except aio_pika.exceptions.AMQPException:
        log.exception("发送支付状态通知失败,订单id:%s", order.biz_order_no)
    return article.view(order)


@app.post("/orders", status_code=201)
async def create(
    form: article.OrderForm, _: Annotated[str, Depends(article.current_subject)]
) -> article.OrderView:
    """Create an order and its pay order."""
    return await article.create_order(app.state.orders, app.state.sessions, form)


async def listen() -> None:
    """Mark orders paid as messages come, one transaction for each."""
    engine = article.engine("ARTICLE_TRADE")
    sessions = article.sessions(engine)

    async def on_message(message: AbstractIncomingMessage) -> None:
        async with message.process(), sessions.begin() as session:
            await article.mark_order_pay_success(session, int(message.body))

    connection = await aio_pika.connect_robust(os.environ["ARTICLE_BROKER"])
    async with article.disposing(engine), connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=_PREFETCH)
        exchange = await channel.declare_exchange(_EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(exchange, _KEY)
        await queue.consume(on_message)
        print("listening", flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(listen())
