"""Errors as RFC 9457 problem documents, in English and Chinese: one way out for all of them."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, HTTPScope, Receive, Send

from paybell.clock import rfc3339
from paybell.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    Misconfigured,
    MissingField,
    NotAuthenticated,
    NotFound,
    OutcomeUnknown,
    PaybellError,
    Refused,
    Unavailable,
)
from paybell.tracecontext import trace_id_of
from paybell.web.refusals import PROBLEM_JSON, problem_of

log = structlog.get_logger()

# What the framework refuses before a route is reached.
_HTTP: Mapping[int, type[Refused]] = {
    kind.status: kind for kind in (InvalidRequest, NotFound, MethodNotAllowed, BodyTooLarge)
}
_MISSING = re.compile(r"Missing required \w+ parameter '([\w-]+)'")
_CLIENT_GONE = "client disconnected prematurely"


class NotReady(Unavailable):
    """A part this process needs is not there; ``checks`` says which."""

    code = "not_ready"
    detail = "Not everything this service needs is there; see checks."
    detail_zh = "服务尚未就绪，详见 checks"


def exception_handlers() -> ExceptionHandlersMap:
    """Return the handlers of the whole application."""
    return {
        PaybellError: _paybell_error,
        HTTPException: _http_exception,
        Exception: _bug,
    }


async def cut_off(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Answer a request whose process ends before it could: what it asked for may still be done."""
    await refuse(OutcomeUnknown(), scope, receive, send)


async def refuse(error: Exception, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Answer a request that failed, outside of the framework's own handling."""
    request = Request[Any, Any, Any](scope)
    response = _paybell_error(request, error) if isinstance(error, PaybellError) else _bug(request, error)
    await response.to_asgi_response(app=None, request=request)(scope, receive, send)


def _paybell_error(request: Request[Any, Any, Any], error: PaybellError) -> Response[bytes]:
    if isinstance(error, Misconfigured):  # while we serve: the operator reads the log, the caller waits
        log.error("request_failed", **_where(request), code=error.code, detail=str(error))
        error = Unavailable()
    elif not isinstance(error, Refused | Unavailable):
        return _bug(request, error)
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="paybell"'
    return _problem(request, error, headers)


def _http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    kind = _HTTP.get(error.status_code)
    if kind is None:
        # Nobody is there to answer any more; anything else is ours.
        return _problem(request, PaybellError()) if error.detail == _CLIENT_GONE else _bug(request, error)
    if kind is InvalidRequest:
        return _problem(request, _invalid(error))
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return _problem(request, kind(), headers)


def _invalid(error: HTTPException) -> InvalidRequest:
    """Say which parameter is wrong and why, as the framework found it; never its value."""
    if match := _MISSING.match(error.detail):
        return MissingField(f"The parameter {match[1]} is missing.", field=match[1])
    extra = error.extra if isinstance(error.extra, list) else []
    first = extra[0] if extra and isinstance(extra[0], dict) else {}
    name, message = str(first.get("key", "")), str(first.get("message", ""))
    if name == "data":  # the handlers' parameter for the body, which was empty
        return MissingField("Send a JSON object in the body.")
    return InvalidRequest(f"{name}: {message}.", field=name) if name and message else InvalidRequest()


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("request_failed", **_where(request), exc_info=error)
    return _problem(request, PaybellError())


def _where(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Return what leads from a log line to the request: its path, and its trace's id if it has one."""
    trace_id = trace_id_of(request.headers.get("traceparent", ""))
    return {"path": request.url.path} | ({"trace_id": trace_id} if trace_id else {})


def _problem(
    request: Request[Any, Any, Any], error: PaybellError, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    chinese = _prefers_chinese(request.headers.get("accept-language", ""))
    document = problem_of(type(error), _chinese(error) if chinese else error.message)
    document |= {name: _plain(value) for name, value in error.extensions.items()}
    return Response(
        msgspec.json.encode(document),
        status_code=error.status,
        media_type=PROBLEM_JSON,
        headers={
            "Content-Language": "zh" if chinese else "en",
            "Vary": "Accept-Language",
            **(headers or {}),
        },
    )


def _chinese(error: PaybellError) -> str:
    field = error.extensions.get("field")
    return f"{error.detail_zh}（{field}）" if field else error.detail_zh


def _prefers_chinese(accept_language: str) -> bool:
    """RFC 9110 section 12.5.4: the language with the highest weight; the first of equals."""
    best, weight = "en", 0.0
    for part in accept_language[:200].split(","):
        tag, _, parameter = part.strip().partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        language = tag.strip().lower().partition("-")[0]
        if quality > weight and language in ("zh", "en"):
            best, weight = language, quality
    return best == "zh"


def _plain(value: object) -> object:
    return rfc3339(value) if isinstance(value, datetime) else value
