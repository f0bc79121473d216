"""Where each channel's bill comes from: its API, or a file that somebody has downloaded."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

from paybell.channels.alipay import bill as alipay
from paybell.channels.alipay import bill_download as alipay_download
from paybell.channels.alipay.messages import BEIJING
from paybell.channels.alipay.opening import PAGE, QR, alipay_gateway
from paybell.channels.bills import Entry, Key, collected
from paybell.channels.http import ChannelHttp
from paybell.channels.openers import contract_wallet
from paybell.channels.settings import ChannelSettings
from paybell.channels.stripe.opening import stripe_api
from paybell.channels.stripe.report import read_report
from paybell.channels.wallet import NAME
from paybell.channels.wallet_statement import read_statement
from paybell.channels.wechat import bill as wechat
from paybell.channels.wechat import bill_download as wechat_download
from paybell.channels.wechat.opening import wechat_api
from paybell.clock import Clock
from paybell.storage import Database

BillChannel = Literal["alipay", "wechat", "stripe", "balance"]
Bill = Mapping[Key, Entry]


@dataclass(frozen=True, slots=True)
class Asking:
    """What is needed to ask a channel for what lies between two midnights, the second not included."""

    settings: ChannelSettings
    http: ChannelHttp
    clock: Clock
    database: Database
    start: datetime
    end: datetime

    @property
    def days(self) -> Sequence[date]:
        """The days of the period."""
        return [self.start.date() + timedelta(days=number) for number in range((self.end - self.start).days)]


@dataclass(frozen=True, slots=True)
class BillSource:
    """How one channel says what it moved.

    Attributes:
        channels: whose money its bill is about.
        zone: its days are days of.
        ask: calls its API.
        read: reads a file of its; None: it has no files.
    """

    channels: Sequence[str]
    zone: tzinfo
    ask: Callable[[Asking], Awaitable[Bill]]
    read: Callable[[bytes], Bill] | None = None


async def _alipay(asking: Asking) -> Bill:
    gateway = alipay_gateway(asking.settings, asking.http, asking.clock)
    return _together([await alipay_download.fetch_bill(gateway, day) for day in asking.days])


async def _wechat(asking: Asking) -> Bill:
    api = wechat_api(asking.settings, asking.http, asking.clock)
    return _together([await wechat_download.fetch_bill(api, day) for day in asking.days])


async def _stripe(asking: Asking) -> Bill:
    return await read_report(stripe_api(asking.settings, asking.http), asking.start, asking.end)


async def _balance(asking: Asking) -> Bill:
    wallet = contract_wallet(asking.settings, asking.http)
    return await read_statement(wallet, asking.database, asking.start, asking.end)


def _together(bills: Sequence[Bill]) -> Bill:
    return collected([row for bill in bills for row in bill.items()])


BILL_SOURCES: Mapping[BillChannel, BillSource] = {
    "alipay": BillSource((QR, PAGE), BEIJING, _alipay, alipay.read_bill),
    "wechat": BillSource(("wechat",), BEIJING, _wechat, wechat.read_bill),
    "stripe": BillSource(("stripe",), UTC, _stripe),
    "balance": BillSource((NAME,), UTC, _balance),
}
