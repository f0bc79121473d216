"""The ASGI application, put together from the parts this process has."""

from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler

from paybell.console.pages import page_routes
from paybell.operations.routes import ops_routes
from paybell.pay.refund_routes import refund_routes
from paybell.pay.routes import pay_order_routes
from paybell.runtime import Runtime
from paybell.serving.health import operation_routes
from paybell.trade.routes import order_routes
from paybell.wallet.routes import wallet_routes
from paybell.wallet.statement_routes import statement_routes
from paybell.web.auth import authenticated
from paybell.web.bodies import JsonRequest
from paybell.web.problems import exception_handlers

# The largest body that makes sense is an order with a long subject: under 2 KiB.
BODY_MAX = 64 * 1024


def create_app(runtime: Runtime) -> Litestar:
    """Return the application; every route but health, metrics and schema needs a token."""
    routers: list[Router] = []
    if runtime.pay is not None:
        routers.append(pay_order_routes(runtime.pay, runtime.settings.order_ttl_seconds))
    if runtime.refunds is not None:
        routers.append(refund_routes(runtime.refunds))
    if runtime.wallets is not None:
        routers.append(wallet_routes(runtime.wallets))
    if runtime.statements is not None:
        routers += statement_routes(runtime.statements)
    if runtime.trade is not None and runtime.orders is not None:
        trade = order_routes(
            runtime.trade, runtime.orders, runtime.streams, runtime.clock, runtime.settings.merchant_id
        )
        routers.append(trade)
    if runtime.desk is not None:
        routers.append(ops_routes(runtime.desk, runtime.streams, runtime.clock, runtime.settings.merchant_id))
    protected = Router(
        "/", route_handlers=routers, middleware=[authenticated(runtime.tokens)], security=[{"bearer": []}]
    )
    handlers: list[ControllerRouterHandler] = [protected, *operation_routes(runtime), *page_routes()]
    return Litestar(
        handlers,
        request_class=JsonRequest,
        exception_handlers=exception_handlers(),
        openapi_config=_openapi(),
        request_max_body_size=BODY_MAX,
        logging_config=None,
    )


def _openapi() -> OpenAPIConfig:
    bearer = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
    return OpenAPIConfig(
        title="Paybell",
        version="1",
        description="Pays orders out of balances. Amounts are integers in minor units, ids are strings.",
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        components=Components(security_schemes={"bearer": bearer}),
    )
