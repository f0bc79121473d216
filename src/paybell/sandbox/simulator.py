"""What the three simulators share: how a call goes wrong, how notices are sent, how a buyer pays."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar

import aiohttp
from aiohttp import web

from paybell.sandbox.books import BackMoney, Books, NotPossible, RefundState, Trade
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.downloads import Downloads
from paybell.sandbox.faults import Fault, Faults, Operation

# Seconds until a notice is sent again; real channels take minutes and hours.
_AGAIN_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 15.0)
_NOTICE_SECONDS = 5.0
_YEAR_SECONDS = 365 * 86_400
HTML_502 = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@dataclass(frozen=True)
class Reply:
    """An answer or a notice: what it says, and the headers that sign it."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class Simulator:
    """One simulated channel; subclasses know its wire format."""

    name: ClassVar[str]
    signs_answers: ClassVar[bool] = True

    def __init__(self, clock: SandboxClock) -> None:
        self.clock = clock
        self.books = Books()
        self.faults = Faults(signed=self.signs_answers)
        self.downloads = Downloads()
        self.url = ""
        self._notices = set[asyncio.Task[None]]()

    def routes(self) -> list[web.RouteDef]:
        """Return what it answers to."""
        raise NotImplementedError

    def failure(self, status: int) -> Reply:
        """Return how the channel says that it is out of order (500), or asked too often (429)."""
        raise NotImplementedError

    def error(self, code: str) -> Reply:
        """Return an error by its code."""
        raise NotImplementedError

    def moved(self) -> Mapping[str, Mapping[str, int | str]]:
        """Return by the merchant's numbers what was really paid and went back; see `Books.moved`."""
        return self.books.moved()

    def bill(self, day: date | None = None) -> bytes:
        """Return what moved on a day (None: ever) as the channel's bill; empty: there is none."""
        del day
        return b""

    def signed(self, reply: Reply, fault: Fault | None, request: web.Request | None) -> Reply:
        """Return an answer as the channel signs it; a fault of signatures is made here."""
        raise NotImplementedError

    def paid_notice(self, trade: Trade, fault: Fault | None) -> Reply:
        """Return the notice of a payment."""
        raise NotImplementedError

    def refund_notice(self, trade: Trade, back: BackMoney, fault: Fault | None) -> Reply | None:
        """Return the notice of a refund that has ended; None: the channel sends none."""
        raise NotImplementedError

    def is_taken(self, status: int, body: bytes) -> bool:
        """Say whether the answer to a notice ends its repetition."""
        del body
        return status in range(200, 300)

    async def answer(
        self, request: web.Request, operation: Operation, act: Callable[[Fault | None], Reply]
    ) -> web.StreamResponse:
        """Do what a call asks for and answer it, as far as no fault is in the way."""
        fault, seconds = self.faults.take(operation)
        if fault is Fault.DELAY:
            await asyncio.sleep(seconds)
        if fault is Fault.LOSE_REQUEST:
            return _cut(request)
        if fault is Fault.HTML_502:
            return web.Response(status=502, text=HTML_502, content_type="text/html")
        if fault in {Fault.FAIL_BEFORE, Fault.RATE_LIMITED}:
            reply = self.failure(500 if fault is Fault.FAIL_BEFORE else 429)
            return _response(self.signed(reply, None, request))
        if fault is Fault.CODE:
            return _response(self.signed(self.error(self.faults.code), None, request))
        reply = act(fault)
        if fault is Fault.LOSE_ANSWER:
            return _cut(request)
        if fault is Fault.FAIL_AFTER:
            reply = self.failure(500)
        signed = self.signed(reply, fault, request)
        if fault is Fault.TRUNCATED:
            signed = Reply(signed.status, signed.body[: len(signed.body) // 2], signed.headers)
        if fault is Fault.WRONG_TYPE:
            signed = Reply(signed.status, signed.body, signed.headers, "text/html")
        return _response(signed)

    def pay(self, trade: Trade) -> None:
        """Let the buyer pay.

        Raises:
            NotPossible: it is paid or closed, or its time is over.
        """
        self.books.pay(trade, self.clock.now())
        self._notify(trade, lambda fault: self.paid_notice(trade, fault))

    def refund(self, trade: Trade, number: str, amount: int, fault: Fault | None) -> BackMoney:
        """Give money back, or begin to.

        Raises:
            Differs, NotPossible: as `Books.refund`.
        """
        unfinished = fault in {Fault.REFUND_PENDING, Fault.REFUND_FAILS}
        known = number in trade.refunds
        state = RefundState.PENDING if unfinished else RefundState.DONE
        back = self.books.refund(trade, number, amount, self.clock.now(), state)
        if unfinished and not known:
            self._later(
                self._end(
                    trade, back, RefundState.FAILED if fault is Fault.REFUND_FAILS else RefundState.DONE
                )
            )
        elif not known:
            self._notify_of_refund(trade, back)
        return back

    async def _end(self, trade: Trade, back: BackMoney, state: RefundState) -> None:
        await asyncio.sleep(0.3)
        back.state = state
        self._notify_of_refund(trade, back)

    def _notify_of_refund(self, trade: Trade, back: BackMoney) -> None:
        if self.refund_notice(trade, back, None) is not None:
            self._notify(trade, lambda fault: self.refund_notice(trade, back, fault))

    def pay_meanwhile(self, trade: Trade, fault: Fault | None) -> None:
        """Let the buyer be faster than what is being asked for."""
        if fault is Fault.PAY_MEANWHILE:
            with suppress(NotPossible):
                self.pay(trade)

    def signing_time(self, fault: Fault | None) -> int:
        """Return the Unix time that a signature carries."""
        return int(self.clock.now().timestamp()) - (_YEAR_SECONDS if fault is Fault.OLD_TIMESTAMP else 0)

    def _notify(self, trade: Trade, make: Callable[[Fault | None], Reply | None]) -> None:
        if not trade.notify_url:
            return
        fault, seconds = self.faults.take(Operation.NOTICE)
        if fault is Fault.DROP:
            return
        for _ in range(2 if fault is Fault.DUPLICATE else 1):
            self._later(self._send(trade.notify_url, make, fault, seconds))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _send(
        self, url: str, make: Callable[[Fault | None], Reply | None], fault: Fault | None, seconds: float
    ) -> None:
        """Send a notice until it is taken; only the first one is spoilt."""
        if fault is Fault.DELAY:
            await asyncio.sleep(seconds)
        timeout = aiohttp.ClientTimeout(total=_NOTICE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            for wait in _AGAIN_SECONDS:
                await asyncio.sleep(wait)
                notice, fault = make(fault), None
                assert notice is not None
                headers = {**notice.headers, "Content-Type": notice.content_type}
                with suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with session.post(
                        url, data=notice.body, headers=headers, allow_redirects=False
                    ) as answer:
                        if self.is_taken(answer.status, await answer.content.read(1024)):
                            return

    async def idle(self) -> None:
        """Wait until every notice was taken or given up."""
        while self._notices:
            await asyncio.wait(self._notices)

    async def close(self) -> None:
        """Send no more notices."""
        for task in self._notices:
            task.cancel()
        await asyncio.gather(*self._notices, return_exceptions=True)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, headers=reply.headers, content_type=reply.content_type
    )
