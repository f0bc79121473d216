"""Write the pages that follow from code: settings and the states of a pay order. Run by ``make format``."""

from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from paybell.pay.status import TRANSITIONS, PayStatus
from paybell.settings import Settings

DOCS = Path(__file__).parent


def settings_page() -> str:
    """Return one row for each setting: variable, form, default, meaning."""
    hints = get_type_hints(Settings, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(Settings):
        annotation = hints[field.name]
        description = next(meta.description for meta in annotation.__metadata__ if meta.description)
        default = str(field.default) or "(empty)"
        rows.append(f"| `{field.encode_name}` | {_form(annotation)} | `{default}` | {description} |")
    return "\n".join(
        [
            "# Settings",
            "",
            "Environment variables, read and checked at start; a wrong one is named in one sentence. Generated from `settings.py`.",
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


PAGES = {"settings.md": settings_page, "pay-order-states.md": states_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
