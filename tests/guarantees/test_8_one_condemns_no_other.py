"""Promise 8, and 9: what is wrong with one event is that event's alone, whoever sends it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from notebook import Notebook, deliveries, notebook
from relaying import Heard
from shop import SECRET, shop, signed
from structlog.testing import capture_logs
from support import connected, until

from paybell.backoff import LISTENER_RETRY_SECONDS
from paybell.clock import SystemClock
from paybell.errors import Unavailable
from paybell.messaging import PaymentSucceeded, PayOrderEvent
from paybell.messaging.arrivals import POSTPONED_MOST_SECONDS, Arrival, fingerprint
from paybell.messaging.broker import Delivery
from paybell.messaging.events import MERCHANT_HEADER, SIGNATURE_HEADER
from paybell.messaging.failures import Chosen
from paybell.messaging.listener import Verdicts
from paybell.messaging.suspects import DEATHS_MAX, SHARE, Suspicion, divide
from paybell.settings import read_settings
from paybell.storage import Database, Query
from paybell.testing import FrozenClock
from paybell.tokens import Tokens
from paybell.trade.errors import PayServiceUnavailable
from paybell.trade.pay_client import PayClient


async def test_a_screen_that_breaks_on_one_event_condemns_no_other(trade_url: str) -> None:
    """It is isolated like a handler's failure; only its event uses up an attempt."""

    async def screen(events: Sequence[PaymentSucceeded]) -> Verdicts:
        if any(event.biz_order_no == 13 for event in events):
            raise ValueError("thirteen")
        return {}

    async with notebook(trade_url, FrozenClock(), screen=screen) as book:
        await book.runner.apply(deliveries(*range(1, 41)))

        assert await book.written() == [number for number in range(1, 41) if number != 13]
        (row,) = await book.kept()
        assert (row["event_id"], row["reason"], row["attempts"]) == ("pay.success:13", "listener_failed", 1)


def unsigned(delivery: Delivery, biz_order_no: str) -> Delivery:
    """Make a copy about another order that nobody has signed."""
    event = msgspec.json.decode(delivery.body)
    event["data"]["bizOrderNo"] = biz_order_no
    return Delivery(delivery.tag, delivery.exchange, delivery.routing_key, msgspec.json.encode(event))


@pytest.mark.parametrize("impossible", ["abc", "0", "-1", "9223372036854775808", "7" * 5_000, "5001 "])
async def test_an_event_of_an_impossible_order_costs_its_neighbours_nothing(
    pay_database: Database, trade_database: Database, impossible: str
) -> None:
    """It is unreadable, at once; the unsigned but true ones beside it are asked about and believed."""
    async with shop(pay_database, trade_database) as both:
        for number in range(1, 6):
            order = await both.order(number, "7", 100)
            await both.client.close(order.pay_order_id or 0, "")
        told = await both.told()
        true = [unsigned(one, msgspec.json.decode(one.body)["data"]["bizOrderNo"]) for one in told]
        await both.hearing.apply([*true[:2], unsigned(true[0], impossible), *true[2:]])

        assert set((await both.statuses()).values()) == {"CANCELLED"}
        assert [(row["state"], row["reason"]) for row in await both.kept()] == [("dead", "unreadable")]


async def test_while_pay_is_away_unsigned_events_wait_and_use_up_nothing(
    trade_url: str,
) -> None:
    """However long it takes: an outage of pay is nobody's fault. Each wait is as long as it has lasted."""
    clock, away = FrozenClock(), True

    async def screen(events: Sequence[PaymentSucceeded]) -> Verdicts:
        return {event.event_id: PayServiceUnavailable() for event in events} if away else {}

    async with notebook(trade_url, clock, screen=screen) as book:
        await book.runner.apply(deliveries(1))
        for _ in range(20):
            (row,) = await book.kept()
            assert (row["state"], row["reason"], row["attempts"]) == ("retry", "pay_service_unavailable", 0)
            wait = (row["due_at"] - clock.now()).total_seconds()
            assert 5.0 <= wait <= POSTPONED_MOST_SECONDS
            clock.advance(wait)
            assert await book.runner.retry_once() == 1
        away = False
        book.fails[1] = RuntimeError("not yet")
        clock.advance(POSTPONED_MOST_SECONDS)
        await book.runner.retry_once()

        (row,) = await book.kept()
        assert (row["state"], row["attempts"]) == ("retry", 1)  # all five are still there


