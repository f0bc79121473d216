"""The settings of messaging: the broker's topology, signatures, relay, listeners, and what they remember."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from paybell.environment.common import CommonSettings, Text
from paybell.errors import Misconfigured
from paybell.messaging.broker_url import broker_places

# What a short string of AMQP 0-9-1 (4.2.5.3) holds.
SHORT_STRING_BYTES = 255


@dataclass(frozen=True, kw_only=True)
class MessagingSettings(CommonSettings):
    """What publishers and listeners are set to."""

    queue_type: Annotated[
        Literal["classic", "quorum"],
        Meta(description="Type of trade's three queues, sent as x-queue-type when they are declared."),
    ] = "classic"
    broker_declare: Annotated[
        Literal["declare", "look"],
        Meta(
            description="look: exchanges and queues are only looked for and used as they are, whatever their "
            "arguments; for queues of others, and a broker user without the right to configure."
        ),
    ] = "declare"
    article_queue: Annotated[
        Literal["declare", "leave"],
        Meta(
            description="leave: relays do not declare trade.pay.success.queue; for shops that bind their own "
            "queue to pay.direct. The role trade needs it and declares it always."
        ),
    ] = "declare"
    legacy_content_type: Annotated[
        Text,
        Meta(description="Content type on pay.success; text/x-json is read right by both Spring converters."),
    ] = "text/x-json"
    event_keys: Annotated[
        str,
        Meta(
            description="Keys that events are signed and verified with, as id:secret of at least 32 bytes, "
            "newest first, separated by commas; empty: a key derived from PAYBELL_JWT_SECRET."
        ),
    ] = ""
    event_key_of_tokens: Annotated[
        Literal["accepted", "refused"],
        Meta(
            description="Whether what the key derived from PAYBELL_JWT_SECRET has signed is believed, beside "
            "PAYBELL_EVENT_KEYS."
        ),
    ] = "accepted"
    relay_batch_max: Annotated[
        int, Meta(ge=1, le=4096, description="Most events claimed and published at once.")
    ] = 500
    relay_lease_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="How long a relay may hold events; at least twice the publish deadline.",
        ),
    ] = 30.0
    publish_deadline_seconds: Annotated[
        float, Meta(gt=0, le=600, description="After this a missing confirm means unknown, in seconds.")
    ] = 10.0
    listener_batch_max: Annotated[
        int, Meta(ge=1, le=4096, description="Most deliveries applied in one transaction.")
    ] = 500
    inbox_days: Annotated[
        int,
        Meta(ge=1, le=3650, description="How long trade remembers events; not less than dead letters."),
    ] = 90
    dead_letter_days: Annotated[
        int, Meta(ge=1, le=3650, description="How long dead letters are kept after an operator gave them up.")
    ] = 60

    def check(self) -> None:
        """Check the lease, what listeners remember, the content type and the broker's URL.

        Raises:
            Misconfigured: one of them cannot be.
        """
        super().check()
        if self.relay_lease_seconds < 2 * self.publish_deadline_seconds:
            raise Misconfigured(
                "PAYBELL_RELAY_LEASE_SECONDS must be at least twice PAYBELL_PUBLISH_DEADLINE_SECONDS."
            )
        if self.inbox_days < self.dead_letter_days:
            raise Misconfigured(
                "PAYBELL_INBOX_DAYS must be at least PAYBELL_DEAD_LETTER_DAYS: what a listener has forgotten "
                "a replay would apply twice."
            )
        if len(self.legacy_content_type.encode()) > SHORT_STRING_BYTES:
            raise Misconfigured(
                f"PAYBELL_LEGACY_CONTENT_TYPE must have at most {SHORT_STRING_BYTES} bytes, as AMQP allows."
            )
        if not self.broker_url.startswith("local:"):
            broker_places(self.broker_url)
