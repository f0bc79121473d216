"""The ids, names and texts that bodies, paths and queries hold: how they are described and checked."""

from typing import Annotated

from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from paybell.errors import InvalidId, InvalidRequest
from paybell.ids import IDS_MAX, parse_id
from paybell.money import AMOUNT_MAX
from paybell.web.texts import USER_ID_PATTERN

UserId = Annotated[str, Meta(pattern=USER_ID_PATTERN, description="1 to 64 letters, digits, . _ @ -")]
Id = Annotated[str, Meta(pattern=r"^[0-9]{1,19}$(?!\n)", description="From 1 to 9223372036854775807.")]
Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Whole minor units.")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)", description="A code of ISO 4217.")]
# Checked by `check_pay_password`, whose refusal does not show a regular expression.
SixDigits = Annotated[
    str, Meta(description="Six digits.", extra_json_schema={"extra": {"pattern": "^[0-9]{6}$"}})
]
Subject = Annotated[str, Meta(max_length=256, description="What is paid for, shown to people.")]
# In paths; checked by `parse_id` and `check_user_id`, whose refusals have a code of their own.
PathId = Annotated[
    str,
    PathParameter(description="From 1 to 9223372036854775807.", schema_extra={"pattern": "^[0-9]{1,19}$"}),
]
PathUserId = Annotated[
    str,
    PathParameter(description="1 to 64 letters, digits, . _ @ -", schema_extra={"pattern": USER_ID_PATTERN}),
]


def person(name: str) -> QueryParameter:
    """Return the query parameter that chooses the payer or buyer of what is listed."""
    return QueryParameter(
        name=name, max_length=64, description="Whose; without the scope one's own is all there is."
    )


def id_list(name: str) -> QueryParameter:
    """Return the query parameter of routes that read many at once."""
    return QueryParameter(
        name=name,
        max_length=20 * IDS_MAX,
        description=f"Up to {IDS_MAX} ids, separated by commas, and no other parameter.",
    )


def read_id(text: str, field: str) -> int:
    """Read the id in a member of a body.

    Raises:
        InvalidId: it is none.
    """
    try:
        return parse_id(text)
    except InvalidId:
        raise InvalidId(field=field) from None


def parse_ids(text: str, field: str) -> list[int]:
    """Read a list of ids, separated by commas, out of a query parameter.

    Raises:
        InvalidRequest: more than `IDS_MAX`. InvalidId: one is none.
    """
    parts = text.split(",")
    if len(parts) > IDS_MAX:
        raise InvalidRequest(f"{field}: at most {IDS_MAX} ids at a time.", field=field)
    return [read_id(part, field) for part in parts]
