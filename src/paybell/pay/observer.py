"""What is worth counting about paying; the runtime connects it to the metrics."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext


class PayObserver:
    """Watches settlement; this one looks away."""

    def batch(self, traceparents: Sequence[str]) -> AbstractContextManager[object]:
        """Surround the settlement of a batch of requests with these trace contexts."""
        del traceparents
        return nullcontext()

    def payment(self, refusal: Exception | None) -> None:
        """Hear of one payment's outcome."""
