"""All checks of the pay database in one snapshot: payments go on, and the books stand still for the reader.

Everything is read in pages by id, so memory stays flat and every statement is short.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from paybell.storage import Database, Query, Record, Transaction, load_queries
from paybell.verification.anchors import Anchor
from paybell.wallet.seal_keys import UNKEYED, SealKeys

_SQL = load_queries(__package__, "checks.sql")
# Rows of one statement: some 200 ms.
PAGE = 50_000
# Findings that are kept of all that are counted: enough to see what happened, not all of a wrong book.
FINDINGS_MAX = 10_000
# Blocks of the chain checked by one statement, and rows named of a broken one.
_SEALS, _NAMED_MAX = 50, 1_000


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """Something that is wrong: in which table, which row, and what it is called."""

    table: str
    row: int
    what: str
    detail: str = ""


@dataclass(slots=True)
class LedgerProgress:
    """How far a check has come: rows looked at by table, what was found, and how often.

    ``findings`` holds the first `FINDINGS_MAX`; ``kinds`` counts all of them. ``keyed_from`` is the block
    with the first MAC of the chain, ``head`` the last block.
    """

    rows: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[LedgerFault] = field(default_factory=list)
    keyed_from: int | None = None
    head: Anchor | None = None

    def add(self, found: Iterable[LedgerFault]) -> None:
        """Count findings, and keep what there is room for."""
        for one in found:
            self.kinds[one.what] += 1
            if len(self.findings) < FINDINGS_MAX:
                self.findings.append(one)


@dataclass(frozen=True, slots=True)
class _Pages:
    table: str
    page: Query
    wrong: Query


_ACCOUNTS = _Pages("accounts", _SQL["account_page"], _SQL["wrong_accounts"])
_CHECKS = (
    _ACCOUNTS,
    _Pages("pay_orders", _SQL["pay_order_page"], _SQL["wrong_pay_orders"]),
    _Pages("transfers", _SQL["transfer_page"], _SQL["wrong_transfers"]),
    _Pages("refunds", _SQL["refund_page"], _SQL["wrong_refunds"]),
    _Pages("attempts", _SQL["attempt_page"], _SQL["wrong_attempts"]),
    _Pages("outbox", _SQL["event_page"], _SQL["wrong_events"]),
)


async def verify(
    database: Database,
    report: Callable[[LedgerProgress], object],
    keys: SealKeys = UNKEYED,
    anchors: Sequence[Anchor] = (),
) -> LedgerProgress:
    """Check everything.

    Args:
        database: pay's.
        report: is called after each page.
        keys: the seals'; without them their MACs are not checked.
        anchors: heads of the chain that were noted elsewhere, which must still be in it.

    Raises:
        DatabaseUnavailable: the server does not answer.
    """
    progress = LedgerProgress()
    async with database.snapshot() as tx:
        await tx.fetch(_SQL["plan_as_written"])
        async for _ in _chain(tx, keys, progress):
            report(progress)
        await _anchored(tx, anchors, progress)
        async for _ in _sums(tx, progress):
            report(progress)
        for check in _CHECKS:
            async for _ in _pages(tx, check, progress):
                report(progress)
    return progress


async def trial_balance(database: Database) -> bool:
    """Say whether every account equals the sum of its transfers, which have two sides: so all sum to zero."""
    progress = LedgerProgress()
    async with database.snapshot() as tx:
        await tx.fetch(_SQL["plan_as_written"])
        async for _ in _sums(tx, progress):
            pass
        async for _ in _pages(tx, _ACCOUNTS, progress):
            pass
    return not progress.findings


async def _pages(tx: Transaction, check: _Pages, progress: LedgerProgress) -> AsyncIterator[None]:
    after = -1
    while True:
        page = await tx.fetch_one(check.page, after, PAGE)
        if page is None or page["last_id"] is None:
            return
        rows = await tx.fetch(check.wrong, after, page["last_id"])
        progress.add(LedgerFault(check.table, row["id"], row["what"], row["detail"]) for row in rows)
        progress.rows[check.table] += page["rows"]
        after = page["last_id"]
        yield


async def _sums(tx: Transaction, progress: LedgerProgress) -> AsyncIterator[None]:
    """Add up what all transfers moved, for the check of the accounts."""
    await tx.execute(_SQL["begin_sums"])
    await tx.execute(_SQL["add_pending"])
    after = -1
    while (page := await tx.fetch_one(_SQL["add_sums"], after, PAGE)) and page["last_id"] is not None:
        after = page["last_id"]
        progress.rows["summed transfers"] += page["transfers"]
        yield


async def _anchored(tx: Transaction, anchors: Sequence[Anchor], progress: LedgerProgress) -> None:
    """Find every head that was noted and is not in the chain any more: it was rewritten, or cut off."""
    rows = await tx.fetch(_SQL["anchored"], [one.last_id for one in anchors], [one.chain for one in anchors])
    there = {row["last_id"] for row in rows}
    progress.add(
        LedgerFault("transfer_seals", one.block, "anchor_differs", f"noted {one.at:%Y-%m-%d %H:%M:%S} UTC")
        for one in anchors
        if one.last_id not in there
    )


def _keyed(seals: Sequence[Record], keys: SealKeys, progress: LedgerProgress) -> Iterator[LedgerFault]:
    for seal in seals:
        keyed = progress.keyed_from is not None
        if fault := keys.fault(seal["mac"], seal["last_id"], seal["chain"], keyed=keyed):
            yield LedgerFault("transfer_seals", seal["id"], fault)
        if seal["mac"] is not None and not keyed:
            progress.keyed_from = seal["id"]


async def _chain(tx: Transaction, keys: SealKeys, progress: LedgerProgress) -> AsyncIterator[None]:
    """Follow the chain block by block; of a broken block name the rows."""
    after, chain = 0, b""
    while seals := await tx.fetch(_SQL["seals"], after, chain, _SEALS):
        progress.add(
            LedgerFault("transfer_seals", seal["id"], "chain_broken") for seal in seals if not seal["chained"]
        )
        progress.add(_keyed(seals, keys, progress))
        ids, afters = [seal["id"] for seal in seals], [seal["after"] for seal in seals]
        broken = {row["id"] for row in await tx.fetch(_SQL["broken_seals"], ids, afters)}
        for seal in seals:
            if seal["id"] in broken:
                progress.add(await _named(tx, seal["id"], seal["after"], seal["last_id"]))
        progress.rows["sealed transfers"] += sum(seal["transfers"] for seal in seals)
        after, chain = seals[-1]["last_id"], seals[-1]["chain"]
        progress.head = Anchor(seals[-1]["id"], after, chain, seals[-1]["sealed_at"])
        yield


async def _named(tx: Transaction, seal: int, after: int, last: int) -> list[LedgerFault]:
    rows = await tx.fetch(_SQL["unsealed_rows"], seal, after, last, _NAMED_MAX)
    if not rows:  # the transfers are as they were, so the seal is not
        return [LedgerFault("transfer_seals", seal, "seal_changed")]
    return [LedgerFault("transfers", row["id"], f"sealed_row_{row['what']}") for row in rows]