async def test_a_screen_whose_service_is_away_is_asked_once_for_a_batch(trade_url: str) -> None:
    """Halves would meet the same outage, each with a timeout of its own."""
    asked = 0

    async def screen(events: Sequence[PaymentSucceeded]) -> Verdicts:
        nonlocal asked
        del events
        asked += 1
        raise Unavailable

    async with notebook(trade_url, FrozenClock(), screen=screen) as book:
        await book.runner.apply(deliveries(*range(1, 41)))

        assert asked == 1
        assert {(row["state"], row["attempts"]) for row in await book.kept()} == {("retry", 0)}


async def test_a_forged_event_that_is_dead_does_not_swallow_the_true_one(
    pay_database: Database, trade_database: Database
) -> None:
    """The true one fails for a moment: it is kept beside the forged one of the same id, and tried again."""
    async with shop(pay_database, trade_database) as both:
        await both.pay.fund("7", 1_000)
        await both.order(1, "7", 100)
        await both.hear((1, "forged"))
        await trade_database.fetch(
            Query("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$")
        )
        await trade_database.fetch(
            Query("CREATE TRIGGER no BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION no()")
        )
        await both.hear((1, signed(1)))
        await both.hear((1, signed(1)))  # the same again is counted

        kept = {(row["event_id"], row["state"], row["received"]) for row in await both.kept()}
        assert kept == {("pay.success:1", "dead", 1), ("pay.success:1", "retry", 2)}

        await trade_database.fetch(Query("DROP TRIGGER no ON orders"))
        await trade_database.fetch(
            Query("UPDATE failed_deliveries SET due_at = now() WHERE state = 'retry' RETURNING id")
        )
        assert await both.runner.retry_once() == 1
        assert await both.statuses() == {1: "PAID"}


def test_a_fingerprint_is_of_what_was_received_and_not_of_its_way() -> None:
    """The same message published or delivered again has the same; another signature has another."""
    (one,) = deliveries(1, headers={SIGNATURE_HEADER: "a", "traceparent": "00-1", "x-delivery-count": 1})
    (again,) = deliveries(1, headers={"x-delivery-count": 2, "traceparent": "00-2", SIGNATURE_HEADER: "a"})
    (forged,) = deliveries(1, headers={SIGNATURE_HEADER: "b"})

    assert fingerprint(one) == fingerprint(again) != fingerprint(forged)


@pytest.mark.parametrize("merchant", ["2", "", "1"])
async def test_another_merchants_number_enters_neither_inbox_nor_failures(
    pay_database: Database, trade_database: Database, merchant: str
) -> None:
    """It is counted and acknowledged; one that does not say whose it is is asked about, as ever."""
    async with shop(pay_database, trade_database) as both:
        heard = Heard()
        both.runner._processor._observer = heard
        headers = {MERCHANT_HEADER: merchant} if merchant else {}
        await both.runner.apply(deliveries(1, headers=headers))

        assert heard.of_others == (merchant == "2")
        assert [row["reason"] for row in await both.kept()] == ([] if merchant == "2" else ["not_paid"])
        assert not await trade_database.fetch(Query("SELECT * FROM inbox"))


async def test_what_cannot_be_kept_is_held_and_has_used_up_nothing(trade_url: str) -> None:
    """A full disk, a role without rights: whatever it is, the delivery stays in hand until it is over."""
    async with notebook(trade_url, SystemClock()) as book, connected(trade_url) as operator:
        book.fails[1] = RuntimeError("poison")
        await operator.execute("ALTER TABLE failed_deliveries RENAME TO moved")
        with capture_logs() as logs:
            applying = asyncio.create_task(book.runner.apply(deliveries(1, 2)))

            async def waits() -> bool:
                return any(line["event"] == "listener_waits" for line in logs)

            await until(waits)
            await operator.execute("ALTER TABLE moved RENAME TO failed_deliveries")
            await applying

        assert await book.written() == [2]
        assert [(row["event_id"], row["attempts"]) for row in await book.kept()] == [("pay.success:1", 1)]


