"""Pay passwords: their form, their MAC, and the count of wrong tries."""

from datetime import UTC, datetime, timedelta

import pytest

from paybell.errors import InvalidRequest, Misconfigured, Refused
from paybell.wallet.errors import PayPasswordLocked, WrongPayPassword
from paybell.wallet.pay_password import LOCK, TRIES_MAX, PayPassword, Pepper, check_pay_password

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEPPER = Pepper("unit pepper")
RIGHT, WRONG = "123456", "654321"
STORED = PEPPER.protect(RIGHT)


@pytest.mark.parametrize("password", ["000000", "123456", "999999"])
def test_six_digits_are_a_pay_password(password: str) -> None:
    assert check_pay_password(password) == password


@pytest.mark.parametrize(
    "password",
    [
        *("", "12345", "1234567", "12345a", "-12345", "+12345", "12 456", "123456\n", " 123456", "12345\0"),
        "\N{ARABIC-INDIC DIGIT ONE}" * 6,
        "\N{FULLWIDTH DIGIT ONE}" * 6,
    ],
    ids=ascii,
)
def test_anything_else_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_pay_password(password)
    assert not password.strip() or password.strip() not in str(refused.value)


def test_what_is_stored_matches_its_password_only() -> None:
    assert PEPPER.matches(STORED, RIGHT)
    assert not any(PEPPER.matches(STORED, other) for other in (WRONG, "", "123456 ", "0123456", "12345"))


def test_two_wallets_with_one_password_store_different_strings() -> None:
    """A salt for each: whoever sees the table cannot tell who chose the same one."""
    stored = {PEPPER.protect(RIGHT) for _ in range(100)}

    assert len(stored) == 100
    assert all(len(one) <= 255 for one in stored)


def test_a_mac_does_not_match_under_another_salt_or_pepper() -> None:
    key_id, salt, mac = STORED.split("$")
    swapped = ("0" if salt[0] != "0" else "1") + salt[1:]

    assert not PEPPER.matches(f"{key_id}${swapped}${mac}", RIGHT)
    assert not Pepper("another pepper").matches(STORED, RIGHT)


def test_peppers_rotate() -> None:
    """The newest protects, all that are listed match, one that was taken away matches nothing."""
    old, rotated, new = Pepper("1:old"), Pepper("2:new,1:old"), Pepper("2:new")
    before, after = old.protect(RIGHT), rotated.protect(RIGHT)

    assert rotated.matches(before, RIGHT)
    assert rotated.matches(after, RIGHT)
    assert (before.split("$")[0], after.split("$")[0]) == ("1", "2")
    assert new.matches(after, RIGHT)
    assert not new.matches(before, RIGHT)
    assert not old.matches(after, RIGHT)


def test_a_secret_alone_has_the_id_1() -> None:
    assert Pepper("1:secret").matches(Pepper("secret").protect(RIGHT), RIGHT)


@pytest.mark.parametrize(
    "setting", ["", ",", "1:a,1:b", "a,b", "1:", "1:a,2:", ":", "a$b:secret", f"{'x' * 200}:secret"]
)
def test_a_pepper_that_cannot_be_told_apart_or_is_empty_is_refused(setting: str) -> None:
    """An id also stands in what is stored, so it must be short and without the separator."""
    with pytest.raises(Misconfigured, match="PAYBELL_PIN_PEPPER"):
        Pepper(setting)


def state(failed: int, locked_until: datetime | None = None) -> PayPassword:
    """A password after some tries."""
    return PayPassword(STORED, failed, locked_until)


@pytest.mark.parametrize(
    ("before", "password", "after", "refusal", "says"),
    [
        (state(0), RIGHT, state(0), None, {}),
        (state(4), RIGHT, state(0), None, {}),
        (state(0), WRONG, state(1), WrongPayPassword, {"triesLeft": 4}),
        (state(3), WRONG, state(4), WrongPayPassword, {"triesLeft": 1}),
        (
            state(4),
            WRONG,
            state(5, NOW + LOCK),
            WrongPayPassword,
            {"triesLeft": 0, "lockedUntil": NOW + LOCK},
        ),
        (state(5, NOW + LOCK), RIGHT, state(5, NOW + LOCK), PayPasswordLocked, {"lockedUntil": NOW + LOCK}),
        (state(5, NOW + LOCK), WRONG, state(5, NOW + LOCK), PayPasswordLocked, {"lockedUntil": NOW + LOCK}),
        # A lock that has run out starts from nothing.
        (state(5, NOW), RIGHT, state(0), None, {}),
        (state(5, NOW), WRONG, state(1), WrongPayPassword, {"triesLeft": 4}),
    ],
)
def test_a_try_leads_to_a_state_and_an_answer(
    before: PayPassword,
    password: str,
    after: PayPassword,
    refusal: type[Refused] | None,
    says: dict[str, object],
) -> None:
    came_to, refused = before.attempt(password, PEPPER, NOW)

    assert came_to == after
    assert (refused and type(refused)) == refusal
    assert (refused.extensions if refused else {}) == says


def test_an_unchanged_state_is_the_same_object() -> None:
    """The paying transaction writes tries only where there is something to write."""
    for before, password in ((state(0), RIGHT), (state(5, NOW + LOCK), WRONG)):
        assert before.attempt(password, PEPPER, NOW)[0] is before


def test_all_passwords_take_over_a_decade() -> None:
    """What the constants are for: an average guesser who never sleeps needs half of it."""
    assert timedelta(days=365 * 11) < 10**6 / TRIES_MAX * LOCK
