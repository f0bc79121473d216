"""Health, readiness and metrics: for machines on the inside, without a token and without secrets."""

import asyncio

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from paybell.api.problems import problem
from paybell.errors import PaybellError
from paybell.runtime import Check, Runtime

# A check that takes longer is a failed one: whoever asks decides within seconds.
CHECK_TIMEOUT_SECONDS = 2.0
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health(msgspec.Struct):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct):
    """Each part and what is wrong with it, ``ok`` if nothing."""

    status: str
    checks: dict[str, str]


def operation_routes(runtime: Runtime) -> list[HTTPRouteHandler]:
    """Return the routes without a token."""

    @get("/healthz", summary="The process is alive")
    async def healthz() -> Health:
        return Health("ok")

    @get("/readyz", summary="Everything this process needs is there")
    async def readyz() -> Response[Readiness] | Response[bytes]:
        names = list(runtime.checks)
        results = await asyncio.gather(*(_outcome(check) for check in runtime.checks.values()))
        checks = dict(zip(names, results, strict=True))
        if set(results) <= {"ok"}:
            return Response(Readiness("ready", checks))
        detail = ("Not everything this service needs is there; see checks.", "服务尚未就绪，详见 checks")
        headers = {"Retry-After": "1"}
        return problem(
            None, status=503, code="not_ready", detail=detail, extensions={"checks": checks}, headers=headers
        )

    @get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response[bytes]:
        for refresh in runtime.refresh:
            await _outcome(refresh)
        return Response(runtime.metrics.exposition(), media_type=_PROMETHEUS)

    return [healthz, readyz, metrics]


async def _outcome(check: Check) -> str:
    try:
        await asyncio.wait_for(check(), CHECK_TIMEOUT_SECONDS)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
    except PaybellError as error:
        return str(error)
    return "ok"
