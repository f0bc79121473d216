"""Where each channel's bill comes from: its API, or a file that somebody has downloaded."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from paybell.channels.alipay import bill as alipay
from paybell.channels.alipay import bill_download as alipay_download
from paybell.channels.alipay.messages import BEIJING
from paybell.channels.alipay.opening import PAGE, QR, alipay_gateway
from paybell.channels.bills import Entry, Key, collected
from paybell.channels.http import ChannelHttp
from paybell.channels.settings import ChannelSettings
from paybell.channels.stripe.opening import stripe_api
from paybell.channels.stripe.report import read_report
from paybell.channels.wechat import bill as wechat
from paybell.channels.wechat import bill_download as wechat_download
from paybell.channels.wechat.opening import wechat_api
from paybell.clock import Clock

BillChannel = Literal["alipay", "wechat", "stripe"]
Bill = Mapping[Key, Entry]


@dataclass(frozen=True, slots=True)
class BillSource:
    """How one channel says what it moved.

    Attributes:
        channels: whose money its bill is about.
        zone: its days are days of.
        ask: calls its API for what lies between two midnights, the second not included.
        read: reads a file of its; None: it has no files.
    """

    channels: Sequence[str]
    zone: tzinfo
    ask: Callable[[ChannelSettings, ChannelHttp, Clock, datetime, datetime], Awaitable[Bill]]
    read: Callable[[bytes], Bill] | None = None


async def _alipay(
    settings: ChannelSettings, http: ChannelHttp, clock: Clock, start: datetime, end: datetime
) -> Bill:
    gateway = alipay_gateway(settings, http, clock)
    bills = [await alipay_download.fetch_bill(gateway, day.date()) for day in _days(start, end)]
    return collected([row for bill in bills for row in bill.items()])


async def _wechat(
    settings: ChannelSettings, http: ChannelHttp, clock: Clock, start: datetime, end: datetime
) -> Bill:
    api = wechat_api(settings, http, clock)
    bills = [await wechat_download.fetch_bill(api, day.date()) for day in _days(start, end)]
    return collected([row for bill in bills for row in bill.items()])


async def _stripe(
    settings: ChannelSettings, http: ChannelHttp, _: Clock, start: datetime, end: datetime
) -> Bill:
    return await read_report(stripe_api(settings, http), start, end)


def _days(start: datetime, end: datetime) -> Sequence[datetime]:
    return [start + timedelta(days=number) for number in range((end - start).days)]


BILL_SOURCES: Mapping[BillChannel, BillSource] = {
    "alipay": BillSource((QR, PAGE), BEIJING, _alipay, alipay.read_bill),
    "wechat": BillSource(("wechat",), BEIJING, _wechat, wechat.read_bill),
    "stripe": BillSource(("stripe",), UTC, _stripe),
}
