"""What Paybell counts, for Prometheus; `docs/operations.md` lists the same."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from paybell.telemetry.observers import Observer

# prometheus_client's own: a folder in which the workers of one port add their counts up.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# There from the start: a rate needs a zero to rise from.
_PAYMENTS = (
    "succeeded",
    "insufficient_balance",
    "wrong_pay_password",
    "pay_password_locked",
    "not_the_payer",
    "pay_order_closed",
    "database_busy",
    "database_unavailable",
    "outcome_unknown",
    "internal_error",
)
_CONFIRMS = ("confirmed", "returned", "refused", "unknown")
_APPLIED = ("applied", "duplicate", "ignored", "failed", "dead")
_NOTICES = ("taken", "refused", "waits", "turned_away")
# Why a connection is ended from our side; the codes of `paybell.web.errors`, and a client that reads nothing.
_CONNECTIONS_REFUSED = (
    "malformed_request",
    "request_timeout",
    "request_too_long",
    "headers_too_large",
    "too_many_connections",
    "unread_answers",
)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# What is read from a database when somebody asks; a process shows what it can read, and nothing else.
_MEASURED = {
    "role": ("1 for each role of the process.", ("role",)),
    "reconcile_differences": ("Purchases the last comparison found pay and trade to differ on.", ()),
    "outbox_pending": ("Events not yet confirmed (at most 100,000).", ()),
    "outbox_oldest_age_seconds": ("Age of the oldest such event.", ()),
    "refused_events": (
        "Events set aside because RabbitMQ refuses a message (at most 100,000).",
        ("exchange", "routing_key"),
    ),
    "attempts": ("Attempts to pay by a channel that are not final, or not given back.", ("channel", "state")),
    "disputes": ("Payments that their buyers dispute, to be answered at the channel.", ("channel",)),
    "database_ready": ("1 while a database takes payments.", ("database",)),
    "oldest_snapshot_seconds": ("How long the oldest snapshot of a database is held.", ("database",)),
    "failed_deliveries": ("Deliveries that could not be applied (at most 100,000 of each).", ("state",)),
}


class Measured(NamedTuple):
    """A value of one of the metrics that are read when somebody asks, with its labels in order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


def forget_worker(pid: int, folder: str) -> None:
    """Leave a dead worker's gauges out of what the workers of this folder add up to."""
    multiprocess.mark_process_dead(pid, folder)


class Metrics(Observer):
    """One process's counters, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.payments = self._counter("payments", "Payments tried, by outcome.", outcome=_PAYMENTS)
        self.settle_batch = self._histogram("settle_batch_size", "Payments in one transaction.", _BATCH_SIZES)
        self.settle_seconds = self._histogram("settle_seconds", "Time of one settlement.", _SECONDS)
        self.in_flight = self._gauge("confirms_in_flight", "Messages sent and not yet confirmed.")
        self.messages = self._counter(
            "published_messages", "Messages published, by answer.", confirm=_CONFIRMS
        )
        self.lease_lost = self._counter("outbox_leases_lost", "Events another relay took over meanwhile.")
        self.listened = self._counter(
            "listener_events", "Events a listener got, by what it did.", outcome=_APPLIED
        )
        self.listener_batch = self._histogram(
            "listener_batch_size", "Deliveries applied at once.", _BATCH_SIZES
        )
        self.notices = self._counter(
            "channel_notices", "Notices of channels, by what was done with them.", outcome=_NOTICES
        )
        self.connections = self._gauge("http_connections", "Clients connected.")
        self.connections_refused = self._counter(
            "http_connections_refused", "Connections ended by a bound.", reason=_CONNECTIONS_REFUSED
        )

    def _counter(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        counter = Counter(f"paybell_{name}", text, tuple(labels), registry=self.registry)
        for label, values in labels.items():
            for value in values:
                counter.labels(**{label: value})
        return counter

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"paybell_{name}", text, registry=self.registry, multiprocess_mode="livesum")

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"paybell_{name}", text, buckets=buckets, registry=self.registry)

    def settle_time(self) -> tuple[float, float]:
        """Return how many settlements this process made and the seconds they took together."""
        found = {
            sample.name: sample.value for metric in self.settle_seconds.collect() for sample in metric.samples
        }
        return found.get("paybell_settle_seconds_count", 0.0), found.get("paybell_settle_seconds_sum", 0.0)

    def _collected(self) -> CollectorRegistry:
        """With several workers, of all of them."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return self.registry
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return registry

    def families(self, measured: Sequence[Measured] = ()) -> Iterator[Metric]:
        """Yield every metric: what was counted (by all workers, if several), and what was measured."""
        yield from self._collected().collect()
        for name, (text, labels) in _MEASURED.items():
            family = GaugeMetricFamily(f"paybell_{name}", text, labels=labels)
            for one in measured:
                if one.name == name:
                    family.add_metric(one.labels, one.value)
            yield family

    def exposition(self, measured: Sequence[Measured] = ()) -> bytes:
        """Return the same in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(_Shown(self.families(measured)))
        return generate_latest(registry)

    @contextmanager
    def settling(self, traceparents: Sequence[str]) -> Iterator[None]:
        """Measure one settlement."""
        self.settle_batch.observe(len(traceparents))
        started = time.perf_counter()
        yield
        self.settle_seconds.observe(time.perf_counter() - started)

    def settled(self, outcome: str) -> None:
        """Count one payment."""
        self.payments.labels(outcome).inc()

    @contextmanager
    def publishing(self, traceparents: Sequence[str], messages: int) -> Iterator[None]:
        """Follow what waits for confirms."""
        del traceparents
        self.in_flight.inc(messages)
        try:
            yield
        finally:
            self.in_flight.dec(messages)

    def published(self, confirms: Mapping[str, int]) -> None:
        """Count a batch's answers."""
        for confirm, count in confirms.items():
            self.messages.labels(confirm).inc(count)

    def leases_lost(self, events: int) -> None:
        """Count what another relay took over."""
        self.lease_lost.inc(events)

    def applied(self, events: int, duplicates: int) -> None:
        """Count a committed batch."""
        self.listener_batch.observe(events + duplicates)
        self.listened.labels("applied").inc(events)
        self.listened.labels("duplicate").inc(duplicates)

    def ignored(self, events: int) -> None:
        """Count events of others."""
        self.listened.labels("ignored").inc(events)

    def failed(self, *, dead: bool) -> None:
        """Count one failure."""
        self.listened.labels("dead" if dead else "failed").inc()

    def noticed(self, outcome: str) -> None:
        """Count one notice."""
        self.notices.labels(outcome).inc()


class _Shown(Collector):
    """Metrics as they are at this moment."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
