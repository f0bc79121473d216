"""The ASGI application, put together from the parts this process has."""

from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler

from paybell.console.pages import page_routes
from paybell.console.settings import CashierSettings
from paybell.parts import Parts
from paybell.serving.health import health_routes, metrics_route
from paybell.telemetry.metrics import Metrics
from paybell.tokens import Tokens
from paybell.web.auth import authenticated
from paybell.web.bodies import REQUEST_BODY_MAX, JsonRequest
from paybell.web.error_handlers import ErrorHandlers
from paybell.web.openapi import note_queries, openapi_config


def create_app(
    parts: Parts,
    tokens: Tokens,
    metrics: Metrics,
    *,
    open_metrics: bool = True,
    shop: CashierSettings | None = None,
) -> Litestar:
    """Return the application; every route needs a token but health, schema and pages, and metrics if open."""
    shown = metrics_route(parts.measures, metrics, guarded=not open_metrics)
    protected = Router(
        "/",
        route_handlers=parts.routers if open_metrics else [*parts.routers, shown],
        middleware=[authenticated(tokens)],
        security=[{"bearer": []}],
    )
    handlers: list[ControllerRouterHandler] = [
        protected,
        *parts.open_routers,
        *health_routes(parts.checks),
        *page_routes(shop or CashierSettings(), parts.cashier),
    ]
    if open_metrics:
        handlers.append(shown)
    return _application(handlers, parts)


def create_metrics_app(parts: Parts, metrics: Metrics) -> Litestar:
    """Return the application of a port of its own: metrics without a token, and nothing else."""
    return _application([metrics_route(parts.measures, metrics, guarded=False)], parts)


def _application(handlers: list[ControllerRouterHandler], parts: Parts) -> Litestar:
    app = Litestar(
        handlers,
        request_class=JsonRequest,
        exception_handlers=ErrorHandlers(parts.problems).by_class,
        openapi_config=openapi_config(),
        request_max_body_size=REQUEST_BODY_MAX,
        logging_config=None,
    )
    note_queries(app)
    return app
