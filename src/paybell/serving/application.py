"""The ASGI application, put together from the parts this process has."""

from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler

from paybell.console.pages import page_routes
from paybell.parts import Parts
from paybell.serving.health import health_routes
from paybell.telemetry.metrics import Metrics
from paybell.tokens import Tokens
from paybell.web.auth import authenticated
from paybell.web.bodies import REQUEST_BODY_MAX, JsonRequest
from paybell.web.error_handlers import ErrorHandlers
from paybell.web.openapi import note_queries, openapi_config


def create_app(parts: Parts, tokens: Tokens, metrics: Metrics) -> Litestar:
    """Return the application; every route needs a token but health, metrics, schema and the pages."""
    protected = Router(
        "/",
        route_handlers=parts.routers,
        middleware=[authenticated(tokens)],
        security=[{"bearer": []}],
    )
    handlers: list[ControllerRouterHandler] = [
        protected,
        *health_routes(parts.checks, parts.measures, metrics),
        *page_routes(),
    ]
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
