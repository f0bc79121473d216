"""Amounts and currencies."""

import decimal

import pytest

from paybell.errors import InvalidAmount, UnknownCurrency
from paybell.money import (
    _NO_DIGITS,
    _THREE_DIGITS,
    _TWO_DIGITS,
    AMOUNT_MAX,
    CURRENCIES,
    check_amount,
    check_currency,
    format_amount,
)


@pytest.mark.parametrize("amount", [1, 100, AMOUNT_MAX])
def test_whole_minor_units_are_an_amount(amount: int) -> None:
    assert check_amount(amount) == amount


@pytest.mark.parametrize(
    "amount",
    [
        0,
        -1,
        AMOUNT_MAX + 1,
        2**63,
        1.0,
        0.5,
        float("nan"),
        float("inf"),
        True,
        "1",
        None,
        decimal.Decimal(1),
        [1],
    ],
    ids=repr,
)
def test_anything_else_is_no_amount(amount: object) -> None:
    """A float that happens to be whole is refused as well: the next one will not be."""
    with pytest.raises(InvalidAmount):
        check_amount(amount)


def test_an_amount_is_exact_in_every_consumer() -> None:
    """JavaScript knows integers up to 2^53."""
    assert AMOUNT_MAX <= 2**53


@pytest.mark.parametrize("currency", ["CNY", "USD", "JPY", "KWD"])
def test_iso_4217_codes_are_currencies(currency: str) -> None:
    assert check_currency(currency) == currency


@pytest.mark.parametrize("currency", ["", "cny", "CN", "CNYY", "XXX", "ABC", "CNY ", "C\0Y", "BTC"])
def test_anything_else_is_no_currency(currency: str) -> None:
    with pytest.raises(UnknownCurrency):
        check_currency(currency)


def test_every_currency_is_listed_once_and_has_three_letters() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)
    assert len(CURRENCIES) == len(_NO_DIGITS) + len(_TWO_DIGITS) + len(_THREE_DIGITS)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1177, "USD", "11.77 USD"),
        (5, "CNY", "0.05 CNY"),
        (250_031_563, "USD", "2,500,315.63 USD"),
        (0, "CNY", "0.00 CNY"),
        (-1, "CNY", "-0.01 CNY"),
        (-123_456, "CNY", "-1,234.56 CNY"),
        (1234, "JPY", "1,234 JPY"),
        (-1234, "JPY", "-1,234 JPY"),
        (1234, "KWD", "1.234 KWD"),
    ],
)
def test_amounts_are_written_as_people_read_them(amount: int, currency: str, text: str) -> None:
    assert format_amount(amount, currency) == text
