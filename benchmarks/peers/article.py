"""What the article's two versions share: tables, user balance, payment; with FastAPI and SQLAlchemy.

A literal port of `tryPayOrderByBalance`: read the pay order, look at its status, deduct the money, mark the
pay order with the status as optimistic lock. Where the port has a choice it takes the faster one: the balance
is in the same database (the article calls another service for it), and the password is one SHA-256, not a
slow hash.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import jwt
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy import BigInteger, DateTime, Index, String, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.books import agree
from benchmarks.parts import JWT_SECRET
from benchmarks.servers import Servers, connected
from benchmarks.stock import AMOUNT, BALANCE, BUYERS, PASSWORD

WAIT_BUYER_PAY, TRADE_SUCCESS = 1, 3
UNPAID, PAID = 1, 2
PAY, TRADE = "article_pay", "article_trade"
PAID_QUERY = "SELECT count(*) FROM orders WHERE status = 2"
# SQLAlchemy's default of 5 + 10 connections is slower under this load.
_POOL_SIZE = 20


class PayBase(DeclarativeBase):
    """The payment service's tables."""


class TradeBase(DeclarativeBase):
    """The order service's tables."""


class User(PayBase):
    """A user with a balance in minor units."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    password: Mapped[str] = mapped_column(String(128))
    balance: Mapped[int] = mapped_column(BigInteger)


class PayOrder(PayBase):
    """A pay order."""

    __tablename__ = "pay_order"
    __table_args__ = (Index("pay_order_biz_order_no", "biz_order_no", unique=True),)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    biz_order_no: Mapped[int] = mapped_column(BigInteger)
    biz_user_id: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[int]
    pay_success_time: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Order(TradeBase):
    """An order."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger)
    total_fee: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[int]
    pay_time: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class OrderForm(BaseModel):
    """What a shop sends."""

    buyerId: str  # noqa: N815
    totalFee: int  # noqa: N815
    subject: str


class OrderView(BaseModel):
    """What a shop is answered."""

    id: str
    payOrderId: str  # noqa: N815


class PayOrderForm(BaseModel):
    """What a payer sends."""

    payPassword: str  # noqa: N815 - the name on the wire


class PaidView(BaseModel):
    """What a payer is answered."""

    payOrderId: str  # noqa: N815
    bizOrderNo: str  # noqa: N815
    amount: int
    status: str


def engine(variable: str) -> AsyncEngine:
    """Return an engine for the database an environment variable names."""
    return create_async_engine(os.environ[variable], pool_size=_POOL_SIZE, max_overflow=0)


