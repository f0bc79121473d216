"""The words that a value may be, told to whoever has sent another one."""

from enum import Enum
from typing import Any, Literal, get_args, get_origin


def choices(kind: Any) -> list[str]:
    """Return the words that a type allows: those of a Literal or an enumeration, also inside of a union."""
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(one.value) for one in kind]
    return [word for inner in get_args(kind) for word in choices(inner)]


def told(kind: Any) -> str:
    """Return the same as the end of a sentence."""
    return f"it may be {' or '.join(choices(kind))}"
