"""Which broker the settings name."""

from typing import TypeAlias

from paybell.messaging.local import LocalBroker
from paybell.messaging.rabbitmq.broker import RabbitBroker
from paybell.messaging.settings import MessagingSettings

AnyBroker: TypeAlias = LocalBroker | RabbitBroker


def broker_of(settings: MessagingSettings) -> AnyBroker:
    """Return the broker, which connects when it is first used."""
    if settings.broker_url.startswith("local:"):
        return LocalBroker()
    return RabbitBroker(settings.broker_url, only_looks=settings.broker_declare == "look")
