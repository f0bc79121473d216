"""W3C Trace Context: what leads through all logs and systems to one request."""

import re

from paybell.ids import new_traceparent

# Version 00: lower-case hex, and neither id all zero.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


def trace_from(given: str) -> str:
    """Return a W3C trace context as it was given, or a new one if it is none."""
    return given if _TRACEPARENT.match(given) else new_traceparent()


def trace_id_of(traceparent: str) -> str:
    """Return the trace's id in a W3C trace context; empty if it is none."""
    return traceparent[3:35] if _TRACEPARENT.match(traceparent) else ""
