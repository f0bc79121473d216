"""A day's bill asked for at Alipay's gateway and downloaded from where it says."""

from collections.abc import Mapping
from datetime import date

from paybell.channels.alipay.bill import read_bill
from paybell.channels.alipay.gateway import AlipayGateway
from paybell.channels.alipay.messages import Reply
from paybell.channels.bills import Entry, Key, NoBill
from paybell.channels.downloads import bill_url, download
from paybell.channels.errors import ChannelUnavailable

_METHOD = "alipay.data.dataservice.bill.downloadurl.query"
# Written with and without a prefix; nothing moved on that day.
_EMPTY_DAY = "BILL_NOT_EXIST"


async def fetch_bill(gateway: AlipayGateway, day: date) -> Mapping[Key, Entry]:
    """Return what Alipay entered on a day of Beijing's; it has the bill from about nine the next morning.

    Raises:
        ChannelUnavailable: it does not answer. NoBill: it has none of this day yet. BadBill: no whole bill.
    """
    reply = await gateway.call(_METHOD, {"bill_type": "trade", "bill_date": day.isoformat()})
    if not isinstance(reply, Reply):
        raise ChannelUnavailable(
            f"Alipay did not give the bill of {day} ({reply.reason}); try again shortly."
        )
    if reply.sub_code.rpartition(".")[2].upper() == _EMPTY_DAY:
        return {}
    if reply.code != "10000":
        raise NoBill(f"Alipay has no bill of {day} ({reply.why}); it has one from ten the next morning.")
    # The address is good for 30 seconds.
    url = bill_url(reply.bill_download_url, gateway.merchant.gateway, "alipay.com")
    return read_bill(await download(gateway.http, url))