async def test_an_event_without_trace_context_is_readable() -> None:
    """CloudEvents 1.0 asks for none."""
    moment = "2026-01-01T00:00:00Z"
    event = {
        "specversion": "1.0", "id": "1-2", "source": "/other", "type": "pay.success", "time": moment,
        "subject": "5001",
        "data": {
            "payOrderId": "1", "bizOrderNo": "5001", "merchantId": "1", "payerId": "7", "amount": 100,
            "currency": "CNY", "subject": "", "status": "TRADE_SUCCESS", "version": 2,
            "createdAt": moment, "expiresAt": moment,
        },
    }  # fmt: skip
    read = PayOrderEvent.from_delivery(Delivery(1, "pay.events", "pay.success", msgspec.json.encode(event)))

    assert (read.traceparent, read.data.biz_order_no) == ("", "5001")


@asynccontextmanager
async def foreign_pay(body: bytes) -> AsyncIterator[PayClient]:
    """A client of a service that answers everything with 200 and this JSON."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    clock = SystemClock()
    tokens = Tokens.from_settings(read_settings({}, jwt_secret=SECRET), clock)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with PayClient.open(url, tokens, clock) as client:
            yield client


@pytest.mark.parametrize(
    "body", [b'{"orders": []}', b'{"payOrders": [{"bizOrderNo": 1}]}', b'{"payOrders": 5}'], ids=ascii
)
async def test_a_pay_service_of_another_shape_is_refused_in_words(body: bytes) -> None:
    async with foreign_pay(body) as client:
        with capture_logs() as logs:
            for ask in (client.paid_among, client.states_of):
                with pytest.raises(PayServiceUnavailable):
                    await ask([1])
        assert "does not keep to the contract" in logs[0]["reason"]


def test_what_was_in_hand_at_a_death_comes_back_in_smaller_pieces_first() -> None:
    """What has never been is one piece; what has been alone often enough is set aside."""
    arrivals = [Arrival(one) for one in deliveries(*range(1, 101))]
    names = [fingerprint(arrival.delivery) for arrival in arrivals]
    whole = divide(arrivals, {})
    again = divide(arrivals, dict.fromkeys(names[:64], Suspicion(64, 1)))
    last = divide(arrivals[:2], {names[0]: Suspicion(1, DEATHS_MAX), names[1]: Suspicion(SHARE, DEATHS_MAX)})

    assert [len(piece.arrivals) for piece in whole] == [100]
    assert [len(piece.arrivals) for piece in again] == [4] * 16 + [36]
    assert [(piece.arrivals[0], piece.kills) for piece in last] == [(arrivals[0], True), (arrivals[1], False)]


async def test_a_handler_that_runs_out_of_time_uses_up_attempts_and_is_named_in_the_log(
    trade_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has one limit, below those of the database; after five attempts its event is dead."""
    monkeypatch.setattr("paybell.messaging.event_processor.HANDLER_TIMEOUT_SECONDS", 0.05)
    clock = FrozenClock()
    async with notebook(trade_url, clock) as book:
        book.runs[2] = Query("SELECT pg_sleep(60)")
        with capture_logs() as logs:
            await book.runner.apply(deliveries(1, 2, 3))
        assert any(
            line["code"] == "handler_too_slow" and "within the 0.05 s it has" in line["detail"]
            for line in logs
            if line["event"] == "listener_waits"
        )
        await exhaust(book, clock)

        assert await book.written() == [1, 3]
        assert [(row["state"], row["reason"], row["attempts"]) for row in await book.kept()] == [
            ("dead", "handler_too_slow", 5)
        ]
        book.runs = {}
        await book.failures.replay(Chosen(), "operator")
        await book.runner.retry_once()
        assert await book.written() == [1, 2, 3]


async def exhaust(book: Notebook, clock: FrozenClock) -> None:
    """Let every retry come due."""
    for wait in LISTENER_RETRY_SECONDS:
        clock.advance(wait)
        await book.runner.retry_once()
