"""Options that several commands have: flags without a --no- form, and the roles as they are typed."""

from collections.abc import Collection
from typing import Annotated, Literal

from cyclopts import Parameter

from paybell.settings import ROLES

Flag = Annotated[bool, Parameter(negative="")]
Role = Literal["all", "api", "background", "trade", "ops", "relay"]


def roles_of(given: Collection[Role]) -> frozenset[str]:
    """Return the roles that were meant; relay is what background was called before it did more."""
    return ROLES if "all" in given else frozenset("background" if one == "relay" else one for one in given)
