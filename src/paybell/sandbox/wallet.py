"""A simulated remote wallet by the contract of `docs/remote-wallet.md`, with books of what it really moved.

Every user has the same pay password and the same funds. The reference implementation one copies is
`examples/wallet_service.py`; this one can be made to fail.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from paybell.sandbox.books import BackMoney, Trade
from paybell.sandbox.clock import SandboxClock
from paybell.sandbox.faults import Fault, Operation
from paybell.sandbox.simulator import Reply, Simulator

PAY_PASSWORD = "123456"  # noqa: S105 - of nobody
FUNDS = 1_000_000_000
_OK, _UNAUTHORIZED, _NOT_FOUND, _CONFLICT, _DIFFERS = 200, 401, 404, 409, 422
Body = Mapping[str, object]


@dataclass
class _Debit:
    """Money taken, refused, or given back before it counted; amount in minor units."""

    number: str
    state: str
    user: str = ""
    amount: int = 0
    currency: str = ""
    code: str = ""
    credits: dict[str, int] = field(default_factory=dict)


class WalletSimulator(Simulator):
    """A user service that holds balances."""

    name = "wallet"
    signs_answers = False

    def __init__(self, clock: SandboxClock, *, token: str) -> None:
        """Serve whoever brings this bearer token."""
        super().__init__(clock)
        self._bearer = f"Bearer {token}"
        self._debits: dict[str, _Debit] = {}
        self._spent: dict[str, int] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the paths of the contract."""
        debit, credit = "/wallet/debits/{id}", "/wallet/credits/{id}"
        return [
            web.put(debit, self._route(Operation.OPEN, self._debit)),
            web.get(debit, self._route(Operation.QUERY, self._find)),
            web.post(debit + "/reverse", self._route(Operation.CLOSE, self._reverse)),
            web.put(credit, self._route(Operation.REFUND, self._credit)),
            web.get(credit, self._route(Operation.QUERY_REFUND, self._find_credit)),
        ]

    def _route(
        self, operation: Operation, act: Callable[[str, Body, Fault | None], Reply]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body: Body = json.loads(await request.read() or b"{}")
            known = request.headers.get("Authorization") == self._bearer
            number = request.match_info["id"]

            def do(fault: Fault | None) -> Reply:
                return act(number, body, fault) if known else _reply(_UNAUTHORIZED, code="UNAUTHORIZED")

            return await self.answer(request, operation, do)

        return handle

    def _debit(self, number: str, body: Body, _: Fault | None) -> Reply:
        """Take money, once for each id."""
        user, amount, currency = str(body["userId"]), int(str(body["amount"])), str(body["currency"])
        before = self._debits.get(number)
        if before is None:
            code = ""
            if body["payPassword"] != PAY_PASSWORD:
                code = "BAD_CREDENTIAL"
            elif self._spent.get(user, 0) + amount > FUNDS:
                code = "INSUFFICIENT"
            else:
                self._spent[user] = self._spent.get(user, 0) + amount
            before = _Debit(number, "REFUSED" if code else "DONE", user, amount, currency, code)
            self._debits[number] = before
        elif before.user and (before.user, before.amount, before.currency) != (user, amount, currency):
            return _reply(_DIFFERS, code="OTHER_REQUEST")
        return _shown(before)

    def _find(self, number: str, _: Body, fault: Fault | None) -> Reply:
        found = self._debits.get(number)
        if found is None or fault is Fault.NOT_FOUND:
            return _reply(_NOT_FOUND, state="NOT_FOUND")
        return _shown(found, more=fault is Fault.WRONG_AMOUNT)

    def _reverse(self, number: str, _: Body, __: Fault | None) -> Reply:
        """Give a debit back; of one that was never seen, make sure that it never happens."""
        found = self._debits.setdefault(number, _Debit(number, "REVERSED"))
        if found.state == "DONE":
            found.state = "REVERSED"
            self._spent[found.user] -= found.amount
        return Reply(_OK, _shown(found).body)

    def _credit(self, number: str, body: Body, _: Fault | None) -> Reply:
        """Give money back for a debit, once for each id and never more than it took."""
        debit, amount = self._debits.get(str(body["debitId"])), int(str(body["amount"]))
        if debit is None or debit.state != "DONE":
            return _reply(_CONFLICT, state="REFUSED", code="NO_DEBIT")
        if number not in debit.credits:
            if sum(debit.credits.values()) + amount > debit.amount:
                return _reply(_CONFLICT, state="REFUSED", code="EXCEEDS_DEBIT")
            debit.credits[number] = amount
            self._spent[debit.user] -= amount
        return _credited(number, debit.credits[number])

    def _find_credit(self, number: str, _: Body, __: Fault | None) -> Reply:
        for debit in self._debits.values():
            if number in debit.credits:
                return _credited(number, debit.credits[number])
        return _reply(_NOT_FOUND, state="NOT_FOUND")

    def failure(self, status: int) -> Reply:
        """Say so without a state, which is no answer."""
        return _reply(status, code="OUT_OF_ORDER")

    def error(self, code: str) -> Reply:
        """Refuse with this code."""
        return _reply(_CONFLICT, state="REFUSED", code=code)

    def signed(self, reply: Reply, fault: Fault | None, request: web.Request | None) -> Reply:
        """Return it as it is: this contract signs nothing."""
        del fault, request
        return reply

    def paid_notice(self, trade: Trade, fault: Fault | None) -> Reply:
        """Refuse: a wallet sends none."""
        raise NotImplementedError

    def refund_notice(self, trade: Trade, back: BackMoney, fault: Fault | None) -> Reply | None:
        """Return none: a wallet sends none."""
        del trade, back, fault
        return None

    def moved(self) -> Mapping[str, Mapping[str, int | str]]:
        """Return by the debits' numbers what was taken and not reversed, and what was credited for it."""
        return {
            one.number: {
                "state": one.state,
                "amount": one.amount,
                "paid": one.amount if one.state == "DONE" else 0,
                "refunded": sum(one.credits.values()),
                "currency": one.currency,
            }
            for one in self._debits.values()
        }


def _reply(status: int, **said: object) -> Reply:
    return Reply(status, json.dumps(said).encode())


def _shown(debit: _Debit, *, more: bool = False) -> Reply:
    said = {"state": debit.state, "amount": debit.amount + more, "currency": debit.currency}
    if debit.state == "DONE":
        return _reply(_OK, **said, transactionId=f"D{debit.number}")
    return _reply(_CONFLICT, **said, code=debit.code)


def _credited(number: str, amount: int) -> Reply:
    return _reply(_OK, state="DONE", transactionId=f"C{number}", amount=amount)
