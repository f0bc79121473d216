"""Checkout sessions: opened, found again where an answer was lost, asked for and expired."""

from collections.abc import Mapping

from paybell.channels.answers import Closed, NotFound, NotSent, Paid, Unknown, Waiting, undecided
from paybell.channels.channel import Charge
from paybell.channels.strict_json import Malformed
from paybell.channels.stripe import messages
from paybell.channels.stripe.api import StripeApi, unknown
from paybell.channels.stripe.messages import Fault, Session
from paybell.clock import Clock

_SESSIONS = "checkout/sessions"
# Of a hundred each. Nearly all lost sessions are among those of the minutes around the attempt's beginning;
# one opened again later, or while a clock was wrong, is found among this many since, and else by a person.
_PAGES_MAX = 20
_AROUND_SECONDS, _SKEW_SECONDS = 120, 3_600
_UNPAID: Mapping[str, Waiting | Closed] = {"open": Waiting(), "expired": Closed()}


class Sessions:
    """The sessions of one account."""

    def __init__(self, api: StripeApi, account: str, clock: Clock) -> None:
        """Take the account's API and id; the clock tells which deadlines Checkout takes."""
        self._api, self._account, self._clock = api, account, clock

    def merchant_of(self, *, live: bool) -> str:
        """Return who we are; test and live are two."""
        return f"{self._account}:{'live' if live else 'test'}"

    async def open(self, charge: Charge) -> Session | Fault | Unknown | NotSent:
        """Open one; the same charge again is the same session."""
        form = messages.session_form(
            charge.attempt_id,
            charge.amount,
            charge.currency,
            charge.subject,
            expires_at=None if self._is_far(charge) else charge.expires_at,
            return_url=charge.return_url,
        )
        return await self._call("POST", messages.path(_SESSIONS), form, f"{charge.attempt_id}-open")

    async def retrieve(self, session_id: str, charge: Charge) -> Paid | Waiting | Closed | Unknown | NotSent:
        """Ask what has become of one."""
        session = await self._call("GET", messages.path(_SESSIONS, session_id))
        if isinstance(session, Fault):
            return unknown(session)
        if not isinstance(session, Session):
            return session
        if session.client_reference_id != charge.attempt_id:
            return undecided("an answer about another payment")
        if session.status == "complete" and session.payment_status == "paid" and session.payment_intent:
            amount, currency = session.amount_total or 0, (session.currency or "").upper()
            return Paid(amount, currency, session.payment_intent, self.merchant_of(live=session.livemode))
        return _UNPAID.get(session.status or "", undecided(f"{session.status}, {session.payment_status}"))

    async def expire(self, session_id: str) -> Session | Fault | Unknown | NotSent:
        """End one that is open.

        Without a key: it is harmless twice, and a fault of Stripe's would be the key's answer for a day.
        """
        return await self._call("POST", messages.path(_SESSIONS, session_id, "expire"))

    async def find(self, charge: Charge) -> str | NotFound | Unknown | NotSent:
        """Return the session's id; one whose answer was lost is among those made since the attempt was."""
        if charge.reference:
            return charge.reference
        made = int(charge.made_at.timestamp())
        near = {"gte": made - _AROUND_SECONDS, "lte": made + _AROUND_SECONDS}
        found = await self._find(charge.attempt_id, near)
        if isinstance(found, NotFound):
            return await self._find(charge.attempt_id, {"gte": made - _SKEW_SECONDS})
        return found

    async def _find(self, attempt_id: str, created: Mapping[str, int]) -> str | NotFound | Unknown | NotSent:
        after = ""
        for _ in range(_PAGES_MAX):
            page = await self._page(created, after)
            if not isinstance(page, tuple):
                return page
            sessions, all_there = page
            for one in sessions:
                if one.client_reference_id == attempt_id:
                    return one.id
            if all_there or not sessions:
                return NotFound()
            after = sessions[-1].id
        return undecided("more sessions than are looked through")

    async def _page(
        self, created: Mapping[str, int], after: str
    ) -> tuple[list[Session], bool] | Unknown | NotSent:
        query = {"created": created, "limit": 100, **({"starting_after": after} if after else {})}
        answer = await self._api.call("GET", f"{messages.path(_SESSIONS)}?{messages.form(query).decode()}")
        if isinstance(answer, Fault):
            return unknown(answer)
        if not isinstance(answer, bytes):
            return answer
        try:
            return messages.read_sessions(answer)
        except Malformed as error:
            return Unknown(str(error))

    def _is_far(self, charge: Charge) -> bool:
        """Say whether Checkout takes no deadline as far ahead; it sets its own, and we close at ours."""
        ahead = (charge.expires_at - self._clock.now()).total_seconds()
        return ahead > messages.EXPIRES_SECONDS_MAX

    async def _call(
        self, method: str, path: str, form: bytes = b"", key: str = ""
    ) -> Session | Fault | Unknown | NotSent:
        answer = await self._api.call(method, path, form, key)
        if not isinstance(answer, bytes):
            return answer
        try:
            return messages.read_session(answer)
        except Malformed as error:
            return Unknown(str(error))
