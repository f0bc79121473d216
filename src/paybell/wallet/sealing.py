"""A hash chain over transfers, written behind the paying path and never in its way.

Blocks follow the order of ids. Ids are given out before their transactions commit, so a block goes only
as far as no running transaction can still write: up to the newest id of an earlier look, once every
transaction that ran then has ended (`PostgreSQL's snapshots
<https://www.postgresql.org/docs/current/functions-info.html>`_ tell). A look takes a transaction id of its
own for that: what a snapshot calls its end is only beyond the newest *completed* transaction, and one that
runs can have that very id.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from paybell.errors import Misconfigured
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.wallet.seal_keys import UNKEYED, SealKeys

_SQL = load_queries(__package__, "sealing.sql")
# Whether there may be something to seal.
SEALS_DUE = _SQL["seals_due"]
BLOCK_MAX = 1_000
# Sealed in one transaction: some 50 ms.
SEAL_MAX = 10 * BLOCK_MAX
# One that is about to be over, and a newer one.
_LOOKS_MAX = 2


@dataclass(frozen=True, slots=True)
class _Look:
    """Every transfer up to ``last_id`` is written once all transactions before ``transaction`` ended."""

    last_id: int
    transaction: int


class TransferSealer:
    """Seals transfers; any number may run, one at a time works."""

    def __init__(self, database: Database, keys: SealKeys = UNKEYED) -> None:
        self._database = database
        self._keys = keys
        self._looks: list[_Look] = []
        self._horizon = 0
        # No transfer up to here is without a seal.
        self._sealed_to = 0
        self._server: datetime | None = None

    async def run_once(self) -> int:
        """Seal a bounded number of transfers; return how many.

        Raises:
            Misconfigured: the chain is keyed, and we have no keys.
        """
        horizon, sealed = await self._advance(), 0
        if horizon == self._sealed_to:
            return 0
        async with self._database.transaction() as tx:
            lock = await tx.fetch_one(_SQL["try_lock_sealing"])
            if lock is None or not lock["locked"]:
                return 0
            for _ in range(SEAL_MAX // BLOCK_MAX):
                block = await tx.fetch_one(_SQL["next_block"], horizon, BLOCK_MAX)
                if block is None:
                    tx.after_commit(partial(self._note_sealed, horizon))
                    break
                await self._insert(tx, block)
                sealed += len(block["ids"])
        return sealed

    def _note_sealed(self, horizon: int) -> None:
        self._sealed_to = horizon

    async def _insert(self, tx: Transaction, block: Record) -> None:
        mac = self._keys.mac(block["last_id"], block["chain"])
        if block["keyed"] and mac is None:
            raise Misconfigured(
                "The chain of seals is keyed; set PAYBELL_SEAL_KEYS for the background role too."
            )
        columns = [block[name] for name in ("last_id", "ids", "row_digests", "digest", "chain")]
        await tx.execute(_SQL["insert_seal"], *columns, mac, tx.now)

    async def _advance(self) -> int:
        """Return up to which id every transfer is written, and look again where there are newer ones."""
        now = await self._database.fetch_one(_SQL["newest_transfer_id"])
        assert now is not None
        if now["server"] != self._server:
            # Another server may not have what this one gave out last, and gives it out again.
            self._looks, self._horizon, self._sealed_to, self._server = [], 0, 0, now["server"]
        over = [look for look in self._looks if look.transaction <= now["oldest_running"]]
        self._looks = [look for look in self._looks if look not in over]
        self._horizon = max([self._horizon, *(look.last_id for look in over)])
        looked = max([self._horizon, *(look.last_id for look in self._looks)])
        if looked < now["last_id"] and len(self._looks) < _LOOKS_MAX:
            own = await self._database.fetch_one(_SQL["own_transaction"])
            assert own is not None
            self._looks.append(_Look(now["last_id"], own["id"]))
        return self._horizon
