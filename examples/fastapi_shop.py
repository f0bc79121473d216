"""A shop in FastAPI whose buyers pay out of their balance at Paybell, by the package in client/.

    pip install ./client fastapi uvicorn pyjwt
    export SHOP_PAY_URL=http://127.0.0.1:8000 SHOP_URL=http://127.0.0.1:5000
    export SHOP_TOKEN_SECRET=$(cat .paybell/jwt-secret)
    uvicorn --factory --app-dir examples --port 5000 fastapi_shop:create_app

The visitor's app draws an order's id and PUTs it, so that a second click makes no second order. Whether it
is paid is asked of Paybell, never believed of the visitor; the same holds for what can be given back. And the
visitor pays at Paybell's page: no pay password passes through the shop after the account is opened.
"""

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

import jwt
from fastapi import APIRouter, Cookie, Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.responses import JSONResponse
from paybell_client import NotConfirmed, NotFound, Order, PaybellClient, Problem, Unavailable
from pydantic import BaseModel, Field

SHOP_SCOPES = "wallets:write orders:write orders:read refunds:write"
ACCEPTED, CREATED, UNAUTHORIZED, NOT_FOUND, UNAVAILABLE = 202, 201, 401, 404, 503
PRICE, WELCOME = 1234, 5000  # minor units: 12.34 and 50.00
# As long as proxies let a request wait.
CONFIRMATION_SECONDS = 20.0
HOUR = 3600


class Account(BaseModel):
    """Who opens an account, with which six-digit pay password."""

    name: Annotated[str, Field(pattern="^[a-z0-9]{1,32}$")]
    pay_password: Annotated[str, Field(pattern="^[0-9]{6}$")]


class Shown(BaseModel):
    """An order as its buyer sees it, with Paybell's page to pay it at."""

    order_id: str
    status: str
    cashier: str


@dataclass
class Shop:
    """What every request needs."""

    paybell: PaybellClient
    token_secret: str
    session_secret: str
    pay_url: str
    here: str

    def show(self, order: Order) -> Shown:
        """Show an order; what follows # in the link is sent to no server."""
        back = quote(f"{self.here}/orders/{order.id}", safe="")
        token = signed(self.token_secret, order.buyer_id)
        cashier = f"{self.pay_url}/cashier/{order.id}?returnUrl={back}#token={token}"
        return Shown(order_id=order.id, status=order.status, cashier=cashier)


def signed(secret: str, name: str, scope: str = "") -> str:
    """Return a token for an hour: the shop's own (with scopes), a buyer's, or a visitor's at this shop."""
    now = int(time.time())
    return jwt.encode({"sub": name, "scope": scope, "iat": now, "exp": now + HOUR}, secret, "HS256")


def the_shop(request: Request) -> Shop:
    """Return the shop that the application was made with."""
    shop: Shop = request.app.state.shop
    return shop


def visitor(shop: Annotated[Shop, Depends(the_shop)], session: Annotated[str, Cookie()] = "") -> str:
    """Return the name of who is signed in."""
    try:
        return str(jwt.decode(session, shop.session_secret, ["HS256"])["sub"])
    except jwt.InvalidTokenError:
        raise HTTPException(UNAUTHORIZED, "Open an account first.") from None


async def own_order(
    order_id: Annotated[int, Path(ge=1, lt=2**63)],
    shop: Annotated[Shop, Depends(the_shop)],
    name: Annotated[str, Depends(visitor)],
) -> Order:
    """Return the visitor's own order; nobody learns that there is another's."""
    try:
        order = await shop.paybell.read_order(order_id)
    except NotFound:
        raise HTTPException(NOT_FOUND) from None
    if order.buyer_id != name:
        raise HTTPException(NOT_FOUND)
    return order


router = APIRouter()


@router.post("/accounts", status_code=CREATED)
async def open_account(
    account: Account, response: Response, shop: Annotated[Shop, Depends(the_shop)]
) -> None:
    """Open an account; of a wallet that is there somebody else is the owner, and that is refused."""
    await shop.paybell.open_wallet(account.name, account.pay_password)
    await shop.paybell.top_up(account.name, WELCOME, idempotency_key=f"welcome-{account.name}")
    session = signed(shop.session_secret, account.name)
    secure = shop.here.startswith("https:")
    response.set_cookie("session", session, max_age=HOUR, secure=secure, httponly=True, samesite="lax")


@router.put("/orders/{order_id}")
async def buy(
    order_id: Annotated[int, Path(ge=1, lt=2**63)],
    shop: Annotated[Shop, Depends(the_shop)],
    name: Annotated[str, Depends(visitor)],
) -> Shown:
    """Order a can of tea, once for each id."""
    return shop.show(await shop.paybell.create_order(name, PRICE, subject="Tea", order_id=order_id))


@router.get("/orders/{order_id}")
async def show(
    shop: Annotated[Shop, Depends(the_shop)], order: Annotated[Order, Depends(own_order)]
) -> Shown:
    """Show an order as it is."""
    return shop.show(order)


@router.get("/orders/{order_id}/confirmation")
async def confirm(
    response: Response, shop: Annotated[Shop, Depends(the_shop)], order: Annotated[Order, Depends(own_order)]
) -> Shown:
    """Wait for the payment; 202 when it has not come yet, and the visitor's app asks again."""
    try:
        order = await shop.paybell.wait_for_order(order.id, seconds=CONFIRMATION_SECONDS)
    except NotConfirmed:
        response.status_code = ACCEPTED
    return shop.show(order)


@router.post("/orders/{order_id}/return")
async def give_back(
    shop: Annotated[Shop, Depends(the_shop)], order: Annotated[Order, Depends(own_order)]
) -> dict[str, int]:
    """Give the money back, once for each order; an order that is not paid is refused by Paybell."""
    refund = await shop.paybell.refund(
        str(order.pay_order_id), order.total_fee, "returned", idempotency_key=f"return-{order.id}"
    )
    return {"given_back": refund.refunded_amount}


async def refuse(_request: Request, error: Exception) -> Response:
    """Hand a refusal of Paybell's on; the same request may be sent again after a 503."""
    if isinstance(error, Problem):
        return JSONResponse({"code": error.code, "detail": error.detail}, error.status)
    return JSONResponse({"detail": "Try again shortly."}, UNAVAILABLE)


def create_app() -> FastAPI:
    """Return the shop, as the environment describes it."""
    pay_url, token_secret = os.environ["SHOP_PAY_URL"], os.environ["SHOP_TOKEN_SECRET"]
    session_secret = os.environ.get("SHOP_SESSION_SECRET") or secrets.token_hex(32)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with PaybellClient.open(
            pay_url, lambda: signed(token_secret, "tea-shop", SHOP_SCOPES)
        ) as paybell:
            app.state.shop = Shop(paybell, token_secret, session_secret, pay_url, os.environ["SHOP_URL"])
            yield

    app = FastAPI(title="Tea", lifespan=lifespan)
    app.include_router(router)
    app.add_exception_handler(Problem, refuse)
    app.add_exception_handler(Unavailable, refuse)
    return app
