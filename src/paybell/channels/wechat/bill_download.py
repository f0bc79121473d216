"""A day's bill asked for at WeChat Pay's API and downloaded from where it says."""

from collections.abc import Mapping
from datetime import date
from urllib.parse import urlsplit

import msgspec

from paybell.channels.bills import BadBill, Entry, Key, NoBill
from paybell.channels.downloads import bill_url, download
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.strict_json import Malformed, convert
from paybell.channels.wechat.api import WechatApi
from paybell.channels.wechat.bill import read_bill
from paybell.channels.wechat.messages import Fault

_TARGET = "/v3/bill/tradebill?bill_date={}&bill_type=ALL&tar_type=GZIP"
_EMPTY_DAY = "NOSTATEMENTEXIST"


class _Place(msgspec.Struct):
    hash_type: str
    hash_value: str
    download_url: str


async def fetch_bill(api: WechatApi, day: date) -> Mapping[Key, Entry]:
    """Return what WeChat Pay entered on a day of Beijing's; it has the bill from ten the next morning.

    What is downloaded is not signed: it must come to the hash of the answer, which is.

    Raises:
        ChannelUnavailable: it does not answer. NoBill: it has none of this day yet. BadBill: no whole bill.
    """
    answer = await api.call("GET", _TARGET.format(day.isoformat()))
    if isinstance(answer, Fault):
        if answer.name == _EMPTY_DAY:
            return {}
        raise NoBill(
            f"WeChat Pay has no bill of {day} ({answer.code}); it has one from ten the next morning."
        )
    if not isinstance(answer, dict):
        raise ChannelUnavailable(
            f"WeChat Pay did not give the bill of {day} ({answer.reason}); try again shortly."
        )
    try:
        place = convert(answer, _Place)
    except Malformed as error:
        raise BadBill from error
    if place.hash_type != "SHA1" or not place.hash_value:
        raise BadBill(f"WeChat Pay gives its bill a hash of another kind, {place.hash_type[:16]}.")
    url = bill_url(place.download_url, api.merchant.base_url, "mch.weixin.qq.com")
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return read_bill(await download(api.http, url, api.headers("GET", target)), place.hash_value)
