"""What Alipay signs: requests and notices as sorted pairs, answers as the exact text of one member."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from paybell.channels.crypto import PrivateKey, PublicKey
from paybell.channels.strict_json import Malformed, members_of

FIELDS_MAX = 64


def pairs_text(fields: Mapping[str, str], without: Iterable[str]) -> bytes:
    """Return ``name=value&name=value`` in order of the names, un-encoded; empty values are left out."""
    kept = sorted((name, value) for name, value in fields.items() if value and name not in set(without))
    return "&".join(f"{name}={value}" for name, value in kept).encode()


def signed(fields: Mapping[str, str], key: PrivateKey) -> dict[str, str]:
    """Return a request's fields with their signature."""
    return {**fields, "sign": key.sign(pairs_text(fields, {"sign"}))}


def verified_member(body: bytes, name: str, keys: Sequence[PublicKey]) -> tuple[Mapping[str, Any], bool]:
    """Return an answer's member of this name, or its ``error_response``, and whether it is signed by a key.

    What is returned was read from the very bytes that were verified.

    Raises:
        Malformed: neither is there, or the body is not one object of JSON.
    """
    members = members_of(body)
    value, raw = members.get(name) or members.get("error_response") or (None, b"")
    if not isinstance(value, dict):
        raise Malformed(f"neither {name} nor error_response")
    signature = members.get("sign", ("", b""))[0]
    return value, isinstance(signature, str) and any(key.verifies(signature, raw) for key in keys)


def verified_notice(body: bytes, keys: Sequence[PublicKey]) -> Mapping[str, str] | None:
    """Return a notice's fields if one of the keys has signed them, None if not.

    Raises:
        Malformed: no form in UTF-8, or a field twice.
    """
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError as error:
        raise Malformed("no form") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("a field stands there twice")
    signature = fields.get("sign", "")
    if fields.get("sign_type") != "RSA2" or not signature:
        return None
    # PHP's kit leaves empty fields out, Java's keeps them; either way they are covered by the order.
    texts = (pairs_text(fields, {"sign", "sign_type"}), _with_empties(fields))
    return fields if any(key.verifies(signature, text) for key in keys for text in texts) else None


def _with_empties(fields: Mapping[str, str]) -> bytes:
    kept = sorted((name, value) for name, value in fields.items() if name not in {"sign", "sign_type"})
    return "&".join(f"{name}={value}" for name, value in kept).encode()
