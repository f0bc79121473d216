"""What was looked at, and how it is."""

from dataclasses import dataclass
from typing import Literal

from paybell.errors import PaybellError

State = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``advice`` says what to do, empty when it is well."""

    part: str
    state: State
    what: str
    advice: str = ""


def of_error(part: str, error: PaybellError) -> Finding:
    """Split a sentence of ours into what is wrong and what to do."""
    what, _, advice = str(error).partition("; ")
    return Finding(part, "error", what, advice or "See the sentence; nothing was changed.")
