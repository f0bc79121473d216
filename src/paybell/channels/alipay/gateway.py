"""Calls to Alipay's gateway: only what one of its keys has signed is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from paybell.channels.alipay import messages
from paybell.channels.alipay.certificates import KEY_MODE, Certificates
from paybell.channels.alipay.messages import Caller, Merchant, Reply
from paybell.channels.alipay.signing import verified_notice
from paybell.channels.answers import NotSent, Unknown
from paybell.channels.crypto import PrivateKey, PublicKey
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed
from paybell.clock import Clock
from paybell.errors import Misconfigured

log = structlog.get_logger()
_FORM = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}


class AlipayGateway:
    """One application at the gateway, with the keys of both sides."""

    def __init__(
        self,
        merchant: Merchant,
        http: ChannelHttp,
        clock: Clock,
        *,
        app_keys: Keyring[PrivateKey],
        alipay_keys: Keyring[PublicKey],
        certificates: Certificates = KEY_MODE,
    ) -> None:
        """Take what it needs.

        Args:
            merchant: who we are.
            http: makes the calls.
            clock: of our timestamps.
            app_keys: ours; the newest signs.
            alipay_keys: Alipay's; each verifies.
            certificates: by which both are known in certificate mode.
        """
        self.merchant, self.http = merchant, http
        self.keyrings: Sequence[Keyring[Any]] = (app_keys, alipay_keys, *certificates.keyrings)
        self._certificates = certificates
        self._clock, self._app_keys, self._alipay_keys = clock, app_keys, alipay_keys

    async def call(
        self, method: str, content: Mapping[str, str], notify_url: str = ""
    ) -> Reply | Unknown | NotSent:
        """Call a method, such as ``alipay.trade.query``; what is not signed is not known."""
        caller = self._caller(notify_url)
        if isinstance(caller, NotSent):
            return caller
        body = messages.request_body(method, content, caller, self._clock.now())
        answer = await self.http.send("POST", self.merchant.gateway, headers=_FORM, body=body)
        if isinstance(answer, Unknown | NotSent):
            return answer
        if answer.status != 200:  # noqa: PLR2004 - also for errors of business
            return Unknown(f"HTTP {answer.status}")
        try:
            reply = messages.read_reply(method, answer.body, [key for _, key in self._alipay_keys.all])
        except Malformed as error:
            return Unknown(str(error))
        return reply if reply.signed else Unknown(f"not signed: {reply.why}"[:80])

    def page_link(self, content: Mapping[str, str], notify_url: str, return_url: str) -> str | NotSent:
        """Return the link that opens Alipay's page; nothing is called."""
        caller = self._caller(notify_url, return_url)
        return (
            caller if isinstance(caller, NotSent) else messages.page_link(content, caller, self._clock.now())
        )

    def _caller(self, notify_url: str, return_url: str = "") -> Caller | NotSent:
        key = self._app_keys.newest
        merchant = messages.returning(self.merchant, notify_url, return_url)
        try:
            return Caller(merchant, key, self._certificates.fields(key))
        except Misconfigured as error:  # one of two files was changed while we run
            log.error("channel_certificate_missing", detail=str(error))  # noqa: TRY400 - no fault of ours
            return NotSent("no certificate of our newest key")

    def verified_notice(self, body: bytes) -> Mapping[str, str] | None:
        """Return a notice's fields if one of Alipay's keys has signed them, None if not.

        Raises:
            Malformed: no form in UTF-8, or a field twice.
        """
        return verified_notice(body, [key for _, key in self._alipay_keys.all])
