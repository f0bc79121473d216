"""Keys of the seals: whoever rewrites the chain in the database cannot make the MACs that belong to it."""

import hmac
from collections.abc import Mapping
from typing import Literal

from paybell.environment.keys import keys_of

SealFault = Literal["seal_without_key", "seal_key_unknown", "seal_forged"]


class SealKeys:
    """The keys of ``PAYBELL_SEAL_KEYS``: the newest makes MACs, all verify; there may be none."""

    def __init__(self, setting: str) -> None:
        """Read ``id:secret,id:secret``.

        Raises:
            Misconfigured: an id twice, or of another form.
        """
        self._keys: Mapping[str, bytes] = {
            name: secret.encode()
            for name, secret in (keys_of("PAYBELL_SEAL_KEYS", setting) if setting else {}).items()
        }

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self._keys)

    def mac(self, last_id: int, chain: bytes) -> str | None:
        """Return what is kept beside a block: ``key id$MAC``; None without keys.

        Args:
            last_id: of the block's transfers.
            chain: the hash of this block and all before it.
        """
        newest = next(iter(self._keys), None)
        return None if newest is None else f"{newest}${self._mac(newest, last_id, chain)}"

    def fault(self, kept: str | None, last_id: int, chain: bytes, *, keyed: bool) -> SealFault | None:
        """Return what is wrong with what is kept beside a block.

        Without keys of our own only that is found: a block without a MAC behind one that has it (``keyed``).
        """
        if kept is None:
            return "seal_without_key" if keyed else None
        if not self._keys:
            return None
        name, _, mac = kept.partition("$")
        if name not in self._keys:
            return "seal_key_unknown"
        return None if hmac.compare_digest(mac, self._mac(name, last_id, chain)) else "seal_forged"

    def _mac(self, name: str, last_id: int, chain: bytes) -> str:
        return hmac.digest(self._keys[name], b"paybell seal %d " % last_id + chain, "sha256").hex()


UNKEYED = SealKeys("")
