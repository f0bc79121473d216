"""OpenTelemetry traces: a payment's way from its request to its order in one trace.

A request's span is the parent of everything that is done for it later, wherever that is: its context
travels in the outbox row and in the messages' ``traceparent`` header (W3C Trace Context). Where a batch
joins many payments, the batch has a span of its own, linked with each of theirs.

Off unless the standard variables name a collector (``OTEL_EXPORTER_OTLP_ENDPOINT`` or
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``); then nothing here is imported or called.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from paybell.errors import Misconfigured
from paybell.telemetry.observers import Observer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# A collector that is away must not hold up the end of a process.
_FLUSH_SECONDS = 2.0
# What a span may link to; the others still link to it.
_LINKS_MAX = 128
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
_ID = re.compile(r"(?<=/)[^/]*[0-9][^/]*(?=/|$)")
_UNTRACED = ("/healthz", "/readyz", "/metrics", "/pages/", "/schema")

Asgi = Callable[[Any, Any, Any], Any]


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether the standard variables ask for traces."""
    off = (
        environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environ.get(name) for name in _ENDPOINTS)


class Traces(Observer):
    """Makes spans and sends them by OTLP over HTTP; the standard variables say how many and where."""

    def __init__(self) -> None:
        """Get ready to send.

        Raises:
            Misconfigured: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry import trace  # noqa: PLC0415
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise Misconfigured(
                "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, but OpenTelemetry is not installed: "
                "install it with pip install 'paybell[otel]', or unset the variable."
            ) from error

        self._api = trace
        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "paybell")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("paybell")

    def close(self) -> None:
        """Send what is left, for a bounded time."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(_FLUSH_SECONDS)

    # Requests ----------------------------------------------------------------------------------

    def around(self, app: Asgi) -> Asgi:
        """Return an ASGI application in which each request has a span and sees it as its caller's."""

        async def traced(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
                await app(scope, receive, send)
                return
            with self._request(scope) as (headers, answered):

                async def note(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        answered(message["status"])
                    await send(message)

                await app({**scope, "headers": headers}, receive, note)

        return traced

    @contextmanager
    def _request(self, scope: Any) -> Iterator[tuple[list[tuple[bytes, bytes]], Callable[[int], None]]]:
        given = next(
            (value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), ""
        )
        name = f"{scope['method']} {_ID.sub('{id}', scope['path'])}"
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        span = self._tracer.start_span(
            name, self._context(given), self._api.SpanKind.SERVER, attributes=attributes
        )

        def answered(status: int) -> None:
            span.set_attribute("http.response.status_code", status)
            if status >= 500:  # noqa: PLR2004 - as OpenTelemetry's semantic conventions for HTTP say
                span.set_status(self._api.StatusCode.ERROR)

        own = _text(span.get_span_context()).encode()
        others = [(name, value) for name, value in scope["headers"] if name != b"traceparent"]
        try:
            yield [*others, (b"traceparent", own)], answered
        finally:
            span.end()

    # Batches -----------------------------------------------------------------------------------

    def settling(self, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """Trace one settlement."""
        return self._batch("settle", "INTERNAL", traceparents, {})

    def publishing(self, traceparents: Sequence[str], messages: int) -> AbstractContextManager[object]:
        """Trace one batch from sending to confirms."""
        del messages
        return self._batch("publish", "PRODUCER", traceparents, {"messaging.system": "rabbitmq"})

    def applying(self, queue: str, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """Trace what a listener does with deliveries, from arrival to commit."""
        attributes = {"messaging.system": "rabbitmq", "messaging.destination.name": queue}
        return self._batch(f"apply {queue}", "CONSUMER", traceparents, attributes)

    @contextmanager
    def _batch(
        self, name: str, kind: str, traceparents: Sequence[str], attributes: Mapping[str, str]
    ) -> Iterator[None]:
        """Give each of these contexts that is sampled a span of this name, and the batch one of its own.

        Args:
            name: of the spans.
            kind: ``INTERNAL``, ``PRODUCER`` or ``CONSUMER``.
            traceparents: of the requests that are worked on together.
            attributes: of all of the spans.
        """
        contexts = [context for text in traceparents if (context := self._sampled(text)) is not None]
        if not contexts:
            yield
            return
        links = [self._api.Link(context) for context in contexts[:_LINKS_MAX]]
        started, span_kind = time.time_ns(), self._api.SpanKind[kind]
        size = {"messaging.batch.message_count": len(traceparents)}
        batch = self._tracer.start_span(
            f"{name} batch",
            self._api.set_span_in_context(self._api.INVALID_SPAN),
            span_kind,
            attributes={**attributes, **size},
            links=links,
            start_time=started,
        )
        try:
            yield
        except BaseException as error:
            batch.set_status(self._api.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            ended = time.time_ns()
            batch.end(ended)
            back = [self._api.Link(batch.get_span_context())]
            for context in contexts:
                parent = self._api.set_span_in_context(self._api.NonRecordingSpan(context))
                self._tracer.start_span(
                    name, parent, span_kind, attributes=attributes, links=back, start_time=started
                ).end(ended)

    def _sampled(self, traceparent: str) -> Any:
        context = self._read(traceparent)
        return context if context is not None and context.trace_flags.sampled else None

    def _read(self, traceparent: str) -> Any:
        match = _TRACEPARENT.match(traceparent)
        if match is None:
            return None
        trace_id, span_id, flags = (int(part, 16) for part in match.groups())
        return self._api.SpanContext(
            trace_id, span_id, is_remote=True, trace_flags=self._api.TraceFlags(flags & 1)
        )

    def _context(self, traceparent: str) -> Any:
        context = self._read(traceparent)
        span = self._api.INVALID_SPAN if context is None else self._api.NonRecordingSpan(context)
        return self._api.set_span_in_context(span)


def _text(context: Any) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
