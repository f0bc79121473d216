"""What is refused about an Idempotency-Key."""

from paybell.errors import InvalidRequest, Refused


class IdempotencyKeyMissing(InvalidRequest):
    """This request moves money and needs the caller's own key."""

    code = "idempotency_key_missing"
    detail = "Send an Idempotency-Key header of 1 to 255 printable ASCII characters."


class IdempotencyKeyInUse(Refused):
    """A request with this key is being worked on right now."""

    code = "idempotency_key_in_use"
    detail = "A request with this Idempotency-Key is being worked on; try again shortly."


class IdempotencyKeyReused(Refused):
    """The key was used for another request."""

    code = "idempotency_key_reused"
    detail = "This Idempotency-Key was used for another request; use a new key."
