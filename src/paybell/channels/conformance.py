"""Whether a user service keeps the wallet contract: asked over HTTP, one rule after the other, in order.

It moves the smallest amount there is and gives it back. It knows no more of the service than the contract
says.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from paybell.channels.http import Answer, ChannelHttp

_AMOUNT = 1
# More than any balance that is tried.
_TOO_MUCH = 10**15
_REFUSALS = range(400, 500)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, and what is wrong with it; empty: it is kept."""

    rule: str
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Payer:
    """A user of the wallet who may be debited one minor unit for a moment."""

    user_id: str
    pay_password: str = field(repr=False)
    currency: str


class WalletCheck:
    """Asks one service everything the contract promises."""

    def __init__(self, http: ChannelHttp, url: str, token: str, payer: Payer) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._token = token
        self._payer = payer
        self._names = secrets.token_hex(4)

    async def run(self) -> AsyncIterator[Finding]:
        """Yield a finding for each rule. What depends on a debit that failed is left out."""
        done = self._id("done")
        unknown = await self._ask("GET", f"/wallet/debits/{self._id('unseen')}")
        yield _expect("an unseen debit is 404 NOT_FOUND", unknown, 404, "NOT_FOUND")
        first = await self._debit(done)
        rule = "a debit is 200 DONE with transactionId, amount and currency"
        yield _done(rule, first, self._payer.currency)
        if first.state != "DONE":
            return
        again = await self._debit(done)
        yield _same("the same debit again has the same answer", first, again)
        yield _same("a debit can be asked about", first, await self._ask("GET", f"/wallet/debits/{done}"))
        other = await self._debit(done, amount=_AMOUNT + 1)
        yield _status("another body under the same id is 422", other, 422)
        async for finding in self._refusals():
            yield finding
        async for finding in self._credits(done):
            yield finding
        async for finding in self._reversals():
            yield finding
        if self._token:
            stranger = await self._ask("GET", f"/wallet/debits/{done}", token="")
            yield _status("a request without the token is 401", stranger, 401)

    async def _refusals(self) -> AsyncIterator[Finding]:
        wrong, much = self._id("wrong"), self._id("much")
        first = await self._debit(wrong, password=self._payer.pay_password + "x")
        yield _refused("a wrong pay password is 409 REFUSED BAD_CREDENTIAL", first, "BAD_CREDENTIAL")
        yield _same(
            "a refusal is remembered: the right password under the same id changes nothing",
            first,
            await self._debit(wrong),
        )
        yield _refused(
            "more than the balance is 409 REFUSED INSUFFICIENT",
            await self._debit(much, amount=_TOO_MUCH),
            "INSUFFICIENT",
        )
        for amount in (0, -1):
            answer = await self._debit(self._id(f"amount{amount}".replace("-", "m")), amount=amount)
            refused = answer.status in _REFUSALS and answer.state != "DONE"
            yield Finding(f"an amount of {amount} is refused", "" if refused else answer.words)

    async def _credits(self, debit: str) -> AsyncIterator[Finding]:
        number = self._id("credit")
        unseen = await self._ask("GET", f"/wallet/credits/{number}")
        yield _expect("an unseen credit is 404 NOT_FOUND", unseen, 404, "NOT_FOUND")
        first = await self._credit(number, debit)
        yield _expect("a credit is 200 DONE", first, 200, "DONE")
        yield _same("the same credit again has the same answer", first, await self._credit(number, debit))
        asked = await self._ask("GET", f"/wallet/credits/{number}")
        yield _same("a credit can be asked about", first, asked)

    async def _reversals(self) -> AsyncIterator[Finding]:
        late, undone = self._id("late"), self._id("undone")
        reversed_ = await self._reverse(late)
        yield _expect("a reversal of an unseen debit is 200 REVERSED", reversed_, 200, "REVERSED")
        arrived = await self._debit(late)
        yield _expect("a debit that arrives after its reversal is 409 REVERSED", arrived, 409, "REVERSED")
        if (await self._debit(undone)).state != "DONE":
            yield Finding("a debit can be reversed", "the debit for it was not DONE")
            return
        yield _expect("a debit can be reversed", await self._reverse(undone), 200, "REVERSED")
        again = await self._reverse(undone)
        yield _expect("a reversal again is the same", again, 200, "REVERSED")
        asked = await self._ask("GET", f"/wallet/debits/{undone}")
        wrong = "" if asked.state == "REVERSED" else asked.words
        yield Finding("a reversed debit is REVERSED when it is asked about", wrong)

    def _id(self, name: str) -> str:
        return f"check_{self._names}_{name}"

    async def _debit(self, number: str, amount: int = _AMOUNT, password: str | None = None) -> "_Said":
        body = {
            "userId": self._payer.user_id,
            "amount": amount,
            "currency": self._payer.currency,
            "payOrderId": f"check-{self._names}",
            "payPassword": self._payer.pay_password if password is None else password,
        }
        return await self._ask("PUT", f"/wallet/debits/{number}", body)

    async def _credit(self, number: str, debit: str) -> "_Said":
        payer = self._payer
        body = {"userId": payer.user_id, "amount": _AMOUNT, "currency": payer.currency, "debitId": debit}
        return await self._ask("PUT", f"/wallet/credits/{number}", body)

    async def _reverse(self, number: str) -> "_Said":
        return await self._ask("POST", f"/wallet/debits/{number}/reverse", {})

    async def _ask(
        self, method: str, path: str, body: dict[str, object] | None = None, token: str | None = None
    ) -> "_Said":
        headers = dict(self._headers)
        if token == "":
            headers.pop("Authorization", None)
        data = None if body is None else msgspec.json.encode(body)
        answer = await self._http.send(method, self._url + path, headers=headers, body=data)
        if not isinstance(answer, Answer):
            return _Said(0, {}, f"no answer: {answer.reason}")
        try:
            members = msgspec.json.decode(answer.body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _Said(answer.status, {}, f"answered {answer.status} without a JSON object")
        state, code = members.get("state", "without a state"), members.get("code", "")
        return _Said(answer.status, members, f"answered {answer.status} {state} {code}".strip())


@dataclass(frozen=True, slots=True)
class _Said:
    status: int
    members: dict[str, Any]
    words: str

    @property
    def state(self) -> object:
        return self.members.get("state")


def _status(rule: str, said: _Said, status: int) -> Finding:
    return Finding(rule, "" if said.status == status else said.words)


def _expect(rule: str, said: _Said, status: int, state: str) -> Finding:
    return Finding(rule, "" if (said.status, said.state) == (status, state) else said.words)


def _refused(rule: str, said: _Said, code: str) -> Finding:
    found = (said.status, said.state, said.members.get("code"))
    return Finding(rule, "" if found == (409, "REFUSED", code) else said.words)


def _done(rule: str, said: _Said, currency: str) -> Finding:
    if (said.status, said.state) != (200, "DONE"):
        return Finding(rule, said.words)
    wanted: dict[str, object] = {"amount": _AMOUNT, "currency": currency}
    lacking = [name for name, value in wanted.items() if said.members.get(name) != value]
    if not isinstance(said.members.get("transactionId"), str) or not said.members["transactionId"]:
        lacking.append("transactionId")
    return Finding(rule, f"these members are missing or wrong: {', '.join(lacking)}" if lacking else "")


def _same(rule: str, first: _Said, again: _Said) -> Finding:
    names = ("state", "transactionId", "amount", "currency", "code")
    differs = [name for name in names if first.members.get(name) != again.members.get(name)]
    return Finding(rule, f"{again.words}; these members differ: {', '.join(differs)}" if differs else "")
