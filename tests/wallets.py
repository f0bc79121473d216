"""The reference wallet in this process, behind something that breaks its requests and answers on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from wallet_service import Wallet, create_app

PASSWORD = "right"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


INSTEAD: dict[str, Callable[[], web.Response]] = {
    "lost": lambda: web.Response(status=500),
    "page": lambda: web.Response(text="<h1>Bad Gateway</h1>", content_type="text/html", status=502),
    "strange": lambda: web.Response(text="<h1>Not Found</h1>", content_type="text/html", status=404),
    "refused": lambda: web.json_response({"code": "UNAUTHORIZED"}, status=401),
}


class Between:
    """Breaks what passes, one fault for each request.

    `INSTEAD`: answered so, and nothing was done. ``cut``: done, the connection is cut. ``fails``: done, and
    500 all the same. ``half``: done, and half an answer. ``hangs``: nothing until the gate opens, then done.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.seen: list[str] = []
        self.gate = asyncio.Event()
        # Bearer tokens it takes; empty: any, and none.
        self.tokens = set[str]()

    async def is_asked(self) -> bool:
        """Say whether a request has come."""
        return bool(self.seen)

    async def pass_on(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, faultily if that is its turn."""
        self.seen.append(f"{request.method} {request.path}")
        fault = self.faults.pop(0) if self.faults else ""
        if self.tokens and request.headers.get("Authorization", "")[7:] not in self.tokens:
            return INSTEAD["refused"]()
        if fault in INSTEAD:
            return INSTEAD[fault]()
        if fault == "hangs":
            await self.gate.wait()
        answer = await handler(request)
        if fault == "cut" and request.transport is not None:
            request.transport.abort()
        if fault == "fails":
            return web.Response(status=500)
        if fault == "half":
            return web.Response(text='{"state": "DO', content_type="application/json")
        return answer


@asynccontextmanager
async def wallet_service() -> AsyncIterator[tuple[Wallet, Between, str]]:
    """Serve the reference wallet; yield it, what stands before it, and the URL."""
    wallet, between = Wallet(":memory:"), Between()
    app = create_app(wallet)

    @web.middleware
    async def pass_on(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await between.pass_on(request, handler)

    app.middlewares.insert(0, pass_on)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield wallet, between, f"http://{host}:{port}"
    finally:
        between.gate.set()
        await runner.cleanup()
