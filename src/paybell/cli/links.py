"""Ready links to both pages for local use: a purchase to pay, and the operations console."""

import asyncio
from contextlib import suppress

from paybell_client import Problem

from paybell.cli.callers import callers
from paybell.cli.output import announce, show_link
from paybell.clock import Clock
from paybell.ids import SnowflakeIds
from paybell.settings import Settings
from paybell.tokens import Tokens

BUYER, PAY_PASSWORD = "sample-buyer", "123456"
_PRICE, _FUNDS = 1234, 100_000
# A working day.
LIFETIME_SECONDS = 8 * 3600


def console_link(url: str, tokens: Tokens) -> str:
    """Return a link to the operations console with a token in its fragment, which browsers do not send."""
    return f"{url}/console#token={tokens.mint('operator', 'ops', lifetime_seconds=LIFETIME_SECONDS)}"


async def show_links(url: str, settings: Settings, clock: Clock) -> None:
    """Make a sample buyer with money and an order to pay by each method, and show links to the pages.

    Raises:
        Unavailable: the service does not do it.
    """
    tokens = Tokens.from_settings(settings, clock)
    ids, channels = (
        SnowflakeIds(clock, 0),
        (settings.alipay_app_id, settings.wechat_mchid, settings.stripe_account),
    )
    orders = [ids.next() for _ in range(1 + sum(map(bool, channels)))]
    async with callers(url, tokens, clock, connections=2) as calling:
        shop = calling.shop
        with suppress(Problem):  # an earlier sample has opened it
            await shop.open_wallet(BUYER, PAY_PASSWORD)
        with suppress(Problem):  # or has funded it so long ago that the answer is gone
            await shop.top_up(BUYER, _FUNDS, idempotency_key="sample-funds")
        for order_id in orders:
            await shop.create_order(BUYER, _PRICE, subject="A sample purchase", order_id=order_id)
    buyer = tokens.mint(BUYER, lifetime_seconds=LIFETIME_SECONDS)
    what = "a sample order" if len(orders) == 1 else f"{len(orders)} sample orders, one by each method"
    announce(f"Pay {what} (pay password {PAY_PASSWORD}), and see everything that happens:")
    for order_id in orders:
        show_link("cashier", f"{url}/cashier/{order_id}#token={buyer}")
    show_link("console", console_link(url, tokens))


def show_soon(url: str, settings: Settings, clock: Clock) -> None:
    """Do the same beside what the event loop does; it goes on also when there is no sample."""
    task = asyncio.get_running_loop().create_task(show_links(url, settings, clock), name="sample")
    _running.add(task)
    task.add_done_callback(_ended)


# The loop itself holds its tasks only weakly.
_running: set["asyncio.Task[None]"] = set()


def _ended(task: "asyncio.Task[None]") -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()):
        announce(str(error))
