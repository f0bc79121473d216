"""Write the pages that follow from code. Run by ``make format``; a test holds them to it."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from wire_reference import asyncapi_page, messages_page

from paybell.cli import app
from paybell.clock import SystemClock
from paybell.environment.reading import variable_of
from paybell.parts import Host, Parts
from paybell.pay.status import TRANSITIONS, PayStatus
from paybell.runtime import CONTEXTS
from paybell.serving.application import create_app
from paybell.settings import ROLES, Settings
from paybell.telemetry.metrics import Metrics
from paybell.tokens import Tokens

DOCS = Path(__file__).parent


# What is set first, first; each owner's settings stand apart in the code. What is not named here comes last.
SETTINGS_ORDER = """
    home host port metrics_port database_url trade_database_url database_connections http_connections
    broker_url queue_type broker_declare article_queue legacy_content_type
    jwt_secret pin_pepper seal_keys event_keys event_key_of_tokens
    merchant_id pay_url pay_url_plain_http order_ttl_seconds settle_batch_max
    relay_batch_max relay_lease_seconds publish_deadline_seconds listener_batch_max
    reconcile_seconds reconcile_window_seconds inbox_days dead_letter_days idempotency_days log_format log_level
"""


def settings_page() -> str:
    """Return one row for each setting: variable, form, default, meaning."""
    hints = get_type_hints(Settings, include_extras=True)
    places = {name: place for place, name in enumerate(SETTINGS_ORDER.split())}
    rows = []
    for field in sorted(fields(Settings), key=lambda field: places.get(field.name, len(places))):
        annotation = hints[field.name]
        description = next(meta.description for meta in annotation.__metadata__ if meta.description)
        default = str(field.default) or "(empty)"
        rows.append(f"| `{variable_of(field.name)}` | {_form(annotation)} | `{default}` | {description} |")
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables, read and checked at start; a wrong one is named in one sentence. `PAYBELL_X_FILE` instead of `PAYBELL_X` names a file that\nholds the value, as secrets are mounted. Generated from `paybell/settings`.",
            "",
            "| Variable | Form | Default | Meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _form(annotation: Any) -> str:
    inner, *metas = get_args(annotation)
    if choices := get_args(inner):
        return ", ".join(f"`{choice}`" for choice in choices if isinstance(choice, str)) or "text"
    name = {"int": "whole number", "float": "number", "str": "text", "Path": "folder"}[inner.__name__]
    bounds = [
        f"{word} {getattr(meta, attribute)}"
        for meta in metas
        for attribute, word in (("ge", "from"), ("gt", "above"), ("le", "to"))
        if getattr(meta, attribute) is not None
    ]
    return " ".join([name, *bounds])


def states_page() -> str:
    """Return the life of a pay order as a diagram, printed from the table that decides it."""
    arrows = [
        f"    {before.name} --> {after.name}: {event}" for (before, event), after in TRANSITIONS.items()
    ]
    codes = [f"| `{status.name}` | {status.value} |" for status in PayStatus]
    return "\n".join(
        [
            "# The life of a pay order",
            "",
            "Generated from the table in `pay/status.py`; what is not an arrow may not happen.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> WAIT_BUYER_PAY",
            *arrows,
            "```",
            "",
            "| Status | Code |",
            "|---|---|",
            *codes,
            "",
            "A deadline that has passed closes an order for paying even before its status says so: it is checked inside the paying",
            "transaction.",
            "",
        ]
    )


def commands_page() -> str:
    """Return every command with its arguments, as its own help says."""
    said = app.generate_docs(output_format="markdown", heading_level=1)
    exits = [
        "## Exit codes",
        "",
        "| Code | Meaning |",
        "|---|---|",
        "| 0 | done; for `verify`, `reconcile`, `doctor`, `demo` and `replay`: and everything is right |",
        "| 1 | refused or failed, in one sentence on stderr; or something is not right, and the output says what |",
        "| 2 | the command line is wrong |",
        "| 130 | interrupted (Ctrl-C); `serve` ends in order and with 0 |",
        "",
        "Results go to stdout, everything else to stderr; with `--json` the last line on stdout is one JSON value. Completion for bash,",
        "zsh and fish: `paybell --install-completion`.",
        "",
    ]
    return said.rstrip() + "\n\n" + "\n".join(exits)


def errors_page() -> str:
    """Return every code a request can be refused with."""
    return _errors(
        "# Errors",
        "[中文](zh/errors.md)",
        "Problem documents (RFC 9457) with these codes; [api.md](api.md) says what to make of them. Generated from the\ntables beside the routes (`problems.py`).",
        "| Status | Code | English | Chinese |",
    )


def chinese_errors_page() -> str:
    """Return the same for readers of Chinese."""
    return _errors(
        "# 错误码",
        "[English](../errors.md)",
        "错误以 RFC 9457 的形式返回，`code` 稳定不变，程序应以它为准；语言由请求头 `Accept-Language` 决定。如何处理见 [api.md](../api.md)。由路由旁的表（`problems.py`）生成。",
        "| 状态码 | 错误码 | 英文 | 中文 |",
    )


def _errors(*head: str) -> str:
    types = asyncio.run(_parts()).problems
    kinds = sorted(types, key=lambda kind: (types[kind].status, kind.code))
    rows = [
        f"| {types[kind].status} | `{kind.code}` | {kind.detail} | {types[kind].chinese} |" for kind in kinds
    ]
    return "\n\n".join(head) + "\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def metrics_page() -> str:
    """Return every metric with its labels."""
    rows = [
        f"| `{family.name}` | {family.type} | {family.documentation} |" for family in Metrics().families()
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            "What `/metrics` shows; [operations.md](operations.md) says what to alert on. Generated from `telemetry/metrics.py`. Counters end in",
            "`_total`, histograms in `_bucket`, `_sum` and `_count`.",
            "",
            "| Metric | Kind | Meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def http_page() -> str:
    """Return every route with what it may refuse, from the OpenAPI document."""
    document = _openapi()
    parts = [
        "# HTTP routes",
        "",
        "Generated from the OpenAPI document, which a running service has at `/schema`.",
        "",
    ]
    for path, item in sorted(document["paths"].items()):
        for method, operation in item.items():
            parts += [f"## {method.upper()} {path}", "", operation["summary"] + ".", ""]
            names = [one["name"] for one in operation.get("parameters", [])]
            parts += [f"Parameters: {', '.join(f'`{name}`' for name in names)}.", ""] if names else []
            for status, response in operation["responses"].items():
                first = response["description"] if int(status) >= HTTP_REFUSED else "Done."
                parts.append(f"- **{status}** {first}")
            parts.append("")
    return "\n".join(parts)


HTTP_REFUSED = 400


class _Sketch(Host):
    """What contexts share where only their routes are wanted: its parts are never asked for anything."""

    async def database(self, name: str) -> Any:
        """Return nothing that works."""
        return name

    async def watching(self, name: str) -> Any:
        """Return nothing that works."""
        return name

    async def ids(self, name: str) -> Any:
        """Return nothing that works."""
        return name

    async def declare(self, wanted: object) -> None:
        """Declare nothing."""


async def _parts() -> Parts:
    """Return what all contexts add to a process of all roles."""
    settings, metrics = Settings(jwt_secret="-" * 32, pin_pepper="-" * 32), Metrics()
    async with AsyncExitStack() as stack:
        shared = dict[str, Any](urls={}, clock=SystemClock(), observer=metrics, metrics=metrics, stack=stack)
        host, parts = _Sketch(settings, roles=ROLES, **shared), Parts()

        for context in CONTEXTS:
            parts.add(await context(host))
    return parts


def _openapi() -> dict[str, Any]:
    tokens = Tokens.from_settings(Settings(jwt_secret="-" * 32), SystemClock())
    app = create_app(asyncio.run(_parts()), tokens, Metrics())
    schema: dict[str, Any] = app.openapi_schema.to_schema()
    return schema


PAGES = {
    "settings.md": settings_page,
    "pay-order-states.md": states_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
    "zh/errors.md": chinese_errors_page,
    "metrics.md": metrics_page,
    "http.md": http_page,
    "asyncapi.json": asyncapi_page,
    "messages.md": messages_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
