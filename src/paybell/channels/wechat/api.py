"""Calls to WeChat Pay's API v3: what is not signed by one of its keys is not known."""

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from paybell.channels.answers import NotSent, Unknown
from paybell.channels.crypto import PrivateKey, PublicKey
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed, convert, read_object
from paybell.channels.wechat.messages import Fault, Merchant
from paybell.channels.wechat.signing import authorization, fault_of
from paybell.clock import Clock

_PUBLIC_KEY_ID = "PUB_KEY_ID_"


class WechatApi:
    """One merchant at the API, with the keys of both sides."""

    def __init__(
        self,
        merchant: Merchant,
        http: ChannelHttp,
        clock: Clock,
        *,
        own_keys: Keyring[PrivateKey],
        wechat_keys: Keyring[PublicKey],
    ) -> None:
        """Take what it needs.

        Args:
            merchant: who we are.
            http: makes the calls.
            clock: of our timestamps, and of how old a signature may be.
            own_keys: the merchant's, each under the serial of its certificate; the newest signs.
            wechat_keys: WeChat's, certificates or public keys with their ids; each verifies.
        """
        self.merchant, self.http = merchant, http
        self.own_keys, self.wechat_keys = own_keys, wechat_keys
        self._clock = clock

    async def call(
        self, method: str, target: str, body: bytes = b""
    ) -> dict[str, Any] | Fault | Unknown | NotSent:
        """Call; return a verified object (empty for 204), a verified error, or what is not known."""
        answer = await self.http.send(
            method,
            self.merchant.base_url + target,
            headers=self.headers(method, target, body),
            body=body or None,
        )
        if isinstance(answer, Unknown | NotSent):
            return answer
        if fault := fault_of(answer.headers, answer.body, self.wechat_keys.all, self._clock.now()):
            return Unknown(f"HTTP {answer.status} {_code(answer.body)}, {fault}")
        try:
            return _content(answer.status, answer.body)
        except Malformed as error:
            return Unknown(str(error))

    def headers(self, method: str, target: str, body: bytes = b"") -> Mapping[str, str]:
        """Return the headers of a request, signed with the newest of our keys."""
        serial, key = self.own_keys.all[0]
        headers = {
            "Accept": "application/json",
            "User-Agent": "paybell",
            "Authorization": authorization(
                method,
                target,
                body,
                mchid=self.merchant.mchid,
                serial=serial,
                key=key,
                now=self._clock.now(),
                nonce=secrets.token_hex(16),
            ),
        }
        if body:
            headers["Content-Type"] = "application/json"
        # With public keys the channel signs by the one that is named here.
        ids = [name for name, _ in self.wechat_keys.all if name.startswith(_PUBLIC_KEY_ID)]
        return headers | ({"Wechatpay-Serial": ids[0]} if ids else {})


def _code(body: bytes) -> str:
    """Return an error's code for people; nobody vouches for it."""
    try:
        return convert(read_object(body), Fault).code[:40]
    except Malformed:
        return ""


def _content(status: int, body: bytes) -> dict[str, Any] | Fault | Unknown:
    """Read what was verified; only errors of the caller's side are certain."""
    if status == HTTPStatus.NO_CONTENT:
        return {}
    content = read_object(body)
    if status == HTTPStatus.OK:
        return content
    fault = convert(content, Fault)
    well = status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.TOO_MANY_REQUESTS
    certain = well and status >= HTTPStatus.BAD_REQUEST
    return fault if certain else Unknown(f"HTTP {status} {fault.code}"[:80], answered=well)
