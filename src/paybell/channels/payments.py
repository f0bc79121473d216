"""Attempts as their payers make them: prepared and committed, sent, and entered as the channel answers."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from paybell.channels import store
from paybell.channels.answers import NotSent, OpenSaid
from paybell.channels.attempt import Attempt, AttemptState, Call, charge_of
from paybell.channels.channel import Kind
from paybell.channels.errors import ChannelNotOffered, ChannelUnavailable, refusal_of
from paybell.channels.lines import Line
from paybell.channels.methods import WINDOW_MARGIN, Method, methods_of
from paybell.channels.preparation import Preparation
from paybell.channels.recorder import Recorder
from paybell.channels.windows import WindowCloser
from paybell.errors import AlreadyPaid
from paybell.ids import Ids
from paybell.pay import store as pay_orders
from paybell.pay.model import PayOrder
from paybell.pay.service import readable
from paybell.pay.settlement import PaymentRequest
from paybell.pay.status import PayStatus
from paybell.storage import Database
from paybell.tokens import Principal

# While somebody looks at a window its channel is asked this often, besides its schedule.
_LOOKED_AT_SECONDS = 3.0


class AttemptService:
    """Makes attempts, one channel's for one order at a time."""

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        ids: Ids,
        lines: Mapping[str, Line],
        now: Callable[[], datetime],
        *,
        notify_url: str = "",
        return_url: str = "",
        window_margin: timedelta = WINDOW_MARGIN,
    ) -> None:
        """Work on the pay database.

        Args:
            database: pay's.
            recorder: writes what channels say.
            ids: of attempts.
            lines: the channels.
            now: by what is offered or not any more.
            notify_url: where channels reach us; empty: they do not.
            return_url: where a buyer comes back to from a channel's page; ``{order}`` is the order's number.
            window_margin: a window ends so much before its order.
        """
        self._database = database
        self._recorder = recorder
        self._preparation = Preparation(database, ids, window_margin)
        self._lines = lines
        self._windows = WindowCloser(database, lines)
        self._now = now
        self._notify_url = notify_url.rstrip("/")
        self._return_url = return_url or f"{self._notify_url}/cashier/{{order}}"
        self._window_margin = window_margin
        self._calls: set[asyncio.Task[Attempt]] = set()

    async def pay(self, request: PaymentRequest, channel_name: str) -> PayOrder:
        """Pay with a call; in doubt the order is still unpaid, and the outcome comes by itself.

        Raises:
            PayOrderNotFound, NotThePayer, PayOrderClosed: in this order of precedence.
            ChannelUnavailable: certainly nothing was paid. ChannelRefused, and the wallet's refusals.
        """
        number = request.pay_order_id
        try:
            attempt = await self.open(
                number,
                request.payer_id,
                channel_name,
                request.traceparent,
                credential=request.pay_password,
            )
        except AlreadyPaid:
            attempt = None
        order = await pay_orders.find(self._database, number)
        assert order is not None, "it was there a moment ago"
        if attempt is None or attempt.live or order.status is PayStatus.TRADE_SUCCESS:
            return order
        raise refusal_of(attempt.code)

    async def open_window(
        self, pay_order_id: int, payer_id: str, channel_name: str, traceparent: str
    ) -> Attempt:
        """Open a window in which the order may be paid, or return the one that is open; errors as `open`.

        Raises:
            ChannelRefused: the channel does not open one.
        """
        line = self._lines.get(channel_name)
        if line is None or line.channel.kind is not Kind.WINDOW:
            raise ChannelNotOffered
        attempt = await self.open(pay_order_id, payer_id, channel_name, traceparent)
        if attempt.state in (AttemptState.REFUSED, AttemptState.CLOSED):
            raise refusal_of(attempt.code)
        return attempt

    async def methods(self, pay_order_id: int, principal: Principal) -> list[Method]:
        """Return how a pay order may be paid now, to whom `of_pay_order` returns its attempts.

        Raises:
            PayOrderNotFound, NotThePayer.
        """
        order = readable(await pay_orders.find(self._database, pay_order_id), principal)
        channels = [line.channel for line in self._lines.values()]
        return methods_of(order, channels, self._now(), self._window_margin)

    async def of_pay_order(self, pay_order_id: int, principal: Principal) -> list[Attempt]:
        """Return a pay order's attempts to its payer, or to its merchant with ``pay-orders:read``.

        Raises:
            PayOrderNotFound, NotThePayer.
        """
        readable(await pay_orders.find(self._database, pay_order_id), principal)
        found = await store.of_pay_order(self._database, pay_order_id)
        if any(one.kind is Kind.WINDOW and one.live for one in found):
            async with self._database.transaction() as tx:
                await store.hasten_windows(tx, pay_order_id, _LOOKED_AT_SECONDS)
        return found

    async def open(
        self, pay_order_id: int, payer_id: str, channel_name: str, traceparent: str, *, credential: str = ""
    ) -> Attempt:
        """Make an attempt, or return the one that is under way; its state says what has come of it.

        Raises:
            PayOrderNotFound, NotThePayer, AlreadyPaid, PayOrderClosed: in this order of precedence.
            AttemptNotFinal: another channel may be moving money for this order.
            ChannelNotOffered: not for this amount, currency or time. ChannelUnavailable: nothing was sent.
        """
        line = self._lines.get(channel_name)
        if line is None:
            raise ChannelNotOffered
        if line.circuit.away:
            raise ChannelUnavailable
        await self._close_others(pay_order_id, payer_id, channel_name)
        attempt, order, fresh = await self._database.until_free(
            lambda: self._preparation.prepare(pay_order_id, payer_id, line.channel, traceparent)
        )
        if not (fresh or is_without_its_code(attempt)):
            return attempt
        # To its end, also when whoever asked has gone: what the channel answers is written.
        call = asyncio.ensure_future(self._send(line, attempt, order, credential))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)

    async def _close_others(self, pay_order_id: int, payer_id: str, channel_name: str) -> None:
        """Close the windows of other channels; where that stays in doubt, both live."""
        order = await pay_orders.find(self._database, pay_order_id)
        if order is not None and order.payer_id == payer_id:
            await self._windows.close_but(order, channel_name)

    async def _send(self, line: Line, attempt: Attempt, order: PayOrder, credential: str) -> Attempt:
        notify_url = f"{self._notify_url}/channels/{attempt.channel}/notices" if self._notify_url else ""
        return_url = self._return_url.replace("{order}", str(order.biz_order_no))
        charge = charge_of(attempt, order, notify_url, return_url=return_url, credential=credential)
        try:
            async with line.circuit.call():
                if attempt.state is AttemptState.PREPARED and not await self._mark_sent(attempt):
                    said: OpenSaid = NotSent("it took too long until it could be sent")
                else:
                    said = await line.channel.open(charge)
                    line.circuit.note(said)
        except ChannelUnavailable as error:
            said = NotSent(error.code)
        return (await self._recorder.record(attempt, Call.OPEN, said))[0]

    async def _mark_sent(self, attempt: Attempt) -> bool:
        async with self._database.transaction() as tx:
            return await store.mark_sent(tx, attempt.id)


def is_without_its_code(attempt: Attempt) -> bool:
    """Say whether the answer that opened a window was lost: it may be asked for again, as it was."""
    shown = attempt.qr_code or attempt.redirect_url
    in_doubt = attempt.state in (AttemptState.OPEN, AttemptState.UNKNOWN)
    return attempt.kind is Kind.WINDOW and in_doubt and not shown
