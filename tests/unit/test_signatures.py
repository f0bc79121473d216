"""What vouches for a message, in every language."""

import hmac
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from paybell.errors import Misconfigured
from paybell.messaging.signatures import EventKeys, PaidOrder
from paybell.settings import read_settings

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "verify-signatures.md").read_text()
OLD, NEW = "old:" + "o" * 32, "new:" + "n" * 32
PAID = PaidOrder("1", "5001", 100, "CNY")


def test_a_signature_proves_what_was_signed_and_nothing_else() -> None:
    keys = EventKeys(token_secret="secret")
    signature = keys.sign(PAID)

    assert keys.verifies(signature, PAID)
    assert not EventKeys(token_secret="another").verifies(signature, PAID)
    for forged in ("", signature[:-1], signature + "0", signature.upper(), "\udc80\N{SNOWMAN}", ":", "x:y"):
        assert not keys.verifies(forged, PAID)
    for other in (
        PaidOrder("2", "5001", 100, "CNY"),
        PaidOrder("1", "5002", 100, "CNY"),
        PaidOrder("1", "5001", 99, "CNY"),
        PaidOrder("1", "5001", 100, "USD"),
        PaidOrder("CNY:1", "5001", 100, ""),
    ):
        assert not keys.verifies(signature, other)


def test_the_secret_itself_signs_nothing() -> None:
    """A key of its own is derived, so that a token can never be mistaken for a signature."""
    signed = hmac.digest(b"secret", b"5001:100:CNY:1", "sha256").hex()
    assert EventKeys(token_secret="secret").sign(PAID) != signed


def test_the_newest_key_signs_and_all_verify_until_they_are_taken_away() -> None:
    before, between, after = EventKeys(OLD), EventKeys(f"{NEW},{OLD}"), EventKeys(NEW)

    assert between.sign(PAID).startswith("new:")
    assert after.verifies(between.sign(PAID), PAID)
    assert between.verifies(before.sign(PAID), PAID)
    assert between.verifies_event(before.sign_event(b"body"), b"body")
    assert not after.verifies(before.sign(PAID), PAID)
    assert not between.verifies(before.sign(PAID).replace("old:", "new:"), PAID)


def test_the_key_of_the_token_secret_verifies_until_an_operator_removes_it() -> None:
    old = EventKeys(token_secret="t" * 32)
    given = {"jwt_secret": "t" * 32, "event_keys": NEW}

    keys = EventKeys.from_settings(read_settings({}, **given))
    assert keys.sign_event(b"body").startswith("new:")
    assert keys.verifies_event(old.sign_event(b"body"), b"body")

    removed = EventKeys.from_settings(read_settings({}, **given, event_key_of_tokens="refused"))
    assert not removed.verifies_event(old.sign_event(b"body"), b"body")
    assert removed.verifies_event(keys.sign_event(b"body"), b"body")


@pytest.mark.parametrize(
    "ring",
    ["short", "a:short", f"{NEW},{NEW}", f"{NEW},x:", "a b:" + "x" * 32, ":" + "x" * 32, NEW + ":x"],
)
def test_keys_of_another_form_are_refused(ring: str) -> None:
    with pytest.raises(Misconfigured, match="PAYBELL_EVENT_KEYS"):
        EventKeys(ring, token_secret="t" * 32)


def test_no_key_at_all_is_refused() -> None:
    with pytest.raises(Misconfigured, match="Set PAYBELL_EVENT_KEYS"):
        EventKeys.from_environment({})
    with pytest.raises(Misconfigured, match="Set PAYBELL_EVENT_KEYS"):
        EventKeys.from_environment({"PAYBELL_JWT_SECRET": "t" * 32, "PAYBELL_EVENT_KEY_OF_TOKENS": "refused"})


# The page for other languages --------------------------------------------------------------------


def _documented() -> tuple[str, bytes, str, str, str]:
    """Return the ring, the body and its signature, the number's text and its signature."""
    ring = re.search(r"`PAYBELL_EVENT_KEYS=(.*?)`", PAGE)
    body = re.search(r"body is `(.*?)`", PAGE)
    event = re.search(r"\| event \|.*`(.*)` \|", PAGE)
    number = re.search(r"\| number \| `(.*)` \| `(.*)` \|", PAGE)
    assert ring
    assert body
    assert event
    assert number
    return ring[1], body[1].encode(), event[1], number[1], number[2]


def test_the_documented_vectors_are_ours() -> None:
    ring, body, event, covered, number = _documented()
    biz_order_no, amount, currency, merchant_id = covered.split(":")
    keys = EventKeys(ring)

    assert keys.sign_event(body) == event
    assert keys.sign(PaidOrder(merchant_id, biz_order_no, int(amount), currency)) == number


@pytest.mark.parametrize(("tool", "file"), [("node", "verify.js"), ("javac", "Verify.java")])
def test_the_documented_programs_verify_them_and_nothing_else(tool: str, file: str, tmp_path: Path) -> None:
    """Where the language is installed."""
    if not shutil.which(tool):
        pytest.skip(f"no {tool} here")
    source = re.search(rf'```\w+ title="{file}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert source
    (tmp_path / file).write_text(source[1])
    program = [tool, str(tmp_path / file)]
    if tool == "javac":
        subprocess.run(program, check=True)  # noqa: S603 - our own page
        program = ["java", "-cp", str(tmp_path), "Verify"]
    ring, body, event, covered, number = _documented()
    key_id, _, secret = ring.partition(":")

    def verifies(*arguments: str, key_id: str = key_id) -> bool:
        said = subprocess.run(  # noqa: S603 - our own page
            [*program, key_id, secret, *arguments],
            check=True,
            capture_output=True,
            text=True,
        )
        return {"true\n": True, "false\n": False}[said.stdout]

    assert verifies("paybell pay.events v1", body.decode(), event)
    assert verifies("paybell pay.success v1", covered, number)
    assert not verifies("paybell pay.events v1", body.decode() + " ", event)
    assert not verifies("paybell pay.success v1", covered, number.replace("2026a", "2026b"))
    assert not verifies("paybell pay.success v1", covered, number.removeprefix("2026a:"))
    assert not verifies("paybell pay.success v1", covered)

    derived = EventKeys(token_secret=secret).sign_event(body)
    assert ":" not in derived
    assert verifies("paybell pay.events v1", body.decode(), derived, key_id="")
    assert not verifies("paybell pay.events v1", body.decode(), "0" + derived[1:], key_id="")
