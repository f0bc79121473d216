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

from benchmarks.paying import Driven, Site, drive, free_port
from benchmarks.peers import article
from benchmarks.processes import server
from benchmarks.servers import Servers

_NAME = "article before"


async def measure(
    servers: Servers, *, workers: int, most: int, connections: int, seconds: float
) -> dict[str, float]:
    """Pay while the order service is healthy, answers in a second, is down.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    found = {}
    for name, delay in (("beforeHealthy", 0.0), ("beforeSlow", 1.0), ("beforeDown", None)):
        async with servers.fresh(article.PAY) as pay, servers.fresh(article.TRADE) as trade:
            async with _running(servers, pay, trade, workers, delay) as site:
                driven = await drive(
                    site, 1, most, connections=connections, seconds=seconds, arrives=False, refusals=True
                )
            await _check(servers, pay, trade, driven)
        found[name] = driven.answered_rate
    return found


async def _check(servers: Servers, pay: str, trade: str, driven: Driven) -> None:
    await article.check(servers, _NAME, pay, trade, paid=driven.paid, marked=driven.paid)


@asynccontextmanager
async def _running(
    servers: Servers, pay: str, trade: str, workers: int, delay: float | None
) -> AsyncIterator[Site]:
    port, trade_port = free_port(), free_port()
    environment = {
        "ARTICLE_PAY": article.sqlalchemy_url(servers, pay),
        "ARTICLE_TRADE": article.sqlalchemy_url(servers, trade),
        "ARTICLE_TRADE_URL": f"http://127.0.0.1:{trade_port}",
        "ARTICLE_TRADE_DELAY_SECONDS": str(delay or 0),
    }
    app = ["-m", "uvicorn", f"{__name__}:app", "--port", str(port), "--workers", str(workers), "--no-access-log"]
    order_service = ["-m", "uvicorn", f"{__name__}:trade", "--port", str(trade_port), "--no-access-log"]
    site = Site(port, 0, servers.url(trade), article.PAID_QUERY, article.payer_of)
    async with server(app, environment, started="startup complete", times=workers):
        if delay is None:
            yield site
        else:
            async with server(order_service, environment, started="startup complete"):
                yield site


@asynccontextmanager
async def pay_lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to the database and to the order service."""
    engine = article.engine("ARTICLE_PAY")
    async with article.disposing(engine), httpx.AsyncClient(base_url=os.environ["ARTICLE_TRADE_URL"]) as client:
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
async def trade_lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to the database."""
    engine = article.engine("ARTICLE_TRADE")
    async with article.disposing(engine):
        app.state.sessions = article.sessions(engine)
        yield


trade = FastAPI(lifespan=trade_lifespan)


@trade.put("/orders/{order_id}/paid")
async def paid(order_id: int) -> dict[str, str]:
    """Mark an order paid."""
    await asyncio.sleep(float(os.environ["ARTICLE_TRADE_DELAY_SECONDS"]))
    async with trade.state.sessions.begin() as session:
        await article.mark_order_pay_success(session, order_id)
    return {"status": "PAID"}
