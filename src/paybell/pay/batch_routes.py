"""Many applications for pay orders in one request, each with an answer or a problem of its own."""

from typing import Annotated

import msgspec
from litestar import Response, Router, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from paybell.errors import InsufficientScope, PaybellError
from paybell.ids import IDS_MAX
from paybell.pay.model import Application, PayOrder
from paybell.pay.problems import PROBLEMS
from paybell.pay.routes import NewPayOrder, PayOrderView, read_application, view
from paybell.pay.service import PayService
from paybell.web.auth import Caller, scope
from paybell.web.bodies import BATCH_BODY_MAX, read_body
from paybell.web.error_handlers import CHINESE, language_of, told
from paybell.web.refusals import WITH_A_BODY, Problem

# Each is read by itself, so that one of a wrong form fails alone; described as what it is read as.
_NewPayOrder = Annotated[
    msgspec.Raw,
    Meta(extra_json_schema={"extra": {"$ref": f"#/components/schemas/{NewPayOrder.__name__}"}}),
]


class NewPayOrders(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is to be paid, many times."""

    pay_orders: Annotated[list[_NewPayOrder], Meta(min_length=1, max_length=IDS_MAX)]


class ApplicationProblem(Problem):
    """Why there is no pay order that can be paid; with the id of the one there is, paid or closed."""

    pay_order_id: str | UnsetType = msgspec.field(name="payOrderId", default=UNSET)


class ApplicationAnswer(msgspec.Struct, rename="camel"):
    """What ``POST /pay-orders`` would have answered: the status, and the pay order or the problem."""

    status: int
    pay_order: PayOrderView | UnsetType = UNSET
    problem: ApplicationProblem | UnsetType = UNSET


class ApplicationAnswers(msgspec.Struct):
    """One for each application, in their order."""

    answers: list[ApplicationAnswer]


def batch_routes(service: PayService, default_ttl_seconds: int) -> Router:
    """Return the route that takes many applications, under ``/pay-orders``."""

    def read(raw: msgspec.Raw, merchant_id: str) -> Application | PaybellError:
        try:
            data: NewPayOrder = read_body(bytes(raw), NewPayOrder)
            return read_application(data, merchant_id, default_ttl_seconds)
        except PaybellError as error:
            return error

    @post(
        "/batch",
        operation_id="applyForPayOrders",
        summary="Apply for up to 200 pay orders; each is answered as if it were alone",
        status_code=200,
        opt=scope("pay-orders:write"),
        request_max_body_size=BATCH_BODY_MAX,
        responses=PROBLEMS.refusals(*WITH_A_BODY, InsufficientScope),
    )
    async def apply_for_many(request: Caller, data: JSONBody[NewPayOrders]) -> Response[ApplicationAnswers]:
        asked = [read(raw, request.user.merchant_id) for raw in data.pay_orders]
        applied = iter(await service.apply_many([one for one in asked if isinstance(one, Application)]))
        outcomes = [next(applied) if isinstance(one, Application) else one for one in asked]
        language = language_of(request)
        return Response(
            ApplicationAnswers([_answer(request, outcome, language) for outcome in outcomes]),
            headers={"Content-Language": language, "Vary": "Accept-Language"},
        )

    return Router("/pay-orders", route_handlers=[apply_for_many], tags=["pay orders"])


def _answer(request: Caller, outcome: tuple[PayOrder, bool] | Exception, language: str) -> ApplicationAnswer:
    if isinstance(outcome, Exception):
        error = told(request, outcome)
        problem = PROBLEMS.problem(error, chinese=language == CHINESE)
        return ApplicationAnswer(
            PROBLEMS[type(error)].status, problem=msgspec.convert(problem, ApplicationProblem)
        )
    order, created = outcome
    return ApplicationAnswer(201 if created else 200, pay_order=view(order))
