"""Past events for a queue that was bound later, published to it alone: nobody else gets them twice."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

import msgspec

from paybell.clock import Clock
from paybell.errors import BrokerUnavailable, Misconfigured
from paybell.ids import new_traceparent
from paybell.messaging.broker import Broker, Confirm, Message
from paybell.messaging.events import OutboxEvent
from paybell.messaging.outbox import attempt_of
from paybell.messaging.wire import Wire
from paybell.pay import store
from paybell.pay.model import PayOrder
from paybell.reconciliation.pay_books import newest_event
from paybell.storage import Database, load_queries

_SQL = load_queries("paybell.pay", "books.sql")
_PAGE = 500
_DEADLINE_SECONDS = 30.0
# AMQP 0-9-1, 3.1.3.1: every queue is bound to this exchange by its own name.
_DEFAULT_EXCHANGE = ""


class PastEvents:
    """The newest event of each pay order that was paid, closed or refunded in a period, for one queue."""

    def __init__(self, database: Database, broker: Broker, wire: Wire, clock: Clock) -> None:
        self._database = database
        self._broker = broker
        self._wire = wire
        self._clock = clock

    async def publish(self, queue: str, since: datetime, until: datetime) -> AsyncIterator[int]:
        """Publish them in the order of pay orders; yield after each page how many there were until then.

        Raises:
            BrokerUnavailable: the broker does not answer; what was yielded is published.
            Misconfigured: there is no such queue, or it does not take them.
        """
        after, published = 0, 0
        while last := (await self._database.fetch(_SQL["page_of_pay_orders"], after, _PAGE))[0]["last_id"]:
            rows = await self._database.fetch(_SQL["changed_pay_orders"], after, last, since, until)
            await self._publish(queue, [self._message(queue, store.pay_order(row)) for row in rows])
            after, published = last, published + len(rows)
            yield published

    def _message(self, queue: str, order: PayOrder) -> Message:
        kind = newest_event(order)
        assert kind is not None, "something happened to it"
        now = self._clock.now()
        event = order.event(kind, now, new_traceparent())
        waiting = OutboxEvent(
            0, event.id, event.type, event.subject, msgspec.json.encode(event), now, event.traceparent
        )
        typed = self._wire.messages(waiting, attempt_of(uuid4()))[-1]
        return replace(typed, exchange=_DEFAULT_EXCHANGE, routing_key=queue, must_route=True)

    async def _publish(self, queue: str, messages: Sequence[Message]) -> None:
        if not messages:
            return
        answers = set(await self._broker.publish(messages, _DEADLINE_SECONDS))
        if Confirm.RETURNED in answers:
            raise Misconfigured(f"There is no queue {queue} at RabbitMQ; declare it first.")
        if Confirm.UNKNOWN in answers:
            raise BrokerUnavailable("RabbitMQ did not confirm everything; run it again.")
        if answers != {Confirm.CONFIRMED}:
            raise Misconfigured(
                f"RabbitMQ does not take all events for {queue}: it is full, or the user of "
                "PAYBELL_BROKER_URL may not write to it. Correct that, and run it again."
            )
