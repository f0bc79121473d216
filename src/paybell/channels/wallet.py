"""The remote wallet: a user service that holds the balances, by the contract in `docs/remote-wallet.md`.

Every answer that counts is a JSON object with a ``state``. Anything else, whatever its status, comes from
something in between, and is no answer.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

import msgspec

from paybell.channels.answers import (
    Closed,
    CloseSaid,
    NotFound,
    NotSent,
    OpenSaid,
    Paid,
    QuerySaid,
    RefundDone,
    RefundFailed,
    RefundSaid,
    Refused,
    Unknown,
    undecided,
)
from paybell.channels.bills import Entry
from paybell.channels.channel import Charge, Heard, Kind, Notice, NoticeAnswer, NoticeRefused, Offer, Return
from paybell.channels.decision import CALL_SCHEDULE
from paybell.channels.errors import ChannelUnavailable
from paybell.channels.http import Answer, ChannelHttp
from paybell.channels.keyring import Keyring

# In a setup with a remote wallet this is what "balance" means.
NAME = "balance"
_SERVER_FAULT = 500


class Token:
    """A bearer token."""

    def __init__(self, text: str) -> None:
        """Take it.

        Raises:
            ValueError: it is empty, or has what a header cannot hold.
        """
        if not re.fullmatch(r"[!-~]{1,4096}", text):
            raise ValueError("no bearer token; it is one line of visible ASCII")
        self.bearer = f"Bearer {text}"

    def __repr__(self) -> str:
        return "Token()"


class _State(msgspec.Struct, rename="camel"):
    """What a wallet says of a debit or a credit; amounts in minor units."""

    state: Literal["DONE", "REFUSED", "REVERSED", "NOT_FOUND"]
    transaction_id: str = ""
    amount: int = 0
    currency: str = ""
    code: str = ""
    detail: str = ""


class RemoteWallet:
    """A channel whose calls move money, each under an id of ours, to ask about and to undo it by."""

    name = NAME
    kind = Kind.CALL
    offer = Offer()
    merchant = "wallet"

    def __init__(
        self,
        http: ChannelHttp,
        url: str,
        tokens: Keyring[Token] | None = None,
        schedule: tuple[float, ...] = CALL_SCHEDULE,
    ) -> None:
        """Speak to the service at ``url``, with these tokens; the schedule as in `Channel`."""
        self.schedule = schedule
        self._http = http
        self._url = url.rstrip("/")
        self._tokens = tokens
        self.keyrings = (tokens,) if tokens else ()

    async def open(self, charge: Charge) -> OpenSaid:
        """Debit the payer."""
        body = {
            "userId": charge.payer_id,
            "amount": charge.amount,
            "currency": charge.currency,
            "payOrderId": charge.pay_order_id,
            "payPassword": charge.credential,
        }
        said = await self._ask("PUT", f"/wallet/debits/{charge.attempt_id}", body)
        if not isinstance(said, _State):
            return said
        match said.state:
            case "DONE":
                return _paid(said)
            case "REFUSED" if said.code:
                return Refused(said.code, said.detail)
            case "REVERSED":
                return Refused("REVERSED", "it was reversed before it arrived")
        return undecided(f"a debit answered with {said.state}")

    async def query(self, charge: Charge) -> QuerySaid:
        """Ask what has become of a debit."""
        return _of_debit(await self._ask("GET", f"/wallet/debits/{charge.attempt_id}"))

    async def close(self, charge: Charge) -> CloseSaid:
        """Reverse a debit; of one that has not arrived, make sure that it is refused when it does."""
        said = _of_debit(await self._ask("POST", f"/wallet/debits/{charge.attempt_id}/reverse", {}))
        return undecided("a reversal that left the debit as it was") if isinstance(said, Paid) else said

    async def refund(self, back: Return) -> RefundSaid:
        """Credit the payer."""
        body = {
            "userId": back.charge.payer_id,
            "amount": back.amount,
            "currency": back.charge.currency,
            "debitId": back.charge.attempt_id,
        }
        return _of_credit(await self._ask("PUT", f"/wallet/credits/{back.refund_id}", body))

    async def query_refund(self, back: Return) -> RefundSaid:
        """Ask what has become of a credit."""
        return _of_credit(await self._ask("GET", f"/wallet/credits/{back.refund_id}"))

    async def debited(self, number: str) -> Entry | None:
        """Return what the wallet has taken under a number of ours, None if nothing.

        Raises:
            ChannelUnavailable: it does not say.
        """
        return _entry(await self._ask("GET", f"/wallet/debits/{number}"))

    async def credited(self, number: str) -> Entry | None:
        """Return what it has given back under a number of ours; as `debited`."""
        return _entry(await self._ask("GET", f"/wallet/credits/{number}"))

    def read_notice(self, notice: Notice) -> Heard:
        """Refuse: a wallet sends none."""
        raise NoticeRefused

    def answer_notice(self, *, taken: bool) -> NoticeAnswer:
        """Answer with nothing."""
        return NoticeAnswer(204 if taken else 400)

    async def _ask(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> _State | Unknown | NotSent:
        data = None if body is None else msgspec.json.encode(body)
        tokens: list[Token | None] = [token for _, token in self._tokens.all] if self._tokens else []
        # The newest once more at the end: it may have become the right one since it was tried.
        for token in [*tokens, *tokens[:1]] or [None]:
            answer = await self._http.send(method, self._url + path, headers=_headers(token), body=data)
            # Nothing was done for whom it does not know: while tokens change one of them is the right one.
            if not isinstance(answer, Answer) or answer.status != HTTPStatus.UNAUTHORIZED:
                break
        return _read(answer) if isinstance(answer, Answer) else answer


def _headers(token: Token | None) -> Mapping[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return headers if token is None else {**headers, "Authorization": token.bearer}


def _read(answer: Answer) -> _State | Unknown:
    if answer.status >= _SERVER_FAULT:
        return Unknown(f"HTTP {answer.status}")
    try:
        return msgspec.json.decode(answer.body, type=_State)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Unknown(f"HTTP {answer.status} without a state")


def _paid(said: _State) -> Paid | Unknown:
    if not said.transaction_id:
        return undecided("DONE without a transactionId")
    return Paid(said.amount, said.currency, said.transaction_id, RemoteWallet.merchant)


def _entry(said: _State | Unknown | NotSent) -> Entry | None:
    if not isinstance(said, _State):
        raise ChannelUnavailable(
            f"The wallet does not say all that it did ({said.reason}); try again shortly."
        )
    return Entry(said.amount, said.currency, said.transaction_id) if said.state == "DONE" else None


def _of_debit(said: _State | Unknown | NotSent) -> Paid | Refused | Closed | NotFound | Unknown | NotSent:
    if not isinstance(said, _State):
        return said
    match said.state:
        case "DONE":
            return _paid(said)
        case "REFUSED":
            return Refused(said.code or "REFUSED", said.detail)
        case "REVERSED":
            return Closed()
        case "NOT_FOUND":
            return NotFound()


def _of_credit(said: _State | Unknown | NotSent) -> RefundSaid:
    if not isinstance(said, _State):
        return said
    match said.state:
        case "DONE":
            return RefundDone(said.transaction_id)
        case "REFUSED" if said.code:
            return RefundFailed(said.code, said.detail)
        case "NOT_FOUND":
            return NotFound()
    return undecided(f"a credit answered with {said.state}")
