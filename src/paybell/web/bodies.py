"""How JSON bodies are read: strictly, straight into the type a route asks for."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from litestar.connection import Request

from paybell.errors import InvalidAmount, InvalidId, InvalidRequest, UnknownCurrency
from paybell.web import choices
from paybell.web.errors import DuplicateField, MalformedJson, MissingField, UnknownField, UnsupportedMediaType

JSON = "application/json"
# The largest body that makes sense is an order with a long subject: under 2 KiB.
REQUEST_BODY_MAX = 64 * 1024
# Of a body with up to 200 of those: 200 times an order with the longest subject are some 300 KiB.
BATCH_BODY_MAX = 512 * 1024

# What is wrong with one of these members has a code of its own.
_OWN_CODES: Mapping[str, type[InvalidRequest]] = {
    "amount": InvalidAmount,
    "totalFee": InvalidAmount,
    "currency": UnknownCurrency,
    "bizOrderNo": InvalidId,
    "orderId": InvalidId,
}
_MISSING = re.compile(r"Object missing required field `(.+)`\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_WRONG = re.compile(r"(.*) - at `\$\.(\w+)`\Z", re.DOTALL)
_NAME_MAX = 64


class JsonRequest(Request[Any, Any, Any]):
    """Reads a body once, strictly, straight into the type its route asks for.

    The framework's own way is lenient: "100" and 100.0 would pass for 100.
    """

    async def json(self) -> Any:
        """Return the body as the route's ``data``.

        Raises:
            UnsupportedMediaType: it does not say that it is JSON. InvalidRequest: it is not of the form.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise UnsupportedMediaType
        field = self.route_handler.parsed_data_field
        assert field is not None, "only routes with data read a body"
        return read_body(await self.body(), field.annotation)


@cache
def _decoder(wanted: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(wanted)


def read_body(body: bytes, wanted: Any) -> Any:
    """Decode a flat JSON object, or one whose members are read like this by themselves.

    Raises:
        InvalidRequest: which member is wrong, and why; never its value, which may be a secret.
    """
    try:
        data = _decoder(wanted).decode(body)
        _check_distinct(_PAIRS.decode(body.decode()))
    except msgspec.ValidationError as error:
        raise _invalid(str(error), wanted) from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise MalformedJson from None
    return data


_PAIRS = json.JSONDecoder(object_pairs_hook=list)


def _check_distinct(members: list[tuple[str, object]]) -> None:
    names = set()
    for name, _ in members:
        if name in names:
            raise DuplicateField(f"The member {name} stands in the body twice.", field=name)
        names.add(name)


def _invalid(complaint: str, wanted: Any) -> InvalidRequest:
    if match := _MISSING.match(complaint):
        return MissingField(f"The member {match[1]} is missing.", field=match[1])
    if match := _UNKNOWN.match(complaint):
        name = "".join(character for character in match[1][:_NAME_MAX] if character.isprintable())
        return UnknownField(f"The body has a member {name}, which is not documented.", field=name)
    if match := _WRONG.match(complaint):
        problem, name = match[1], match[2]
        if own := _OWN_CODES.get(name):
            return own(field=name)
        if problem.startswith("Invalid enum value"):
            types = {one.encode_name: one.type for one in msgspec.structs.fields(wanted)}
            problem = choices.told(types[name])
        if "matching regex" in problem:  # for programs; people find its words in the OpenAPI document
            problem = "not of the documented form"
        return InvalidRequest(f"{name}: {problem}.", field=name)
    return InvalidRequest(f"{complaint}.")
