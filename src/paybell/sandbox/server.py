"""The simulators as an HTTP server on loopback: their APIs, their pages, and what makes them fail."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain

from aiohttp import web

from paybell.sandbox.books import NotPossible, Trade
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.pages import overview_page, pay_page
from paybell.sandbox.simulator import Simulator

_SHOWN_MAX = 50


class Sandbox:
    """Several simulators, and one clock."""

    def __init__(self, clock: SandboxClock, simulators: list[Simulator]) -> None:
        self.clock = clock
        self.simulators: Mapping[str, Simulator] = {one.name: one for one in simulators}

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback and yield the URL, one for all, as their paths differ; 0: a free port."""
        app = web.Application()
        app.add_routes(chain.from_iterable(one.routes() for one in self.simulators.values()))
        app.add_routes(
            [
                web.get("/", self._overview),
                web.get("/sandbox/{channel}/pay/{token}", self._show),
                web.post("/sandbox/{channel}/pay/{token}", self._pay),
                web.post("/sandbox/{channel}/payments", self._pay_number),
                web.get("/sandbox/{channel}/books", self._books),
                web.get("/sandbox/{channel}/bill", self._bill),
                web.post("/sandbox/{channel}/faults", self._order),
                web.get("/sandbox/{channel}/faults", self._struck),
                web.delete("/sandbox/{channel}/faults", self._clear),
                web.post("/sandbox/clock", self._advance),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            for one in self.simulators.values():
                one.url = url
            yield url
        finally:
            for one in self.simulators.values():
                await one.close()
            await runner.cleanup()

    async def _overview(self, _: web.Request) -> web.StreamResponse:
        trades = [(one.name, trade) for one in self.simulators.values() for trade in one.books]
        trades.sort(key=lambda pair: pair[1].made_at, reverse=True)
        return overview_page(trades[:_SHOWN_MAX])

    def _found(self, request: web.Request) -> tuple[Simulator, Trade]:
        simulator = self._simulator(request)
        trade = simulator.books.of_token(request.match_info["token"])
        if trade is None:
            raise web.HTTPNotFound
        return simulator, trade

    def _simulator(self, request: web.Request) -> Simulator:
        simulator = self.simulators.get(request.match_info["channel"])
        if simulator is None:
            raise web.HTTPNotFound
        return simulator

    async def _show(self, request: web.Request) -> web.StreamResponse:
        simulator, trade = self._found(request)
        trade.known = True
        return pay_page(trade, simulator.name)

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        simulator, trade = self._found(request)
        try:
            simulator.pay(trade)
        except NotPossible:
            return web.Response(status=409, text=f"It cannot be paid any more; it is {trade.state.value}.")
        if trade.return_url:
            raise web.HTTPSeeOther(trade.return_url)
        return pay_page(trade, simulator.name)

    async def _pay_number(self, request: web.Request) -> web.StreamResponse:
        """Let the buyer of one attempt pay: {number}."""
        simulator, wanted = self._simulator(request), await request.json()
        trade = simulator.books.find(str(wanted.get("number")))
        if trade is None:
            raise web.HTTPNotFound
        try:
            simulator.pay(trade)
        except NotPossible:
            return web.Response(status=409)
        return web.Response(status=204)

    async def _books(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._simulator(request).moved())

    async def _bill(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._simulator(request).bill(), content_type="application/octet-stream")

    async def _order(self, request: web.Request) -> web.StreamResponse:
        """Order a fault {operation, fault, times, seconds, code}, or a share of calls {share, seed}."""
        faults, wanted = self._simulator(request).faults, await request.json()
        try:
            if "share" in wanted:
                faults.scatter(float(wanted["share"]), int(wanted.get("seed", 0)))
            else:
                faults.order(
                    Operation(wanted["operation"]),
                    Fault(wanted["fault"]),
                    int(wanted.get("times", 1)),
                    seconds=float(wanted.get("seconds", 0)),
                    code=str(wanted.get("code", "")),
                )
        except (KeyError, ValueError, TypeError) as error:
            return web.Response(status=422, text=str(error))
        return web.Response(status=204)

    async def _struck(self, request: web.Request) -> web.StreamResponse:
        """Say how often each fault has struck."""
        return web.json_response(self._simulator(request).faults.struck)

    async def _clear(self, request: web.Request) -> web.StreamResponse:
        self._simulator(request).faults.clear()
        return web.Response(status=204)

    async def _advance(self, request: web.Request) -> web.StreamResponse:
        self.clock.advance(float((await request.json())["seconds"]))
        return web.json_response({"now": self.clock.now().isoformat()})
