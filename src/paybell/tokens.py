"""Bearer tokens: JWT (RFC 7519) signed with HS256, verified once and remembered until they expire."""

import math
from dataclasses import dataclass
from datetime import timedelta

import jwt

from paybell.clock import Clock
from paybell.environment.common import CommonSettings
from paybell.errors import InsufficientScope, InvalidToken, NotAuthenticated

# A verified token is kept by its text; past this many the oldest goes. 20,000 of about
# 300 bytes are 6 MB: the active buyers of a busy minute.
_REMEMBERED_MAX = 20_000
# As long as the schema allows owners' names to be.
_NAME_MAX = 64
# What operators may do, all of it; ``ops:read``, ``ops:repair`` and ``ops:refund`` are its parts.
OPS = "ops"
# What tokens may allow; a scope that is none of these opens nothing here.
SCOPES = frozenset(
    f"{thing}:{deed}"
    for thing, deeds in {
        "wallets": ("read", "write"),
        "pay-passwords": ("reset",),
        "merchants": ("read",),
        "pay-orders": ("read", "write"),
        "refunds": ("read", "write"),
        "orders": ("read", "write"),
        "metrics": ("read",),
        OPS: ("read", "repair", "refund"),
    }.items()
    for deed in deeds
) | {OPS}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: ``sub``, what the token allows, and for which merchant it speaks."""

    user_id: str
    scopes: frozenset[str]
    merchant_id: str

    def has(self, scope: str) -> bool:
        """Say whether the token carries this scope; ``ops`` is all that begin with ``ops:``."""
        return scope in self.scopes or (scope.startswith(f"{OPS}:") and OPS in self.scopes)

    def require(self, scope: str) -> None:
        """Insist on a scope.

        Raises:
            InsufficientScope: the token does not carry it.
        """
        if not self.has(scope):
            raise InsufficientScope(f"This request needs the scope {scope}.")


class Tokens:
    """Mints and verifies tokens with one shared secret."""

    def __init__(self, secret: str, clock: Clock, *, merchant_id: str, require_expiry: bool) -> None:
        """Take the secret, and the merchant a token without a ``merchant`` claim speaks for."""
        self._secret = secret
        self._clock = clock
        self._merchant_id = merchant_id
        self._required = ["sub", "exp"] if require_expiry else ["sub"]
        self._remembered: dict[str, tuple[Principal, float]] = {}

    @classmethod
    def from_settings(cls, settings: CommonSettings, clock: Clock) -> "Tokens":
        """Return what mints and verifies tokens under these settings; with real secrets they must expire."""
        return cls(
            settings.jwt_secret,
            clock,
            merchant_id=settings.merchant_id,
            require_expiry=settings.needs_real_secrets,
        )

    def mint(self, user_id: str, *scopes: str, lifetime_seconds: int = 3600, merchant_id: str = "") -> str:
        """Return a signed token."""
        now = self._clock.now()
        claims: dict[str, object] = {
            "sub": user_id,
            "scope": " ".join(scopes),
            "iat": now,
            "exp": now + timedelta(seconds=lifetime_seconds),
        }
        if merchant_id:
            claims["merchant"] = merchant_id
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def verify(self, token: str) -> Principal:
        """Return the caller a token stands for.

        Raises:
            NotAuthenticated: expired. InvalidToken: forged, or without the claims we need.
        """
        remembered = self._remembered.get(token)
        now = self._clock.now().timestamp()
        if remembered is None:
            remembered = self._decode(token)
            if len(self._remembered) >= _REMEMBERED_MAX:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[token] = remembered
        principal, expires_at = remembered
        if now >= expires_at:
            self._remembered.pop(token, None)
            raise NotAuthenticated("The token has expired; get a new one.")
        return principal

    def _decode(self, token: str) -> tuple[Principal, float]:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                # Expiry is compared with our own clock by the caller; PyJWT would use the system's.
                options={"require": self._required, "verify_exp": False, "verify_iat": False},
            )
            user_id, scope = claims["sub"], claims.get("scope", "")
            merchant_id = claims.get("merchant", self._merchant_id)
            if not (isinstance(scope, str) and _is_name(user_id) and _is_name(merchant_id)):
                raise InvalidToken
            expires_at = _time(claims["exp"]) if "exp" in claims else math.inf
            return Principal(user_id, frozenset(scope.split()), merchant_id), expires_at
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidToken from error


class OwnTokens:
    """Tokens for calls to another service: minted when needed, renewed halfway through their life."""

    LIFETIME_SECONDS = 3600

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        """Mint with the secret that the other service verifies with."""
        self._tokens = tokens
        self._clock = clock
        self._minted: dict[tuple[str, ...], tuple[str, float]] = {}

    def token(self, user_id: str, *scopes: str) -> str:
        """Return a token for this caller with these scopes."""
        token, renew_at = self._minted.get((user_id, *scopes), ("", 0.0))
        now = self._clock.monotonic()
        if now >= renew_at:
            token = self._tokens.mint(user_id, *scopes, lifetime_seconds=self.LIFETIME_SECONDS)
            self._minted[user_id, *scopes] = token, now + self.LIFETIME_SECONDS / 2
        return token

    def bearer(self, user_id: str, *scopes: str) -> str:
        """Return the value of an ``Authorization`` header for the same."""
        return f"Bearer {self.token(user_id, *scopes)}"


def _time(claim: object) -> float:
    """RFC 7519 section 2, NumericDate; Python's JSON knows numbers that are none."""
    if not isinstance(claim, int | float) or not math.isfinite(claim):
        raise InvalidToken
    return float(claim)


def _is_name(claim: object) -> bool:
    return isinstance(claim, str) and 1 <= len(claim) <= _NAME_MAX and claim.isprintable()
