"""What is refused before a service is asked: the form of a request, its address, its size."""

from paybell.errors import InvalidRequest, Refused, Unavailable


class MalformedJson(InvalidRequest):
    """The body is not JSON (RFC 8259), or not UTF-8."""

    code = "malformed_json"
    detail = "The body is not valid JSON in UTF-8."


class MissingField(InvalidRequest):
    """A member of the body, or a query parameter, that is needed is not there; ``field`` names it."""

    code = "missing_field"
    detail = "Something the request needs is missing."


class UnknownField(InvalidRequest):
    """The body has a member, or the query a parameter, nobody knows: better refused than misunderstood."""

    code = "unknown_field"
    detail = "The request has a member or parameter that is not documented."


class DuplicateField(InvalidRequest):
    """A member stands in the body twice, and readers differ in which of the two counts."""

    code = "duplicate_field"
    detail = "A member stands in the body twice."


class InvalidText(InvalidRequest):
    """Text for people holds nothing that is no text."""

    code = "invalid_text"
    detail = "Text must not hold control characters or unpaired surrogates."


class NotFound(Refused):
    """There is no such address."""

    code = "not_found"
    detail = "There is nothing at this address."


class MethodNotAllowed(Refused):
    """The address knows other methods; the ``Allow`` header names them."""

    code = "method_not_allowed"
    detail = "This address does not know this method."


class BodyTooLarge(Refused):
    """No body of ours comes near 64 KiB; one that names many things may have 512 KiB."""

    code = "body_too_large"
    detail = "The body is larger than 64 KiB; 512 KiB where it holds many pay orders."


class TooManyStreams(Refused):
    """One caller leaves room for the others."""

    code = "too_many_streams"
    detail = "This caller has 32 event streams open already; close some of them first."


class NotReady(Unavailable):
    """A part this process needs is not there; ``checks`` says which."""

    code = "not_ready"
    detail = "Not everything this service needs is there; see checks."


class UnsupportedMediaType(Refused):
    """Bodies are JSON and say so."""

    code = "unsupported_media_type"
    detail = "Send the body as application/json."


class MalformedRequest(Refused):
    """What came is not HTTP/1.1."""

    code = "malformed_request"
    detail = "This is not a request of HTTP/1.1."


class RequestTimeout(Refused):
    """The rest of a request did not come in time."""

    code = "request_timeout"
    detail = "The request was not complete in time."


class RequestTooLong(Refused):
    """No address of ours comes near 8 KiB."""

    code = "request_too_long"
    detail = "The request line is longer than 8 KiB."


class HeadersTooLarge(Refused):
    """No request of ours has so many headers, or so long ones."""

    code = "headers_too_large"
    detail = "The request has more than 100 headers, or more than 16 KiB of them."


class TooManyConnections(Unavailable):
    """Another client would leave this process without descriptors for its databases."""

    code = "too_many_connections"
    detail = "Too many clients are connected; try again after the time in Retry-After."
