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

from paybell.errors import Misconfigured
from paybell.storage import Database, Record, Transaction, load_queries
from paybell.wallet.seal_keys import UNKEYED, SealKeys

_SQL = load_queries(__package__, "sealing.sql")
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
        self._server: datetime | None = None

    async def run_once(self) -> int:
        """Seal a bounded number of transfers; return how many.

        Raises:
            Misconfigured: the chain is keyed, and we have no keys.
        """
        sealed = 0
        async with self._database.transaction() as tx:
            horizon = await self._advance(tx)
            lock = await tx.fetch_one(_SQL["try_lock_sealing"])
            if lock is None or not lock["locked"]:
                return 0
            for _ in range(SEAL_MAX // BLOCK_MAX):
                block = await tx.fetch_one(_SQL["next_block"], horizon, BLOCK_MAX)
                if block is None:
                    break
                await self._insert(tx, block)
                sealed += len(block["ids"])
        return sealed

    async def _insert(self, tx: Transaction, block: Record) -> None:
        mac = self._keys.mac(block["last_id"], block["chain"])
        if block["keyed"] and mac is None:
            raise Misconfigured(
                "The chain of seals is keyed; set PAYBELL_SEAL_KEYS for the background role too."
            )
        columns = [block[name] for name in ("last_id", "ids", "row_digests", "digest", "chain")]
        await tx.execute(_SQL["insert_seal"], *columns, mac, tx.now)

    async def _advance(self, tx: Transaction) -> int:
        """Return up to which id every transfer is written, and look again where there are newer ones."""
        now = await tx.fetch_one(_SQL["newest_transfer_id"])
        assert now is not None
        if now["server"] != self._server:
            # Another server may not have what this one gave out last, and gives it out again.
            self._looks, self._horizon, self._server = [], 0, now["server"]
        over = [look for look in self._looks if look.transaction <= now["oldest_running"]]
        self._looks = [look for look in self._looks if look not in over]
        self._horizon = max([self._horizon, *(look.last_id for look in over)])
        looked = max([self._horizon, *(look.last_id for look in self._looks)])
        if looked < now["last_id"] and len(self._looks) < _LOOKS_MAX:
            own = await tx.fetch_one(_SQL["own_transaction"])
            assert own is not None
            self._looks.append(_Look(now["last_id"], own["id"]))
        return self._horizon
