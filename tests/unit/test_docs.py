"""The documentation says what the code does."""

import ast
import json
import re
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import cyclopts
import msgspec
import pytest
from generate import PAGES
from notebook import event_members

import paybell
from paybell.cli import app
from paybell.messaging.events import (
    EVENT_TYPES,
    PAY_SUCCESS,
    OutboxEvent,
    PayOrderData,
    PayOrderEvent,
    topology,
    trade_topology,
)
from paybell.messaging.signatures import EventKeys
from paybell.messaging.wire import Wire
from paybell.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_those_of_the_code(name: str) -> None:
    """Run ``make format`` after changing what they are made from."""
    assert (DOCS / name).read_text() == PAGES[name]()


def test_the_asyncapi_document_describes_what_is_sent() -> None:
    """Its references lead somewhere, and its schema is that of the class that is sent."""
    document = json.loads((DOCS / "asyncapi.json").read_text())
    references = re.findall(r'"\$ref": "#/([^"]+)"', (DOCS / "asyncapi.json").read_text())

    for reference in references:
        place = document
        for step in reference.split("/"):
            place = place[step]
    assert document["asyncapi"] == "3.1.0"
    body, key = msgspec.json.encode(event_members("1001-2")), EventKeys(token_secret="-")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    event = OutboxEvent(1, "1001-2", PAY_SUCCESS, "5001", body, now, "")
    for name, message in zip(("number", "event"), Wire(key, "text/x-json").messages(event, "1"), strict=True):
        headers = document["components"]["messages"][name]["headers"]
        assert set(headers["required"]) == set(headers["properties"]) == set(message.headers)
    examples = {name: message["examples"][0] for name, message in document["components"]["messages"].items()}
    signed = msgspec.json.decode(msgspec.json.encode(examples["event"]["payload"]), type=PayOrderEvent)
    assert signed.data.biz_order_no == str(examples["number"]["payload"])
    for schema in (PayOrderEvent, PayOrderData):
        required = set(document["components"]["schemas"][schema.__name__]["required"])
        assert required == set(schema.__struct_encode_fields__) - {"traceparent"}
    assert {channel["address"] for channel in document["channels"].values()} == set(EVENT_TYPES)


def test_every_log_event_is_documented() -> None:
    """Read from the calls themselves: the first argument of a logger's method."""
    operations = (DOCS / "operations.md").read_text()
    calls = re.compile(r'\blog\.(?:debug|info|warning|error|exception)\(\s*"(\w+)"')
    events = {name for path in (ROOT / "src").rglob("*.py") for name in calls.findall(path.read_text())}

    assert len(events) > 10
    assert [name for name in sorted(events) if f"`{name}`" not in operations] == []


def test_every_error_code_is_documented() -> None:
    api = (DOCS / "api.md").read_text()
    refusals = re.findall(r"^\| [45]\d\d \| `(\w+)`", (DOCS / "errors.md").read_text(), re.MULTILINE)
    general = {"internal_error", "refused", "unavailable", "broker_unavailable"}

    missing = [code for code in refusals if f"`{code}`" not in api and code not in general]

    assert len(refusals) > 20
    assert missing == []


def test_every_metric_is_documented() -> None:
    operations = (DOCS / "operations.md").read_text()
    text = Metrics().exposition().decode()
    exposed = set(re.findall(r"^# TYPE (paybell_\w+?)(?:_created)? ", text, re.MULTILINE))

    assert [name for name in sorted(exposed) if f"`{name}" not in operations] == []


def test_every_promise_names_tests_that_exist() -> None:
    """A promise whose test was renamed or removed is none."""
    guarantees = (DOCS / "guarantees.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", guarantees)

    assert len(named) >= 9
    for path, test in named:
        tree = ast.parse((ROOT / path).read_text())
        functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert test in functions, f"{path}::{test}"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} → {target}"


def test_every_command_that_a_page_names_can_be_typed() -> None:
    """Each exists with these options; words in capitals stand for something, the rest may be left out."""
    pages = [ROOT / "README.md", ROOT / "README.zh-CN.md", *set(DOCS.rglob("*.md")) - {DOCS / "commands.md"}]
    named = {
        command
        for page in pages
        for command in re.findall(
            r"(?:`|^ *)(?:\.venv/bin/)?paybell ((?!pay\.)[^`#>&\n]+)", page.read_text(), re.MULTILINE
        )
    }

    assert len(named) > 30
    for command in named:
        words = [re.sub(r"^[A-Z]+$", "1", word) for word in shlex.split(command)]
        with suppress(cyclopts.MissingArgumentError):
            app.parse_args(words, exit_on_error=False, print_error=False)


def test_the_wire_contract_is_documented() -> None:
    events = (DOCS / "events.md").read_text()
    both = (topology(), trade_topology())

    names = [exchange.name for declared in both for exchange in declared.exchanges]
    names += [binding.queue.name for declared in both for binding in declared.bindings]

    assert all(f"`{name}`" in events for name in names)


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{paybell.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f'version = "{paybell.__version__}"' in (ROOT / "pyproject.toml").read_text()
