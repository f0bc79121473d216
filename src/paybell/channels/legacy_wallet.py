"""The user service as it was before there were ids: one endpoint that debits, nothing to ask or undo by.

At most one call for each attempt. What is not certain stays in doubt until a person has looked into the
wallet's own records; `docs/remote-wallet.md` says so to whoever chooses it.
"""

from http import HTTPStatus
from urllib.parse import quote, urlencode

from paybell.channels.answers import (
    CloseSaid,
    OpenSaid,
    Paid,
    QuerySaid,
    RefundFailed,
    RefundSaid,
    Refused,
    Unknown,
    undecided,
)
from paybell.channels.channel import Charge, Heard, Kind, Notice, NoticeAnswer, NoticeRefused, Offer, Return
from paybell.channels.http import Answer, ChannelHttp
from paybell.channels.wallet import NAME

_NO_ID = undecided("this wallet has no id to ask by")
# The wallet itself may mean no by any other: it says 500 for a wrong password. These are said in its place.
_AWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


class LegacyWallet:
    """A channel that can be told once and asked never."""

    name = NAME
    kind = Kind.CALL
    # The endpoint knows no currency; it is the one the shop has always used.
    offer = Offer(currencies=frozenset({"CNY"}))
    merchant = "wallet"
    schedule: tuple[float, ...] = ()

    def __init__(self, http: ChannelHttp, url: str, refusal: str = "") -> None:
        """Speak to the service at ``url``; an answer with exactly the body ``refusal`` is a certain no."""
        self._http = http
        self._url = url.rstrip("/")
        self._refusal = refusal.encode()

    async def open(self, charge: Charge) -> OpenSaid:
        """Debit the payer, whatever comes of it once."""
        assert charge.amount > 0, "the endpoint takes negative amounts"
        query = urlencode({"pw": charge.credential, "amount": charge.amount}, quote_via=quote)
        headers = {"user-info": quote(charge.payer_id, safe="")}
        answer = await self._http.send("PUT", f"{self._url}/users/money/deduct?{query}", headers=headers)
        if not isinstance(answer, Answer):
            return answer
        if 200 <= answer.status < 300:  # noqa: PLR2004 - success, as HTTP defines it
            return Paid(charge.amount, charge.currency, f"attempt-{charge.attempt_id}", self.merchant)
        if self._refusal and answer.body.strip() == self._refusal:
            return Refused("REFUSED", "the wallet answered with the configured refusal")
        return Unknown(f"HTTP {answer.status}", answered=answer.status not in _AWAY)

    async def query(self, charge: Charge) -> QuerySaid:
        """Say that it cannot be asked."""
        return _NO_ID

    async def close(self, charge: Charge) -> CloseSaid:
        """Say that it cannot be undone."""
        return _NO_ID

    async def refund(self, back: Return) -> RefundSaid:
        """Say that nothing can be given back by this wallet."""
        return RefundFailed("not_offered", "this wallet has no endpoint to give money back by")

    async def query_refund(self, back: Return) -> RefundSaid:
        """Say the same."""
        return await self.refund(back)

    def read_notice(self, notice: Notice) -> Heard:
        """Refuse: a wallet sends none."""
        raise NoticeRefused

    def answer_notice(self, *, taken: bool) -> NoticeAnswer:
        """Answer with nothing."""
        return NoticeAnswer(204 if taken else 400)
