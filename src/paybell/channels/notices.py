"""Notices: what channels send by themselves, verified first and then treated as an answer to a query."""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from paybell.channels import disputes, store
from paybell.channels.attempt import Attempt, Call, charge_of
from paybell.channels.channel import Heard, Notice, NoticeAnswer, NoticeRefused
from paybell.channels.errors import ChannelNotOffered
from paybell.channels.lines import Line
from paybell.channels.notice_gate import NoticeGate
from paybell.channels.recorder import Recorder
from paybell.clock import Clock
from paybell.errors import InvalidId, Unavailable
from paybell.ids import parse_id
from paybell.pay import store as pay_orders
from paybell.storage import Database
from paybell.telemetry.observers import NoticeObserver

log = structlog.get_logger()


class Notices:
    """Takes notices; one that comes twice changes nothing the second time."""

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        lines: Mapping[str, Line],
        clock: Clock,
        observer: NoticeObserver,
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._lines = lines
        self._clock = clock
        self._observer = observer
        self._gates = {name: NoticeGate(name, clock) for name in lines}

    async def take(
        self, channel_name: str, headers: Mapping[str, str], read: Callable[[], Awaitable[bytes]]
    ) -> NoticeAnswer:
        """Take a notice and return what its channel wants to read: done only when it is durable.

        In a flood ``read``, which returns the body, is not asked for it.

        Raises:
            ChannelNotOffered: there is no such channel here.
        """
        line = self._lines.get(channel_name)
        if line is None:
            raise ChannelNotOffered
        gate = self._gates[channel_name]
        if not gate.admits():
            return self._turn_away(line)
        body = await read()
        if not gate.admits():  # others came while it was on its way
            return self._turn_away(line)
        try:
            heard = line.channel.read_notice(Notice(headers, body, self._clock.now()))
        except NoticeRefused as error:
            gate.note_refused()
            self._observer.noticed("refused")
            log.warning("notice_refused", channel=channel_name, detail=str(error))
            return line.channel.answer_notice(taken=False)
        try:
            with gate.under_way():
                if not await store.is_taken(self._database, channel_name, heard.notice_id):
                    await self._apply(line, heard)
        except Unavailable as error:
            log.warning("notice_waits", channel=channel_name, code=error.code)
            self._observer.noticed("waits")
            return line.channel.answer_notice(taken=False)
        self._observer.noticed("taken")
        return line.channel.answer_notice(taken=True)

    def _turn_away(self, line: Line) -> NoticeAnswer:
        self._observer.noticed("turned_away")
        return line.channel.answer_notice(taken=False)

    async def _apply(self, line: Line, heard: Heard) -> None:
        if heard.disputed is not None:
            name = line.channel.name
            if not await disputes.record(self._database, name, heard.notice_id, heard.disputed):
                log.warning("notice_of_nothing", channel=name, payment=heard.disputed.transaction_id[:64])
            return
        attempt = await self._attempt_of(line, heard)
        if attempt is None:
            log.warning("notice_of_nothing", channel=line.channel.name, attempt=heard.attempt_id[:64])
            return
        if heard.refund_id:
            await self._hasten(heard.refund_id)
        elif heard.said is not None:
            await self._recorder.record(attempt, Call.QUERY, heard.said)
        else:
            order = await pay_orders.find(self._database, attempt.pay_order_id)
            assert order is not None, "an attempt names a pay order"
            async with line.circuit.call():
                said = await line.channel.query(charge_of(attempt, order))
                line.circuit.note(said)
            await self._recorder.record(attempt, Call.QUERY, said)
        async with self._database.transaction() as tx:
            await store.note_notice(tx, line.channel.name, heard.notice_id, attempt.id)

    async def _attempt_of(self, line: Line, heard: Heard) -> Attempt | None:
        try:
            attempt = await store.find(self._database, parse_id(heard.attempt_id))
        except InvalidId:
            return None
        return attempt if attempt is not None and attempt.channel == line.channel.name else None

    async def _hasten(self, refund_id: str) -> None:
        """Have a refund asked about at once: what a notice says of it is the channel's to confirm."""
        try:
            number = parse_id(refund_id)
        except InvalidId:
            return
        async with self._database.transaction() as tx:
            await store.hasten_refund(tx, number)
