"""What operators are refused."""

from paybell.errors import Refused


class NothingToPublish(Refused):
    """The pay order is open: nothing has happened to it that others would be notified of."""

    code = "nothing_to_publish"
    detail = "This pay order is neither paid nor closed, so it has no event to publish again."


class FailureNotFound(Refused):
    """There is no such failed delivery."""

    code = "failure_not_found"
    detail = "There is no such failed delivery; it was applied meanwhile, or never was."
