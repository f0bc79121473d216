"""The settings of the comparison of both sides."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from paybell.errors import Misconfigured
from paybell.messaging.settings import MessagingSettings

_DAY_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class ReconciliationSettings(MessagingSettings):
    """How often both sides are compared, and how far back."""

    reconcile_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="How often the ops role compares pay orders and orders; 0: never.",
        ),
    ] = 60.0
    reconcile_window_seconds: Annotated[
        int,
        Meta(ge=60, le=2_592_000, description="How far back each of these comparisons looks, in seconds."),
    ] = 3600

    def check(self) -> None:
        """Check that listeners know every event that a comparison may publish again.

        Raises:
            Misconfigured: they forget some before.
        """
        super().check()
        if self.inbox_days * _DAY_SECONDS < self.reconcile_window_seconds:
            raise Misconfigured(
                "PAYBELL_INBOX_DAYS must cover PAYBELL_RECONCILE_WINDOW_SECONDS: so long events may come "
                "again."
            )
