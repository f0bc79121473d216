"""(b) The article's *before*: the payment calls the order service itself, inside its transaction.

FastAPI, SQLAlchemy and httpx; if the order service does not answer, the payment is rolled back.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, HTTPException

from benchmarks.paying import Driven, Pressure, Site, drive, load_generator
from benchmarks.peers import article
from benchmarks.processes import server
from benchmarks.servers import Servers
from paybell.testing.ports import free_port

_STARTED = "startup complete"


async def measure(servers: Servers, pressure: Pressure, *, workers: int) -> dict[str, float]:
    """Pay while the order service is healthy, answers in a second, is down.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    port, trade_port = free_port(), free_port()
    async with servers.fresh(article.PAY) as pay, servers.fresh(article.TRADE) as trade:
        site = Site(port, 0, servers.url(trade), article.PAID_QUERY, article.payer_of)
        environment = {
            "ARTICLE_PAY": article.sqlalchemy_url(servers, pay),
            "ARTICLE_TRADE": article.sqlalchemy_url(servers, trade),
            "ARTICLE_TRADE_URL": f"http://127.0.0.1:{trade_port}",
        }

        async def pay_some(nth: int) -> Driven:
            return await drive(load, site, pressure, part=(nth, 3), arrives=False, refusals=True)

        async with (
            load_generator() as load,
            server(_uvicorn("app", port, workers), environment, started=_STARTED, times=workers),
        ):
            async with server(_uvicorn("trade", trade_port, 1), environment, started=_STARTED):
                healthy = await pay_some(0)
                async with httpx.AsyncClient() as operator:
                    await operator.put(f"http://127.0.0.1:{trade_port}/delay/1.0")
                slow = await pay_some(1)
            down = await pay_some(2)
        paid = healthy.paid + slow.paid + down.paid
        await article.check(servers, "article before", pay, trade, paid=paid, marked=paid)
    return {
        "beforeHealthy": healthy.answered_rate,
        "beforeSlow": slow.answered_rate,
        "beforeDown": down.answered_rate,
    }


def _uvicorn(name: str, port: int, workers: int) -> list[str]:
    listening = ["--port", str(port), "--workers", str(workers), "--no-access-log"]
    return ["-m", "uvicorn", f"{__name__}:{name}", *listening]


@asynccontextmanager
async def pay_lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to the database and to the order service."""
    engine = article.engine("ARTICLE_PAY")
    async with (
        article.disposing(engine),
        httpx.AsyncClient(base_url=os.environ["ARTICLE_TRADE_URL"]) as client,
    ):
        app.state.sessions, app.state.trade = article.sessions(engine), client
        yield


app = FastAPI(lifespan=pay_lifespan)


@app.post("/pay-orders/{pay_order_id}/pay")
async def pay(
    pay_order_id: int, form: article.PayOrderForm, user_id: Annotated[int, Depends(article.current_user)]
) -> article.PaidView:
    """Pay and tell the order service, in one transaction."""
    async with app.state.sessions.begin() as session:
        order = await article.try_pay_order_by_balance(session, pay_order_id, user_id, form.payPassword)
        try:
            answer = await app.state.trade.put(f"/orders/{order.biz_order_no}/paid")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise HTTPException(503, "the order service does not answer") from error
    return article.view(order)


@asynccontextmanager
async def trade_lifespan(trade: FastAPI) -> AsyncIterator[None]:
    """Connect to the database."""
    engine = article.engine("ARTICLE_TRADE")
    async with article.disposing(engine):
        trade.state.sessions, trade.state.delay_seconds = article.sessions(engine), 0.0
        yield


trade = FastAPI(lifespan=trade_lifespan)


@trade.put("/orders/{order_id}/paid")
async def paid(order_id: int) -> dict[str, str]:
    """Mark an order paid."""
    await asyncio.sleep(trade.state.delay_seconds)
    async with trade.state.sessions.begin() as session:
        await article.mark_order_pay_success(session, order_id)
    return {"status": "PAID"}


@trade.put("/delay/{seconds}")
async def delay(seconds: float) -> None:
    """Make this service ill: from now on it answers so late."""
    trade.state.delay_seconds = seconds
