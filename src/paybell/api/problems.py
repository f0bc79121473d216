"""Errors as RFC 9457 problem documents, in English and Chinese. One place, one table."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from paybell.clock import rfc3339
from paybell.errors import (
    InvalidAmount,
    InvalidRequest,
    NotAuthenticated,
    PaybellError,
    Refused,
    Unavailable,
    UnknownCurrency,
)

PROBLEM_JSON = "application/problem+json"
log = structlog.get_logger()

# What the framework refuses before a route is reached: code, English, Chinese.
_HTTP: Mapping[int, tuple[str, str, str]] = {
    400: (InvalidRequest.code, InvalidRequest.detail, InvalidRequest.detail_zh),
    404: ("not_found", "There is nothing at this address.", "地址不存在"),
    405: ("method_not_allowed", "This address does not know this method.", "不支持的请求方法"),
    413: ("body_too_large", "The body is larger than 64 KiB.", "请求体超过 64 KiB"),
    415: ("unsupported_media_type", "Send the body as application/json.", "请以 application/json 发送请求体"),
}


def exception_handlers() -> ExceptionHandlersMap:
    """Return the handlers of the whole application."""
    return {
        PaybellError: _paybell_error,
        HTTPException: _http_exception,
        Exception: _bug,
    }


def problem(
    request: Request[Any, Any, Any] | None,
    *,
    status: int,
    code: str,
    detail: tuple[str, str],
    extensions: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[bytes]:
    """Return a problem document; ``detail`` is English and Chinese."""
    chinese = request is not None and _prefers_chinese(request.headers.get("accept-language", ""))
    document = {
        "type": f"urn:paybell:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "code": code,
        "detail": detail[chinese],
    } | {name: _plain(value) for name, value in (extensions or {}).items()}
    return Response(
        msgspec.json.encode(document),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers={"Content-Language": "zh" if chinese else "en", **(headers or {})},
    )


def _paybell_error(request: Request[Any, Any, Any], error: PaybellError) -> Response[bytes]:
    if not isinstance(error, Refused | Unavailable):
        return _bug(request, error)
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="paybell"'
    return problem(
        request,
        status=error.status,
        code=error.code,
        detail=(error.message or error.detail, error.detail_zh),
        extensions=error.extensions,
        headers=headers,
    )


def _http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if isinstance(error, ValidationException) or error.status_code == InvalidRequest.status:
        return _paybell_error(request, _invalid(error))
    status = error.status_code
    code, english, chinese = _HTTP.get(status, ("refused", Refused.detail, Refused.detail_zh))
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return problem(request, status=status, code=code, detail=(english, chinese), headers=headers)


def _invalid(error: HTTPException) -> InvalidRequest:
    """Say which member is wrong and why, as the decoder found it; never its value."""
    extra = error.extra if isinstance(error.extra, list) else []
    first = extra[0] if extra and isinstance(extra[0], dict) else {}
    key, message = str(first.get("key", "")), str(first.get("message", ""))
    if key in ("amount", "totalFee"):
        return InvalidAmount(field=key)
    if key == "currency":
        return UnknownCurrency(field=key)
    text = f"{message} ({key})." if key else f"{message}."
    return InvalidRequest(text if message else None, **({"field": key} if key else {}))


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("request_failed", path=request.url.path, exc_info=error)
    detail = (PaybellError.detail, PaybellError.detail_zh)
    return problem(request, status=500, code=PaybellError.code, detail=detail)


def _prefers_chinese(accept_language: str) -> bool:
    """RFC 9110 section 12.5.4: the language with the highest weight; the first of equals."""
    best, weight = "en", 0.0
    for part in accept_language[:200].split(","):
        tag, _, parameter = part.strip().partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        if quality > weight and tag[:2].lower() in ("zh", "en"):
            best, weight = tag[:2].lower(), quality
    return best == "zh"


def _plain(value: object) -> object:
    return rfc3339(value) if isinstance(value, datetime) else value
