"""JSON from strangers: what could be read in two ways is not read at all."""

import json
from decimal import Decimal
from typing import Any, NoReturn, TypeVar

import msgspec

Expected = TypeVar("Expected")

_DEPTH_MAX = 16


class Malformed(ValueError):
    """Not one JSON object of the documented form."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Who verifies one of the two and who reads the other would be fooled.
        raise Malformed("a member stands there twice")
    return members


def _constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=Decimal, parse_constant=_constant)
_SPACE = " \t\r\n"


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the object; numbers with a point as `Decimal`.

    Raises:
        Malformed: not UTF-8, not one object, a member twice, NaN or infinite, or nested too deeply.
    """
    value = members_of(raw)
    return {name: member for name, (member, _) in value.items()}


def members_of(raw: bytes) -> dict[str, tuple[Any, bytes]]:
    """Return each member of the object with the exact bytes that its value was read from.

    Raises:
        Malformed: as `read_object`.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8") from error
    try:
        return _scan(text)
    except (ValueError, IndexError, RecursionError) as error:
        raise Malformed(f"no JSON object ({error})") from error


def _scan(text: str) -> dict[str, tuple[Any, bytes]]:
    """Walk the outermost object by the decoder itself, so that no brace in a string counts as one."""
    members = dict[str, tuple[Any, bytes]]()
    place = _skip(text, 0, "{")
    if text[place] == "}":
        return _ended(text, place + 1, members)
    while True:
        name, place = _DECODER.raw_decode(text, place)
        if not isinstance(name, str) or name in members:
            raise Malformed("a member without a name, or twice")
        place = _skip(text, place, ":")
        value, end = _DECODER.raw_decode(text, place)
        _check_depth(value, _DEPTH_MAX)
        members[name] = value, text[place:end].encode()
        place = _spaces(text, end)
        if text[place] == "}":
            return _ended(text, place + 1, members)
        place = _skip(text, place, ",")


def _spaces(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _skip(text: str, place: int, mark: str) -> int:
    place = _spaces(text, place)
    if text[place] != mark:
        raise Malformed(f"{mark} is missing")
    return _spaces(text, place + 1)


def _ended(text: str, place: int, members: dict[str, tuple[Any, bytes]]) -> dict[str, tuple[Any, bytes]]:
    if _spaces(text, place) != len(text):
        raise Malformed("something follows the object")
    return members


def _check_depth(value: object, left: int) -> None:
    if left == 0:
        raise Malformed("nested too deeply")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _check_depth(one, left - 1)


def convert(value: object, expected: type[Expected]) -> Expected:
    """Return a value that was read above as a struct; types are not stretched.

    Raises:
        Malformed: it has another shape.
    """
    try:
        return msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from error
