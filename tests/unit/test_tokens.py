"""Bearer tokens: who is calling, verified with our own clock."""

import base64
import json
import re
from datetime import datetime
from pathlib import Path

import jwt
import pytest

from paybell import tokens as module
from paybell.errors import InsufficientScope, NotAuthenticated
from paybell.testing import FrozenClock
from paybell.tokens import OPS, SCOPES, Principal, Tokens

SECRET = "a secret of at least 32 bytes for HS256"


def tokens(clock: FrozenClock | None = None, *, require_expiry: bool = False) -> Tokens:
    """The issuer and verifier of merchant 1."""
    return Tokens(SECRET, clock or FrozenClock(), merchant_id="1", require_expiry=require_expiry)


def signed(claims: dict[str, object], secret: str = SECRET, algorithm: str = "HS256") -> str:
    """A token of somebody's making."""
    return jwt.encode(claims, secret, algorithm=algorithm)


def test_a_token_stands_for_its_user_scopes_and_merchant() -> None:
    issuer = tokens()

    assert issuer.verify(issuer.mint("7", "a", "b", merchant_id="2")) == Principal("7", frozenset("ab"), "2")
    assert issuer.verify(issuer.mint("7")) == Principal("7", frozenset(), "1")


def test_a_token_of_somebody_else_with_the_secret_is_as_good() -> None:
    """Plain JWT: sub and scope are all it needs on this machine."""
    assert tokens().verify(signed({"sub": "7", "scope": "a  b"})) == Principal("7", frozenset("ab"), "1")


@pytest.mark.parametrize("moment", [3_599.0, 3_600.0, 100_000.0])
@pytest.mark.parametrize("seen_before", [False, True])
def test_a_token_ends_when_it_says(moment: float, seen_before: bool) -> None:
    """By our clock, and also when it was verified and remembered before."""
    clock = FrozenClock()
    issuer = tokens(clock)
    token = issuer.mint("7", lifetime_seconds=3_600)
    if seen_before:
        issuer.verify(token)
    clock.advance(moment)

    if moment < 3_600:
        assert issuer.verify(token).user_id == "7"
    else:
        for _ in range(2):
            with pytest.raises(NotAuthenticated):
                issuer.verify(token)


def test_a_token_that_never_ends_is_good_on_loopback_only() -> None:
    endless = signed({"sub": "7"})

    assert tokens().verify(endless).user_id == "7"
    with pytest.raises(NotAuthenticated):
        tokens(require_expiry=True).verify(endless)


def unsigned(claims: dict[str, object], header: dict[str, object]) -> str:
    """A token whose header says that it needs no signature, or another one."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    return b".".join([*parts, b""]).decode()


GOOD = signed({"sub": "7"})
HEAD, BODY, SIGNATURE = GOOD.split(".")
DEEP = base64.urlsafe_b64encode(b"[" * 100_000).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "7",
        "a.b.c",
        "\xfc.\xfc.\xfc",
        f"{HEAD}.{BODY}.",
        f"{HEAD}.{BODY}.{SIGNATURE[:-2]}AA",
        f"{HEAD}.{signed({'sub': '8'}).split('.')[1]}.{SIGNATURE}",
        f"{DEEP}.{BODY}.{SIGNATURE}",
        signed({"sub": "7"}, "another secret of at least 32 bytes, yes"),
        signed({"sub": "7"}, SECRET * 2, "HS512"),
        unsigned({"sub": "7"}, {"alg": "none"}),
        unsigned({"sub": "7"}, {"alg": "None", "typ": "JWT"}),
        unsigned({"sub": "7"}, {"typ": "JWT"}),
        signed({}),
        signed({"scope": "a"}),
        signed({"sub": ""}),
        signed({"sub": "x" * 65}),
        signed({"sub": "7\n8"}),
        signed({"sub": "7\0"}),
        signed({"sub": "7", "scope": ["a"]}),
        signed({"sub": "7", "scope": None}),
        signed({"sub": "7", "merchant": 1}),
        signed({"sub": "7", "merchant": ""}),
        signed({"sub": "7", "merchant": "x" * 65}),
        signed({"sub": "7", "exp": "tomorrow"}),
        signed({"sub": "7", "exp": {}}),
        signed({"sub": "7", "exp": 0}),
        signed({"sub": "7", "exp": -(10**400)}),
    ],
    ids=lambda token: token[-24:] or "empty",
)
def test_anything_else_is_nobody(token: str) -> None:
    """One answer for forged, mangled and incomplete tokens alike."""
    with pytest.raises(NotAuthenticated):
        tokens().verify(token)


def test_verified_tokens_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first, and is simply verified again."""
    monkeypatch.setattr(module, "_REMEMBERED_MAX", 3)
    issuer = tokens()
    minted = [issuer.mint(str(number)) for number in range(5)]
    for token in minted:
        issuer.verify(token)

    assert list(issuer._remembered) == minted[-3:]
    assert issuer.verify(minted[0]).user_id == "0"


def test_a_forged_token_is_not_remembered() -> None:
    """Else a stranger could push everybody's tokens out."""
    issuer = tokens()
    with pytest.raises(NotAuthenticated):
        issuer.verify(f"{HEAD}.{BODY}.")

    assert issuer._remembered == {}


def test_a_missing_scope_is_named() -> None:
    principal = Principal("7", frozenset({"wallets:read"}), "1")

    principal.require("wallets:read")
    assert principal.has("wallets:read")
    assert not principal.has("wallets")
    with pytest.raises(InsufficientScope, match="wallets:write"):
        principal.require("wallets:write")


def test_a_minted_token_says_when_it_was_made() -> None:
    clock = FrozenClock()
    claims = jwt.decode(
        tokens(clock).mint("7"),
        SECRET,
        algorithms=["HS256"],
        options={"verify_exp": False, "verify_iat": False},
    )

    assert claims["iat"] == int(clock.now().timestamp())
    assert datetime.fromtimestamp(claims["exp"], clock.now().tzinfo) > clock.now()


def test_every_scope_that_is_asked_for_is_known_and_documented() -> None:
    package = Path(module.__file__).parent
    written = "".join(path.read_text() for path in package.rglob("*.py"))
    page = (package.parents[1] / "docs" / "api.md").read_text()
    documented = page.partition("## Scopes")[2].partition("\n## ")[0]

    assert set(re.findall(r'"([a-z-]+:(?:read|write|reset|repair|refund))"', written)) == SCOPES - {OPS}
    assert set(re.findall(r"`([a-z-]+:[a-z]+|ops)`", documented)) == SCOPES
