"""``paybell demo --channels``: orders paid in five ways over simulators that go wrong.

A balance is Paybell's own or that of a remote wallet, for a whole installation; so there are two.
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from paybell_client import WalletExists

from paybell.channels.pace import faster
from paybell.channels.standing import standing
from paybell.cli.callers import Callers, callers
from paybell.cli.demo_books import Books, Judged, judged
from paybell.cli.demo_buyers import BUYER, CHANNELS, PAY_PASSWORD, WALLET, Buyers, Order, plan, until
from paybell.cli.demo_setup import demo_home
from paybell.cli.output import announce, out, print_json
from paybell.cli.workload import for_each, wait_for_statuses
from paybell.clock import Clock, SystemClock
from paybell.ids import NODES, SnowflakeIds
from paybell.sandbox.background import serving_beside
from paybell.serving.child import running_service
from paybell.serving.databases import databases
from paybell.settings import Settings, read_settings
from paybell.settings.secrets import with_secrets
from paybell.storage import READING, Database
from paybell.testing.ports import free_port
from paybell.tokens import Tokens
from paybell.verification.audit import Audit, audit

_CONCURRENCY = 48
# Of calls and notices; an order has about three of them, so that a third of all orders meets a fault.
FAULTY_SHARE = 0.13
# How much faster than in production what is in doubt is asked about.
PACE = 20


@dataclass(frozen=True, slots=True)
class _Installation:
    """One of the two: its settings, its orders, and its channels' names here and in the sandbox."""

    settings: Settings
    orders: Sequence[Order]
    channels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Told:
    """What one installation came to; ``missing`` are neither paid nor cancelled in the end."""

    missing: set[int]
    refunded: int
    judged: Judged
    audited: Audit


async def demo_channels(count: int, *, json: bool) -> int:
    """Run it and report; return the exit code."""
    clock = SystemClock()
    ids = SnowflakeIds(clock, secrets.randbelow(NODES))
    orders = plan([ids.next() for _ in range(count)])
    announce(
        "Starting Paybell twice over simulators, as an installation has balances of its own or a remote "
        "wallet: one with balances, Alipay, WeChat Pay and cards, one with the wallet. A third of the orders "
        f"meets a fault; what is in doubt is asked about {PACE} times as soon as in production."
    )
    with demo_home() as home, serving_beside(home / "sandbox") as (url, setup):
        port = free_port()
        own = _settings(home, setup.settings(url, f"http://127.0.0.1:{port}"))
        remote = _settings(home / "remote", setup.wallet_settings(url))
        installations = (
            _Installation(
                replace(own, port=port),
                [one for one in orders if one.method != WALLET],
                {name: name for name in CHANNELS},
            ),
            _Installation(remote, [one for one in orders if one.method == WALLET], {"balance": WALLET}),
        )
        async with aiohttp.ClientSession(url) as sandbox:
            for name in (*CHANNELS, WALLET):
                share = {"share": FAULTY_SHARE, "seed": secrets.randbelow(2**32)}
                await sandbox.post(f"/sandbox/{name}/faults", json=share)
            told = [await _run(one, sandbox, clock) for one in installations]
            faults = await _struck(sandbox)
    return _report(orders, told, faults, json=json)


def _settings(home: Path, fields: Mapping[str, str]) -> Settings:
    home.mkdir(exist_ok=True)
    settings = with_secrets(read_settings({}, home=home, port=free_port()))
    return replace(settings, **dict[str, Any](fields), **dict[str, Any](faster(settings, PACE)))


