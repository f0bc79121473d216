"""Bills of channels, downloaded from where their API says: from no host but theirs, and bounded."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from paybell.channels.answers import NotSent, Unknown
from paybell.channels.bills import NoBill
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.http import ChannelHttp

# A busy merchant's day; a longer answer is no bill, but made to fill our memory.
BILL_BYTES_MAX = 64 * 1024 * 1024
_SECONDS = 120.0


def bill_url(url: str, api: str, hosts: str) -> str:
    """Return where a bill is downloaded from.

    Args:
        url: what the API has said. Alipay still writes ``http``; its host takes ``https`` as well.
        api: URL of the API; what lies at the same place is downloaded as it is called.
        hosts: the domain all other places must be in, such as ``alipay.com``.

    Raises:
        NoBill: it is somewhere else.
    """
    try:
        parts, ours = urlsplit(url), urlsplit(api)
        if (parts.scheme, parts.netloc) == (ours.scheme, ours.netloc):
            return url
        host = parts.hostname or ""
        theirs = host == hosts or host.endswith(f".{hosts}")
        if theirs and parts.scheme in {"http", "https"} and parts.port in {None, 80, 443}:
            return parts._replace(scheme="https", netloc=host).geturl()
    except ValueError:
        pass
    raise NoBill("The channel names a place for its bill that is none of its own; nothing was downloaded.")


async def download(http: ChannelHttp, url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return what is there.

    Raises:
        ChannelUnavailable: it is away, or sends more than a bill may have. NoBill: it refuses.
    """
    answer = await http.send("GET", url, headers=headers, bytes_max=BILL_BYTES_MAX, seconds=_SECONDS)
    if isinstance(answer, Unknown | NotSent):
        raise ChannelUnavailable(f"The bill could not be downloaded ({answer.reason}); try again shortly.")
    if answer.status != HTTPStatus.OK:
        raise NoBill(f"The bill could not be downloaded: HTTP {answer.status}; ask for it again.")
    return answer.body
