"""Errors as RFC 9457 problem documents, in English and Chinese: one way out for all of them."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, HTTPScope, Receive, Send

from paybell.errors import (
    InvalidRequest,
    InvalidToken,
    Misconfigured,
    NotAuthenticated,
    OutcomeUnknown,
    PaybellError,
    Refused,
    Unavailable,
    with_traceback,
)
from paybell.tracecontext import trace_id_of
from paybell.web import choices
from paybell.web.errors import BodyTooLarge, MethodNotAllowed, MissingField, NotFound
from paybell.web.negotiation import preferred
from paybell.web.problems import PROBLEMS
from paybell.web.refusals import PROBLEM_JSON, ProblemTypes

log = structlog.get_logger()

# What the framework refuses before a route is reached.
_HTTP: Mapping[int, type[Refused]] = {
    PROBLEMS[kind].status: kind for kind in (InvalidRequest, NotFound, MethodNotAllowed, BodyTooLarge)
}
_MISSING = re.compile(r"Missing required \w+ parameter '([\w-]+)'")
CHINESE = "zh"
_SNAKE = re.compile("_([a-z])")
_CLIENT_GONE = "client disconnected prematurely"


class ErrorHandlers:
    """Answers errors as a table of problem types says."""

    def __init__(self, types: ProblemTypes) -> None:
        self._types = types

    @property
    def by_class(self) -> ExceptionHandlersMap:
        """The framework's handlers of the whole application."""
        return {
            PaybellError: self._paybell_error,
            HTTPException: self._http_exception,
            Exception: self._bug,
        }

    async def refuse(self, error: Exception, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer a request that failed, outside of the framework's own handling."""
        request = Request[Any, Any, Any](scope)
        if isinstance(error, PaybellError):
            response = self._paybell_error(request, error)
        else:
            response = self._bug(request, error)
        await response.to_asgi_response(app=None, request=request)(scope, receive, send)

    def _paybell_error(self, request: Request[Any, Any, Any], error: PaybellError) -> Response[bytes]:
        error = told(request, error)
        headers = {}
        if isinstance(error, Unavailable):
            headers["Retry-After"] = str(error.retry_after_seconds)
        if isinstance(error, NotAuthenticated):
            why = ', error="invalid_token"' if isinstance(error, InvalidToken) else ""  # RFC 6750, 3.1
            headers["WWW-Authenticate"] = f'Bearer realm="paybell"{why}'
        return self._problem(request, error, headers)

    def _http_exception(self, request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        kind = _HTTP.get(error.status_code)
        if kind is None:
            # Nobody is there to answer any more; anything else is ours.
            return (
                self._problem(request, PaybellError())
                if error.detail == _CLIENT_GONE
                else self._bug(request, error)
            )
        if kind is InvalidRequest:
            return self._problem(request, _invalid(request, error))
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return self._problem(request, kind(), headers)

    def _bug(self, request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return self._problem(request, told(request, error))

    def _problem(
        self, request: Request[Any, Any, Any], error: PaybellError, headers: Mapping[str, str] | None = None
    ) -> Response[bytes]:
        language = language_of(request)
        return Response(
            msgspec.json.encode(self._types.problem(error, chinese=language == CHINESE)),
            status_code=self._types[type(error)].status,
            media_type=PROBLEM_JSON,
            headers={
                "Content-Language": language,
                "Vary": "Accept-Language",
                **(headers or {}),
            },
        )


def told(request: Request[Any, Any, Any], error: Exception) -> PaybellError:
    """Return what the caller is told of an error; what only the operator or we can mend is logged."""
    if isinstance(error, Refused | Unavailable):
        return error
    if isinstance(error, Misconfigured):  # while we serve: the operator reads the log, the caller waits
        log.error("request_failed", **_where(request), code=error.code, detail=str(error))
        return Unavailable()
    log.error("request_failed", **_where(request), **with_traceback(error))
    return PaybellError()


def language_of(request: Request[Any, Any, Any]) -> str:
    """Return the language that the caller would rather have sentences in, ``en`` or ``zh``."""
    return preferred(request.headers.get("accept-language", ""), ("en", CHINESE))


async def cut_off(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Answer a request whose process ends before it could: what it asked for may still be done."""
    await ErrorHandlers(PROBLEMS).refuse(OutcomeUnknown(), scope, receive, send)


def _invalid(request: Request[Any, Any, Any], error: HTTPException) -> InvalidRequest:
    """Say which parameter is wrong and why, as the framework found it; never its value."""
    if match := _MISSING.match(error.detail):
        return MissingField(f"The parameter {match[1]} is missing.", field=match[1])
    extra = error.extra if isinstance(error.extra, list) else []
    first = extra[0] if extra and isinstance(extra[0], dict) else {}
    name, message = str(first.get("key", "")), str(first.get("message", ""))
    if name == "data":  # the handlers' parameter for the body, which was empty
        return MissingField("Send a JSON object in the body.")
    # What all lists share is no parameter of the route itself; there the name differs by its case alone.
    name_in_query = _SNAKE.sub(lambda part: part[1].upper(), name)
    if wanted := request.route_handler.parsed_fn_signature.parameters.get(name):
        name_in_query = getattr(wanted.kwarg_definition, "name", None) or name
        if message.startswith("Invalid enum value"):
            message = choices.told(wanted.annotation)
    if not (name and message):
        return InvalidRequest()
    return InvalidRequest(f"{name_in_query}: {message}.", field=name_in_query)


def _where(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return what leads from a log line to the request: its path, and its trace's id if it has one."""
    trace_id = trace_id_of(request.headers.get("traceparent", ""))
    return {"path": request.url.path} | ({"trace_id": trace_id} if trace_id else {})
