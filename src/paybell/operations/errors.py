"""What operators are refused."""

from paybell.errors import Refused


class FailureNotFound(Refused):
    """There is no such failed delivery."""

    code = "failure_not_found"
    detail = "There is no such failed delivery; it was applied meanwhile, or never was."
