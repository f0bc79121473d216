"""What an author of a listener imports, and is told when something is wrong with it."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import paybell
from paybell import Binding, Exchange, PayOrderEvent, Queue, Transaction, listener
from paybell.messaging import kit, listening, runner
from paybell.telemetry.observers import ListenerObserver

BINDING = Binding(Queue("points"), Exchange("pay.events", "topic"), "pay.success")


def test_everything_for_a_listener_comes_from_one_place() -> None:
    assert set(paybell.__all__) == {*kit.__all__, "__version__"}
    assert {name: getattr(paybell, name) for name in kit.__all__} == {
        name: getattr(kit, name) for name in kit.__all__
    }
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        paybell.nothing  # type: ignore[attr-defined]  # noqa: B018 - it is asked for


def test_importing_the_package_loads_no_driver() -> None:
    """Commands import it, and most of them need none."""
    loaded = "import sys, paybell; print(*{'asyncpg', 'pika', 'paybell.messaging'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)  # noqa: S603

    assert said.stdout.strip() == ""


def _plain(events: Sequence[PayOrderEvent], tx: Transaction) -> None:
    del events, tx


async def _without_annotation(events, tx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    del events, tx


async def _one(event: PayOrderEvent, tx: Transaction) -> None:
    del event, tx


async def _of_texts(events: Sequence[str], tx: Transaction) -> None:
    del events, tx


async def _alone(events: Sequence[PayOrderEvent]) -> None:
    del events


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (_plain, "_plain must be an async function: write async def"),
        (_without_annotation, r"must say which events it takes: async def _without_annotation\(events: Seq"),
        (_one, "must say which events it takes"),
        (_of_texts, "must say which events it takes"),
        (_alone, "must say which events it takes"),
    ],
)
def test_what_is_no_listener_is_refused_when_it_is_registered(handler: Callable[..., Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        listener(BINDING)(handler)


@pytest.mark.parametrize(
    ("old", "name", "now"),
    [
        ("listening", "listener", "listener"),
        ("listening", "Rejected", "listener"),
        ("listening", "Verdicts", "listener"),
        ("runner", "ListenerRunner", "listener_runner"),
        ("runner", "RETRY_BATCH_MAX", "listener_runner"),
        ("runner", "HANDLER_TIMEOUT_SECONDS", "event_processor"),
    ],
)
def test_an_old_import_path_works_for_one_release_and_warns(old: str, name: str, now: str) -> None:
    modules = {"listening": listening, "runner": runner}
    with pytest.warns(DeprecationWarning, match=rf"is paybell\.messaging\.{now}\.{name} now") as warned:
        found = getattr(modules[old], name)

    assert found is getattr(sys.modules[f"paybell.messaging.{now}"], name)
    assert warned[0].filename == __file__


def test_the_observer_of_listeners_is_found_where_it_was() -> None:
    with pytest.warns(DeprecationWarning, match=r"is paybell\.telemetry\.observers\.ListenerObserver now"):
        assert runner.ListenerObserver is ListenerObserver
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        runner.nothing  # noqa: B018 - it is asked for
