"""What is stuck or blocked, decided from one sample: pure. The console has the words, in two languages."""

from collections.abc import Iterator, Sequence

from paybell.operations.samples import Sample, Trouble

# An event is published within milliseconds, a deadline closed within two seconds.
OUTBOX_MOST_SECONDS = 30.0
OVERDUE_MOST_SECONDS = 10.0
# `paybell verify` reads a large ledger in some minutes.
SNAPSHOT_MOST_SECONDS = 900.0
# What listeners of a healthy system leave in a queue for longer than a moment.
QUEUE_MOST = 10_000


def troubles(sample: Sample, away: Sequence[str]) -> list[Trouble]:
    """Name what needs an operator, the worst first.

    Args:
        sample: how everything stands.
        away: parts that did not answer (``pay_database``, ``trade_database``, ``broker``), each perhaps
            with ``_refuses`` when it answered and refused.
    """
    return [Trouble("away", 0, part) for part in dict.fromkeys(away)] + [
        *_found(sample),
        *_old_snapshots(sample),
    ]


def _found(sample: Sample) -> Iterator[Trouble]:
    if (sample.outbox_oldest_seconds or 0) > OUTBOX_MOST_SECONDS:
        yield Trouble("outbox_old", sample.outbox_oldest_seconds or 0)
    for route in sample.refused or ():
        where = f"exchange {route.exchange}, routing key {route.routing_key}"
        yield Trouble("messages_refused", route.events, f"{where}: {route.detail}")
    yield from _of_queues(sample)
    if sample.dead_letters:
        yield Trouble("dead_letters", sample.dead_letters)
    if sample.differences:
        yield Trouble("differences", sample.differences)
    if sample.manual_attempts:
        yield Trouble("manual_attempts", sample.manual_attempts)
    if sample.not_given_back:
        yield Trouble("not_given_back", sample.not_given_back)
    if sample.attempts_differ:
        yield Trouble("attempts_differ", sample.attempts_differ)
    if sample.open_disputes:
        yield Trouble("disputes", sample.open_disputes)
    if (sample.overdue_seconds or 0) > OVERDUE_MOST_SECONDS:
        yield Trouble("overdue", sample.overdue_seconds or 0)


def _of_queues(sample: Sample) -> Iterator[Trouble]:
    for queue in sample.queues or ():
        if queue.consumers < 0:
            yield Trouble("queue_missing", 0, queue.name)
        elif not queue.consumers:
            yield Trouble("no_consumer", queue.ready, queue.name)
        elif queue.ready > QUEUE_MOST:
            yield Trouble("queue_long", queue.ready, queue.name)
        if queue.foreign:
            yield Trouble("foreign_consumers", queue.foreign, queue.name)


def _old_snapshots(sample: Sample) -> Iterator[Trouble]:
    if (sample.snapshot_seconds or 0) > SNAPSHOT_MOST_SECONDS:
        yield Trouble("old_snapshot", sample.snapshot_seconds or 0)
