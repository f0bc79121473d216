"""What Paybell counts, for Prometheus; `docs/operations.md` lists the same."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from paybell.telemetry.observers import Observer

_GaugeMode = Literal["livemostrecent", "livesum"]
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
)
_CONFIRMS = ("confirmed", "returned", "refused", "unknown")
_APPLIED = ("applied", "duplicate", "ignored", "failed", "dead")
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


def forget_worker(pid: int, folder: str) -> None:
    """Leave a dead worker's gauges out of what the workers of this folder add up to."""
    multiprocess.mark_process_dead(pid, folder)


class Metrics(Observer):
    """One process's counters, in a registry of its own."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        self.payments = self._counter("payments", "Payments tried, by outcome.", outcome=_PAYMENTS)
        self.settle_batch = self._histogram("settle_batch_size", "Payments in one transaction.", _BATCH_SIZES)
        self.settle_seconds = self._histogram("settle_seconds", "Time of one settlement.", _SECONDS)
        self.differences = self._gauge(
            "reconcile_differences", "Purchases the last comparison found pay and trade to differ on."
        )
        self.outbox_pending = self._gauge("outbox_pending", "Events not yet confirmed (at most 100,000).")
        self.outbox_oldest = self._gauge("outbox_oldest_age_seconds", "Age of the oldest such event.")
        self.in_flight = self._gauge(
            "confirms_in_flight", "Messages sent and not yet confirmed.", mode="livesum"
        )
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
        self.database_ready = self._gauge("database_ready", "1 while a database takes payments.", "database")
        self.connections = self._gauge("http_connections", "Clients connected.", mode="livesum")
        self.connections_refused = self._counter(
            "http_connections_refused", "Connections ended by a bound.", reason=_CONNECTIONS_REFUSED
        )
        self.failures = self._gauge("failed_deliveries", "Deliveries that could not be applied.", "state")

    def _counter(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        counter = Counter(f"paybell_{name}", text, tuple(labels), registry=self.registry)
        for label, values in labels.items():
            for value in values:
                counter.labels(**{label: value})
        return counter

    def _gauge(self, name: str, text: str, *labels: str, mode: _GaugeMode = "livemostrecent") -> Gauge:
        return Gauge(f"paybell_{name}", text, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"paybell_{name}", text, buckets=buckets, registry=self.registry)

    def settle_time(self) -> tuple[float, float]:
        """Return how many settlements there were and the seconds they took together."""
        found = {
            sample.name: sample.value
            for metric in self._collected().collect()
            if metric.name == "paybell_settle_seconds"
            for sample in metric.samples
        }
        return found.get("paybell_settle_seconds_count", 0.0), found.get("paybell_settle_seconds_sum", 0.0)

    def last_differences(self) -> int:
        """Return how many differences the last comparison of this process found."""
        return int(self.registry.get_sample_value("paybell_reconcile_differences") or 0)

    def _collected(self) -> CollectorRegistry:
        """With several workers, of all of them."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return self.registry
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return registry

    def exposition(self) -> bytes:
        """Return all of it in Prometheus' text format; with several workers, of all of them."""
        return generate_latest(self._collected())

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

    def published(self, confirms: Mapping[str, int], leases_lost: int) -> None:
        """Count a batch's answers."""
        for confirm, count in confirms.items():
            self.messages.labels(confirm).inc(count)
        self.lease_lost.inc(leases_lost)

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
