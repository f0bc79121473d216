"""Idempotency keys: their form, and what they stand for."""

import pytest

from paybell.idempotency.errors import IdempotencyKeyMissing
from paybell.idempotency.keys import IdempotencyKey


@pytest.mark.parametrize("key", ["a", "!", "~", "8e03978e-40d5-43e8-bc93-6894a57f9324", "x" * 255])
def test_printable_ascii_is_a_key(key: str) -> None:
    assert IdempotencyKey.of("7", "POST /top-ups", key, b"").key == key


@pytest.mark.parametrize(
    "key", [None, "", " ", "a b", "a\n", "\0", "\x7f", "é", "\N{PILE OF POO}", "x" * 256], ids=ascii
)
def test_anything_else_is_none(key: str | None) -> None:
    with pytest.raises(IdempotencyKeyMissing):
        IdempotencyKey.of("7", "POST /top-ups", key, b"")


def test_the_same_request_has_the_same_key_and_any_other_a_different_one() -> None:
    """The whole body counts, byte by byte; a large one is kept as its hash."""
    base = IdempotencyKey.of("7", "route", "k", b'{"amount":100}')

    assert IdempotencyKey.of("7", "route", "k", b'{"amount":100}') == base
    for other in (
        IdempotencyKey.of("8", "route", "k", b'{"amount":100}'),
        IdempotencyKey.of("7", "other", "k", b'{"amount":100}'),
        IdempotencyKey.of("7", "route", "l", b'{"amount":100}'),
        IdempotencyKey.of("7", "route", "k", b'{"amount":101}'),
    ):
        assert other != base
    assert len(IdempotencyKey.of("7", "route", "k", bytes(10**6)).request_hash) == 32
