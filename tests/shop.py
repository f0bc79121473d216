"""The order service for tests: its own database and listener, and a pay service it asks over real HTTP."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from support import PaySide

from paybell.clock import SystemClock
from paybell.errors import PaybellError
from paybell.ids import new_traceparent
from paybell.messaging.broker import Delivery
from paybell.messaging.events import (
    PAY_DIRECT,
    SIGNATURE_HEADER,
    PaymentSucceeded,
    SignedEvent,
    topology,
    trade_topology,
)
from paybell.messaging.failures import FailureStore
from paybell.messaging.listener_runner import ListenerRunner
from paybell.messaging.local import LocalBroker
from paybell.messaging.outbox import Publication
from paybell.messaging.signatures import EventKeys, PaidOrder
from paybell.messaging.wire import Wire
from paybell.parts import Parts
from paybell.pay.batch_routes import batch_routes
from paybell.pay.list_routes import list_routes
from paybell.pay.paying_routes import paying_routes
from paybell.pay.problems import PROBLEMS
from paybell.pay.refund_routes import refund_routes
from paybell.pay.routes import pay_order_routes
from paybell.serving.application import create_app
from paybell.serving.connections import Connections
from paybell.serving.http_server import serve_http
from paybell.settings import read_settings
from paybell.storage import Database, Query, Record
from paybell.telemetry.metrics import Metrics
from paybell.telemetry.observers import Observer
from paybell.testing import SequentialIds
from paybell.tokens import Principal, Tokens
from paybell.trade.event_listener import EventProof, pay_order_listener
from paybell.trade.model import Order, Purchase
from paybell.trade.order_checker import OrderChecker
from paybell.trade.pay_client import PayClient
from paybell.trade.payment_listener import PaymentProof, payment_listener
from paybell.trade.refund_sender import RefundSender
from paybell.trade.service import TradeService
from paybell.wallet.routes import wallet_routes

SECRET = "a secret that both services hold, of 32 bytes"


def signed(number: int, amount: int = 100, merchant_id: str = "1", secret: str = SECRET) -> str:
    """Return the signature of a payment in CNY."""
    return EventKeys(token_secret=secret).sign(PaidOrder(merchant_id, str(number), amount, "CNY"))


@dataclass(slots=True)
class Shop:
    """Orders on one side, pay orders and wallets on the other."""

    database: Database
    pay: PaySide
    client: PayClient
    trade: TradeService
    proof: PaymentProof
    runner: ListenerRunner[PaymentSucceeded]
    hearing: ListenerRunner[SignedEvent]
    failures: FailureStore
    checker: OrderChecker
    sender: RefundSender

    async def order(self, number: int, buyer_id: str, fee: int) -> Order:
        """Create an order and, over HTTP, its pay order."""
        purchase = Purchase(number, buyer_id, fee, "CNY", "")
        return (await self.trade.create(purchase, new_traceparent()))[0]

    async def cancel(self, number: int, buyer_id: str) -> Order | PaybellError:
        """Cancel an order as its buyer."""
        try:
            caller = Principal(buyer_id, frozenset(), "1")
            return await self.trade.cancel(number, caller, new_traceparent())
        except PaybellError as error:
            return error

    async def hear(self, *messages: tuple[int, str | None]) -> None:
        """Deliver order numbers with signatures (None: without) as one batch from the broker."""
        await self.runner.apply(
            [
                Delivery(
                    tag=tag,
                    exchange="pay.direct",
                    routing_key="pay.success",
                    body=str(number).encode(),
                    content_type="text/x-json",
                    headers={} if signature is None else {SIGNATURE_HEADER: signature},
                )
                for tag, (number, signature) in enumerate(messages, 1)
            ]
        )

    async def told(self) -> list[Delivery]:
        """Take all events out of pay's outbox; return the deliveries they come to at the order service."""
        wire, token = Wire(EventKeys(token_secret=SECRET), "text/x-json"), uuid4()
        events = await self.pay.outbox.claim(token, 60, 10_000)
        now = SystemClock().now()
        await self.pay.outbox.finish([event.id for event in events], token, Publication("1", now, now))
        messages = [wire.messages(event, "1")[0] for event in events]
        return [
            Delivery(
                tag=tag,
                exchange=message.exchange,
                routing_key=message.routing_key,
                body=message.body,
                content_type=message.content_type,
                message_id=message.message_id,
                headers=message.headers,
            )
            for tag, message in enumerate(messages, 1)
        ]

    async def take(self, *deliveries: Delivery) -> None:
        """Deliver one after the other, each to the listener of its exchange."""
        for one in deliveries:
            await (self.runner if one.exchange == PAY_DIRECT.name else self.hearing).apply([one])

    async def statuses(self) -> dict[int, str]:
        """Return the status of every order."""
        rows = await self.database.fetch(Query("SELECT id, status FROM orders ORDER BY id"))
        return {row["id"]: row["status"] for row in rows}

    async def kept(self) -> list[Record]:
        """Return the failed deliveries, all columns."""
        return list(await self.database.fetch(Query("SELECT * FROM failed_deliveries ORDER BY id")))


@asynccontextmanager
async def shop(pay_database: Database, trade_database: Database) -> AsyncIterator[Shop]:
    """Open one on a test's own databases."""
    clock, side, signer = SystemClock(), PaySide(pay_database), EventKeys(token_secret=SECRET)
    settings = read_settings({}, jwt_secret=SECRET)
    tokens = Tokens.from_settings(settings, clock)
    routers = [
        pay_order_routes(side.pay, 7200),
        paying_routes(side.pay),
        batch_routes(side.pay, 7200),
        *list_routes(side.pay, pay_database, clock),
        refund_routes(side.refunds),
        wallet_routes(side.wallets, "1"),
    ]
    app = create_app(Parts(routers=routers, problems=PROBLEMS), tokens, Metrics())
    (binding,) = topology().bindings
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with (
            serve_http(app, listening, 1, Connections(100, Metrics())),
            PayClient.open(url, tokens, clock) as client,
        ):
            proof = PaymentProof(trade_database, settings.merchant_id, signer, client)
            runner = ListenerRunner(
                payment_listener(binding, proof),
                LocalBroker(),
                trade_database,
                clock,
                Observer(),
                batch_max=500,
            )
            typed = pay_order_listener(
                trade_topology().bindings[0], EventProof(settings.merchant_id, signer, client)
            )
            hearing = ListenerRunner(typed, LocalBroker(), trade_database, clock, Observer(), batch_max=500)
            yield Shop(
                trade_database,
                side,
                client,
                TradeService(trade_database, client, SequentialIds(), clock),
                proof,
                runner,
                hearing,
                FailureStore(trade_database),
                OrderChecker(trade_database, client),
                RefundSender(trade_database, client),
            )