async def _run(installation: _Installation, sandbox: aiohttp.ClientSession, clock: Clock) -> _Told:
    """Let buyers pay and turn back, give some of it back, and lay both sides' books together."""
    settings, orders = installation.settings, installation.orders
    async with _opened(settings, clock) as calling:
        if WALLET not in installation.channels.values():
            with suppress(WalletExists):  # the answer of a first try was lost
                await calling.shop.open_wallet(BUYER, PAY_PASSWORD)
            await calling.shop.top_up(BUYER, sum(one.amount for one in orders))
        buyers = Buyers(calling, sandbox, clock)
        await for_each(orders, buyers.play, concurrency=_CONCURRENCY)
        expected = {one.number: {"CANCELLED" if one.cancelled else "PAID"} for one in orders}
        missing = await wait_for_statuses(calling.shop, expected, clock, lambda _: None)
        with databases(settings) as urls:
            async with Database.open(urls["pay"], clock, connections=2, limits=READING) as database:
                await _until_settled(database, installation, sandbox, clock)
                # Only now, so that none of what came twice is the refund that fails.
                for name in set(installation.channels.values()) - {WALLET}:
                    failing = {"operation": "refund", "fault": "refund_fails"}
                    await sandbox.post(f"/sandbox/{name}/faults", json=failing)
                refunded = sum([await buyers.give_back(one) for one in orders if one.number not in missing])
                said = await _until_settled(database, installation, sandbox, clock)
            audited = await audit(urls, settings.merchant_id, clock)
    return _Told(missing, refunded, said, audited)


@asynccontextmanager
async def _opened(settings: Settings, clock: Clock) -> AsyncIterator[Callers]:
    tokens = Tokens.from_settings(settings, clock)
    async with (
        running_service(settings, clock, port=settings.port) as service,
        callers(service.url, tokens, clock, connections=_CONCURRENCY * 2) as calling,
    ):
        yield calling


async def _until_settled(
    database: Database, installation: _Installation, sandbox: aiohttp.ClientSession, clock: Clock
) -> Judged:
    """Wait until everything is decided and what came twice has gone back; return what the books say then."""
    said = Judged()

    async def settled() -> bool:
        nonlocal said
        books = {ours: await _books(sandbox, theirs) for ours, theirs in installation.channels.items()}
        said = judged(await standing(database), books)
        return said.clean

    await until(settled, clock)
    return said


def _report(orders: Sequence[Order], told: Sequence[_Told], faults: Mapping[str, int], *, json: bool) -> int:
    said = sum((one.judged for one in told), Judged())
    missing = {number for one in told for number in one.missing}
    paid = sum(one.audited.paid for one in told)
    closed = sum(one.cancelled and one.number not in missing for one in orders)
    result = {
        "orders": len(orders),
        "paid": paid,
        "closed": closed,
        "manual": said.manual,
        "markedPaid": sum(one.audited.marked_paid for one in told),
        "backByItself": said.back_by_itself,
        "lost": said.lost,
        "doubled": said.doubled,
        "guessed": said.guessed,
        "ledgerBalanced": all(one.audited.ledger_balanced for one in told),
        "booksApart": said.apart,
        "undecided": len(missing) + said.unfinished,
        "refunded": sum(one.refunded for one in told),
        "installations": len(told),
        "faults": sum(faults.values()),
        "kindsOfFaults": len(faults),
    }
    if json:
        print_json(result)
    else:
        struck = ", ".join(f"{times} {name}" for name, times in sorted(faults.items()))
        out.print(f"Faults: {struck}.", soft_wrap=True, highlight=False)
        out.print(", ".join(f"{name} {value}" for name, value in result.items()), soft_wrap=True)
    decided = paid + closed + said.manual == len(orders) and not missing
    return 0 if decided and said.clean and all(one.audited.clean for one in told) else 1


async def _struck(sandbox: aiohttp.ClientSession) -> Mapping[str, int]:
    """Return how often each fault struck, over all channels."""
    total = Counter[str]()
    for name in (*CHANNELS, WALLET):
        async with sandbox.get(f"/sandbox/{name}/faults") as answer:
            total.update(await answer.json())
    return total


async def _books(sandbox: aiohttp.ClientSession, name: str) -> Books:
    async with sandbox.get(f"/sandbox/{name}/books") as answer:
        books: Books = await answer.json()
        return books
