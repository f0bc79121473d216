"""Health, readiness and metrics: for machines on the inside, without secrets."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import structlog
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from paybell.errors import InsufficientScope, PaybellError
from paybell.parts import Check, Measure
from paybell.telemetry.metrics import Measured, Metrics
from paybell.web.auth import scope
from paybell.web.errors import NotReady
from paybell.web.problems import PROBLEMS
from paybell.web.refusals import PROBLEM_JSON, Problem

log = structlog.get_logger()

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


class NotReadyProblem(Problem, kw_only=True):
    """The same as a problem document."""

    checks: dict[str, str]


def health_routes(checks: Mapping[str, Check]) -> list[HTTPRouteHandler]:
    """Return the routes without a token."""

    @get("/healthz", operation_id="healthz", summary="The process is alive", tags=["operations"])
    async def healthz() -> Health:
        return Health("ok")

    @get(
        "/readyz",
        operation_id="readyz",
        summary="Everything this process needs is there",
        tags=["operations"],
        responses={
            503: ResponseSpec(
                NotReadyProblem,
                description=f"`{NotReady.code}`: {NotReady.detail}",
                media_type=PROBLEM_JSON,
                generate_examples=False,
            )
        },
    )
    async def readyz() -> Readiness:
        results = await asyncio.gather(*(_outcome(check) for check in checks.values()))
        found = dict(zip(checks, results, strict=True))
        if set(results) <= {"ok"}:
            return Readiness("ready", found)
        raise NotReady(checks=found)

    return [healthz, readyz]


def metrics_route(measures: Sequence[Measure], metrics: Metrics, *, guarded: bool) -> HTTPRouteHandler:
    """Return the route of what is counted and measured; ``guarded``: its token needs a scope."""

    @get(
        "/metrics",
        operation_id="metrics",
        summary="Prometheus metrics; where others can connect, for tokens with metrics:read",
        tags=["operations"],
        media_type=_PROMETHEUS,
        opt=scope("metrics:read") if guarded else {},
        responses=PROBLEMS.refusals(InsufficientScope) if guarded else None,
    )
    async def exposition() -> str:
        found = [one for measure in measures for one in await _measured(measure)]
        return metrics.exposition(found).decode()

    return exposition


async def _outcome(check: Check) -> str:
    try:
        await asyncio.wait_for(check(), CHECK_TIMEOUT_SECONDS)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
    except PaybellError as error:
        return str(error)
    except Exception:  # whatever is wrong with a part, the question has an answer
        log.exception("check_failed")
        return "failed; see the log"
    return "ok"


async def _measured(measure: Measure) -> Sequence[Measured]:
    """Return nothing where it cannot be read: a figure of before would look like one of now."""
    try:
        return await asyncio.wait_for(measure(), CHECK_TIMEOUT_SECONDS)
    except (TimeoutError, PaybellError):
        return ()
    except Exception:  # what is wrong with one metric hides no other
        log.exception("check_failed")
        return ()
