"""What is worth counting about paying; the runtime connects it to the metrics."""

from contextlib import AbstractContextManager, nullcontext


class PayObserver:
    """Watches settlement; this one looks away."""

    def batch(self, size: int) -> AbstractContextManager[object]:
        """Surround the settlement of a batch of this many requests."""
        del size
        return nullcontext()

    def payment(self, refusal: Exception | None) -> None:
        """Hear of one payment's outcome."""
