"""The roles that commands are told, and what each needs."""

from collections.abc import Collection, Sequence
from typing import Literal

from paybell.settings import ROLES

Role = Literal["all", "api", "background", "trade", "ops", "relay"]
# Which roles need which database.
_USERS = {"pay": {"api", "background", "ops"}, "trade": {"trade", "ops"}}


def roles_of(given: Collection[Role]) -> frozenset[str]:
    """Return the roles that were meant; relay is what background was called before it did more."""
    return ROLES if "all" in given else frozenset("background" if one == "relay" else one for one in given)


def databases_of(roles: frozenset[str]) -> Sequence[str]:
    """Return which of ``pay`` and ``trade`` they need."""
    return [name for name, users in _USERS.items() if roles & users]
