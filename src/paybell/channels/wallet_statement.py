"""A remote wallet has no statement, but remembers every id: it is asked about each of ours, one by one."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from paybell.channels.bill_matching import begun_within
from paybell.channels.bills import Entry, Key
from paybell.channels.wallet import NAME, RemoteWallet
from paybell.storage import Database

_CALLS_MAX = 16


async def read_statement(
    wallet: RemoteWallet, database: Database, start: datetime, end: datetime
) -> Mapping[Key, Entry]:
    """Return what the wallet says of every debit and credit that began in a time, whatever became of it here.

    A debit under an id that we have never used is not found so: only the wallet's own books show it.

    Args:
        wallet: by the contract.
        database: pay's.
        start: of the period.
        end: not included.

    Raises:
        ChannelUnavailable: one of the answers is missing.
    """
    calls = asyncio.Semaphore(_CALLS_MAX)

    async def ask(key: Key, ours: Entry) -> Entry | None:
        async with calls:
            if key.kind == "payment":
                return await wallet.debited(key.number)
            said = await wallet.credited(key.number)
        # Of a credit the contract asks for no more than that it was done.
        return said and said._replace(
            amount=said.amount or ours.amount, currency=said.currency or ours.currency
        )

    begun = await begun_within(database, [NAME], start, end)
    said = await asyncio.gather(*(ask(key, ours) for key, ours in begun))
    return {key: entry for (key, _), entry in zip(begun, said, strict=True) if entry is not None}
