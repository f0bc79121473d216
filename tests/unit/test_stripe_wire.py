"""Stripe's wire format: forms, signatures, currencies."""

from datetime import UTC, datetime, timedelta

import pytest

from paybell.channels.strict_json import Malformed
from paybell.channels.stripe import messages
from paybell.channels.stripe.signing import ApiKey, Secret, fault_of
from paybell.money import CURRENCIES, digits_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OLD, NEW = Secret("whsec_old"), Secret("whsec_new")


def header(body: bytes, *secrets: Secret, at: datetime = NOW) -> str:
    timestamp = str(int(at.timestamp()))
    return ",".join([f"t={timestamp}", *(f"v1={one.mac(timestamp, body)}" for one in secrets)])


def test_while_a_secret_is_rotated_either_signature_is_enough() -> None:
    assert fault_of(header(b"{}", OLD, NEW), b"{}", [NEW], NOW) == ""
    assert fault_of(header(b"{}", OLD, NEW), b"{}", [OLD], NOW) == ""
    assert fault_of(header(b"{}", OLD), b"{}", [NEW, OLD], NOW) == ""
    assert fault_of(header(b"{}", OLD), b"{}", [NEW], NOW) == "bad_signature"


@pytest.mark.parametrize("minutes", [-6, 6, -60 * 24 * 365, 60 * 24])
def test_a_signature_is_good_for_five_minutes_before_and_after(minutes: int) -> None:
    assert (
        fault_of(header(b"{}", NEW, at=NOW + timedelta(minutes=minutes)), b"{}", [NEW], NOW) == "wrong_time"
    )


@pytest.mark.parametrize(
    "text", ["", "t=1", "v1=a", "t=1,t=2,v1=a", "v0=a,t=1", "t=,v1=a", "t=x,v1=\N{SNOWMAN}", "," * 9999]
)
def test_another_header_is_no_signature(text: str) -> None:
    assert fault_of(text, b"{}", [NEW], NOW) in {"not_signed", "wrong_time"}


def test_a_body_of_any_bytes_is_only_wrongly_signed() -> None:
    assert fault_of(header(b"{}", NEW), b"\xff\x00", [NEW], NOW) == "bad_signature"
    with pytest.raises(Malformed):
        messages.read_event(b"\xff\x00")


def test_forms_are_nested_as_stripe_reads_them() -> None:
    body = messages.form({"a": [{"b": {"c": "x y"}}, 2], "d": "&=茶"})
    assert body == b"a%5B0%5D%5Bb%5D%5Bc%5D=x+y&a%5B1%5D=2&d=%26%3D%E8%8C%B6"


def test_a_path_keeps_ids_in_their_place() -> None:
    assert (
        messages.path("checkout/sessions", "cs_1/../x", "expire")
        == "/v1/checkout/sessions/cs_1%2F..%2Fx/expire"
    )


def test_only_currencies_that_stripe_counts_as_we_do_are_offered() -> None:
    taken = {one for one in CURRENCIES if messages.takes(one, digits_of(one))}

    assert {"USD", "EUR", "CNY", "JPY", "KRW"} <= taken
    assert not {"KWD", "BHD", "UGX", "ISK"} & taken
    assert {one for one in taken if digits_of(one) == 0} <= messages.ZERO_DECIMAL


def test_keys_say_their_mode_and_nothing_more() -> None:
    assert ApiKey("sk_live_" + "a" * 24).live
    assert not ApiKey("rk_test_" + "a" * 24).live
    assert repr(ApiKey("sk_test_" + "a" * 24)) == "ApiKey(test)"
    assert repr(NEW) == "Secret()"
    for wrong in ("", "pk_test_" + "a" * 24, "sk_test_a b"):
        with pytest.raises(ValueError, match="no API key"):
            ApiKey(wrong)
    with pytest.raises(ValueError, match="whsec_"):
        Secret("secret")
