"""What one look at the whole system finds: figures, queues, and what is wrong."""

from datetime import datetime

import msgspec


class Trouble(msgspec.Struct, frozen=True):
    """Something an operator should look at: a stable code, how bad in figures, and of which part."""

    code: str
    figure: float = 0
    part: str = ""


class QueueSample(msgspec.Struct, frozen=True):
    """A queue at the broker; ``consumers`` are -1 when there is no such queue, ``foreign`` those not ours."""

    name: str
    ready: int
    consumers: int
    foreign: int = 0


class RefusedSample(msgspec.Struct, frozen=True, rename="camel"):
    """Where RabbitMQ refuses messages, why, and how many events wait for it (at most 100,000)."""

    exchange: str
    routing_key: str
    detail: str
    events: int


class Sample(msgspec.Struct, frozen=True, rename="camel"):
    """How everything stands at a moment; what could not be found out is missing. Times in seconds."""

    at: datetime
    payments_per_second: float | None = None
    settle_seconds: float | None = None
    confirmed_seconds_50: float | None = None
    confirmed_seconds_99: float | None = None
    outbox_pending: int | None = None
    outbox_oldest_seconds: float | None = None
    overdue_seconds: float | None = None
    snapshot_seconds: float | None = None
    retries: int | None = None
    dead_letters: int | None = None
    differences: int | None = None
    manual_attempts: int | None = None
    open_disputes: int | None = None
    not_given_back: int | None = None
    attempts_differ: int | None = None
    queues: list[QueueSample] | None = None
    refused: list[RefusedSample] | None = None
    troubles: list[Trouble] = []
