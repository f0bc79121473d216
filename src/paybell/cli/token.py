"""``paybell token``."""

from difflib import get_close_matches
from typing import Annotated

from cyclopts import Parameter, validators

from paybell.cli.options import Flag
from paybell.cli.output import announce, print_json
from paybell.clock import SystemClock
from paybell.errors import InvalidRequest, NotAuthenticated
from paybell.settings import read_settings
from paybell.settings.secrets import with_secrets
from paybell.tokens import SCOPES, Tokens

# Ten years, for a service that cannot renew its token; a person's should last hours.
LIFETIME_SECONDS_MAX = 315_360_000
Lifetime = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=LIFETIME_SECONDS_MAX))]


def token(
    user_id: str,
    /,
    *,
    scope: str = "",
    merchant: str = "",
    lifetime_seconds: Lifetime = 3600,
    json: Flag = False,
) -> int:
    """Mint a bearer token with the service's own secret.

    Args:
        user_id: who the token stands for (its sub).
        scope: what it allows, separated by spaces, such as "orders:write wallets:write"; for operators
            "ops:read" (look), "ops:repair" (replay, acknowledge, republish, reconcile), "ops:refund"
            (refund, close), or "ops" for all three.
        merchant: the merchant it speaks for; without one PAYBELL_MERCHANT_ID.
        lifetime_seconds: until it expires.
        json: end with one JSON line.
    """
    given = read_settings()
    fresh = not (given.jwt_secret or (given.home / "jwt-secret").exists())
    tokens = Tokens.from_settings(with_secrets(given), SystemClock())
    minted = tokens.mint(user_id, *scope.split(), lifetime_seconds=lifetime_seconds, merchant_id=merchant)
    try:
        tokens.verify(minted)
    except NotAuthenticated as error:
        raise InvalidRequest("A user id and a merchant have 1 to 64 printable characters.") from error
    for unknown in sorted(set(scope.split()) - SCOPES):
        nearest = get_close_matches(unknown, SCOPES, 1) or sorted(SCOPES)
        announce(f"Paybell knows no scope {unknown}: it opens nothing here. Is it {' or '.join(nearest)}?")
    if fresh:
        announce(
            f"Made a new home {given.home.resolve()} with a secret of its own: only a service that runs on "
            "it takes this token. For another one run this in its folder, or set PAYBELL_HOME."
        )
    if json:
        print_json({"token": minted, "expiresInSeconds": lifetime_seconds})
    else:
        print(minted)  # noqa: T201 - for $(paybell token …)
    return 0
