"""The roles that commands are told, as they are typed."""

from collections.abc import Collection
from typing import Literal

from paybell.settings import ROLES

Role = Literal["all", "api", "background", "trade", "ops", "relay"]


def roles_of(given: Collection[Role]) -> frozenset[str]:
    """Return the roles that were meant; relay is what background was called before it did more."""
    return ROLES if "all" in given else frozenset("background" if one == "relay" else one for one in given)