def sessions(of: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return a factory of sessions that keep their values after the commit."""
    return async_sessionmaker(of, expire_on_commit=False)


def current_subject(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    """Return whom a bearer token stands for."""
    try:
        return str(jwt.decode(credentials.credentials, JWT_SECRET, algorithms=["HS256"])["sub"])
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "not authenticated") from error


def current_user(subject: Annotated[str, Depends(current_subject)]) -> int:
    """Return the user a bearer token stands for."""
    return int(subject)


async def try_pay_order_by_balance(
    session: AsyncSession, pay_order_id: int, user_id: int, password: str
) -> PayOrder:
    """Pay an order out of a balance, in the caller's transaction; refuse with an HTTP error."""
    order = await session.get(PayOrder, pay_order_id)
    if order is None:
        raise HTTPException(404, "no such pay order")
    if order.status != WAIT_BUYER_PAY or order.biz_user_id != user_id:
        raise HTTPException(409, "交易已支付或关闭!")
    await _deduct_money(session, user_id, password, order.amount)
    marked = await session.execute(
        update(PayOrder)
        .where(PayOrder.id == pay_order_id, PayOrder.status.in_([0, WAIT_BUYER_PAY]))
        .values(status=TRADE_SUCCESS, pay_success_time=datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )
    if marked.rowcount != 1:  # type: ignore[attr-defined]
        raise HTTPException(409, "交易已支付或关闭!")
    return order


async def _deduct_money(session: AsyncSession, user_id: int, password: str, amount: int) -> None:
    user = await session.get(User, user_id)
    if user is None or not hmac.compare_digest(user.password, _hashed(password)):
        raise HTTPException(403, "用户密码错误")
    deducted = await session.execute(
        update(User)
        .where(User.id == user_id, User.balance >= amount)
        .values(balance=User.balance - amount)
        .execution_options(synchronize_session=False)
    )
    if deducted.rowcount != 1:  # type: ignore[attr-defined]
        raise HTTPException(402, "扣款失败,可能是余额不足!")


def view(order: PayOrder) -> PaidView:
    """Show a paid order."""
    return PaidView(
        payOrderId=str(order.id),
        bizOrderNo=str(order.biz_order_no),
        amount=order.amount,
        status="TRADE_SUCCESS",
    )


async def create_order(
    trade: async_sessionmaker[AsyncSession], pay: async_sessionmaker[AsyncSession], form: OrderForm
) -> OrderView:
    """Create an order, then its pay order.

    In the article the shopper's page asks another service for that, by a request of its own; the port takes
    the shorter way.
    """
    number, user = secrets.randbits(62), int(form.buyerId)
    async with trade.begin() as session:
        session.add(Order(id=number, user_id=user, total_fee=form.totalFee, status=UNPAID))
    pay_order = PayOrder(
        id=secrets.randbits(62),
        biz_order_no=number,
        biz_user_id=user,
        amount=form.totalFee,
        status=WAIT_BUYER_PAY,
    )
    async with pay.begin() as session:
        session.add(pay_order)
    return OrderView(id=str(number), payOrderId=str(pay_order.id))


async def mark_order_pay_success(session: AsyncSession, order_id: int) -> None:
    """Mark an order paid, as the article's order service does."""
    await session.execute(
        update(Order).where(Order.id == order_id).values(status=PAID, pay_time=datetime.now(UTC))
    )


def _hashed(password: str) -> str:
    return hashlib.sha256(f"salt:{password}".encode()).hexdigest()


def payer_of(number: int) -> str:
    """Return who pays the nth order."""
    return str(1 + number % BUYERS)


def sqlalchemy_url(servers: Servers, database: str) -> str:
    """Return a database's URL for SQLAlchemy's asyncpg dialect."""
    return servers.url(database).replace("postgresql://", "postgresql+asyncpg://", 1)


async def prepare(servers: Servers, orders: int) -> None:
    """Make its two databases: users with money, orders 1 to ``orders`` to pay."""
    for name, base in ((PAY, PayBase), (TRADE, TradeBase)):
        await servers.execute(f"CREATE DATABASE {name}")
        making = create_async_engine(sqlalchemy_url(servers, name))
        async with making.begin() as schema:
            await schema.run_sync(base.metadata.create_all)
        await making.dispose()
    async with connected(servers.url(PAY)) as pay, connected(servers.url(TRADE)) as trade:
        await pay.execute(
            "INSERT INTO users SELECT n, $1::text, $2::bigint FROM generate_series(1, $3::int) AS n",
            _hashed(PASSWORD),
            BALANCE,
            BUYERS,
        )
        await pay.execute(
            "INSERT INTO pay_order SELECT 700000000000000000 + n, 600000000000000000 + n, 1 + n % $2::int,"
            " $1::bigint, 1, NULL FROM generate_series(1, $3::int) AS n",
            AMOUNT,
            BUYERS,
            orders,
        )
        await trade.execute(
            "INSERT INTO orders SELECT 600000000000000000 + n, 1 + n % $2::int, $1::bigint, 1, NULL"
            " FROM generate_series(1, $3::int) AS n",
            AMOUNT,
            BUYERS,
            orders,
        )
        for connection in (pay, trade):
            await connection.execute("VACUUM ANALYZE")


async def check(servers: Servers, contender: str, pay: str, trade: str, *, paid: int, marked: int) -> None:
    """Check that exactly so many orders were paid, each once, and marked.

    Raises:
        BooksWrong: something was lost or doubled.
    """
    async with connected(servers.url(pay)) as connection:
        found = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM pay_order WHERE status = 3) AS paid,"
            " (SELECT sum($1::bigint - balance)::bigint FROM users) AS debited",
            BALANCE,
        )
    async with connected(servers.url(trade)) as connection:
        known = await connection.fetchval(PAID_QUERY)
    assert found is not None
    agree(
        contender,
        paid=(found["paid"], paid),
        debited=(found["debited"], paid * AMOUNT),
        marked=(known, marked),
    )


@asynccontextmanager
async def disposing(of: AsyncEngine) -> AsyncIterator[None]:
    """Close an engine's connections at the end."""
    try:
        yield
    finally:
        await of.dispose()
