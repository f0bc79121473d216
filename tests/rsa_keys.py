"""RSA keys for tests: made once for a run, each by its number."""

from functools import cache

from paybell.channels.crypto import PrivateKey
from paybell.sandbox.keys import KeyPair


@cache
def key_pair(number: int) -> KeyPair:
    """Return the same pair for the same number."""
    del number
    return KeyPair()


@cache
def private_key(number: int) -> PrivateKey:
    """Return the pair's private key, to sign with."""
    return PrivateKey(key_pair(number).private)
