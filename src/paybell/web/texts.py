"""The texts that users, merchants and people write, as they are checked wherever they come from."""

import re

from paybell.errors import InvalidId
from paybell.web.errors import InvalidText

# Patterns are read by Python here and by JavaScript in OpenAPI's readers: $(?!\n) is the very end in both.
# Users' and merchants' names: opaque, but nothing that needs escaping anywhere.
USER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$(?!\n)"
_USER_ID = re.compile(USER_ID_PATTERN)
# Controls, line separators, what turns the direction of other text, unpaired surrogates, no characters.
_NOT_TEXT = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def check_user_id(text: str) -> str:
    """Return a user id out of a path.

    Raises:
        InvalidId: it has not the form of one.
    """
    if not _USER_ID.match(text):
        raise InvalidId("A user id has 1 to 64 letters, digits, dots, underscores, @ or hyphens.")
    return text


def check_optional(text: str | None, field: str) -> str | None:
    """Return a text that may be missing.

    Raises:
        InvalidText: see `check_text`.
    """
    return None if text is None else check_text(text, field)


def check_text(text: str, field: str = "subject") -> str:
    """Return a text for people, in any language.

    Raises:
        InvalidText: it holds control characters or the like.
    """
    if _NOT_TEXT.search(text):
        raise InvalidText(field=field)
    return text
