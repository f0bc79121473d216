"""What queries hold, checked in one place before a route reads it: known names, and texts that are text."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import msgspec

from paybell.errors import InvalidRequest
from paybell.web.errors import InvalidText, UnknownField
from paybell.web.texts import check_text


def check_query(query: bytes, known: frozenset[str]) -> None:
    """Insist that a query string has documented parameters only, each a text.

    Raises:
        UnknownField: it has another one. InvalidText: one is not UTF-8, or holds control characters.
    """
    try:
        parameters = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidText from None
    for name, value in parameters:
        if name not in known:
            shown = "".join(character for character in name[:64] if character.isprintable())
            raise UnknownField(f"The query has a parameter {shown}, which is not documented.", field=shown)
        check_text(value, name)


def check_moment(moment: datetime, field: str) -> datetime:
    """Return a moment that has a time zone and is one in UTC too.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except OverflowError:  # the first and the last day there are, seen from elsewhere
        pass
    raise InvalidRequest(f"{field}: a time such as 2026-01-31T12:00:00Z.", field=field)


def read_moment(text: str, field: str) -> datetime:
    """Read a time of RFC 3339 out of a query.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        return check_moment(msgspec.convert(text, datetime), field)
    except msgspec.ValidationError:
        raise InvalidRequest(f"{field}: a time such as 2026-01-31T12:00:00Z.", field=field) from None
