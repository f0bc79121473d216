"""Stripe as a channel: a Checkout session that the buyer's browser is sent to, for cards."""

from datetime import timedelta

from paybell.channels.channel import (
    Charge,
    Closed,
    CloseSaid,
    Disputed,
    Heard,
    Kind,
    NotFound,
    Notice,
    NoticeAnswer,
    NoticeRefused,
    NotSent,
    Offer,
    Opened,
    OpenSaid,
    Paid,
    QuerySaid,
    RefundAccepted,
    RefundDone,
    RefundFailed,
    RefundSaid,
    Refused,
    Return,
    Unknown,
    Waiting,
)
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed
from paybell.channels.stripe import messages
from paybell.channels.stripe.api import StripeApi
from paybell.channels.stripe.messages import Event, Fault, Refund, Session
from paybell.channels.stripe.signing import ApiKey, Secret, fault_of
from paybell.clock import Clock
from paybell.money import CURRENCIES, digits_of

_SESSIONS = "checkout/sessions"
_CURRENCIES = frozenset(one for one in CURRENCIES if messages.takes(one, digits_of(one)))
# Of a hundred each; whoever sells more within a day finds a lost answer by a person.
_PAGES_MAX = 20
_REFUND_FAILED = {"failed", "canceled"}
_REFUND_REFUSED = {
    "amount_too_large",
    "charge_already_refunded",
    "charge_disputed",
    "parameter_invalid_integer",
}


class StripeChannel:
    """Windows of Stripe Checkout; nothing is believed of a webhook but which object it is about."""

    kind = Kind.WINDOW

    def __init__(
        self,
        name: str,
        account: str,
        base_url: str,
        http: ChannelHttp,
        clock: Clock,
        *,
        api_keys: Keyring[ApiKey],
        secrets: Keyring[Secret],
        schedule: tuple[float, ...],
        shortest: timedelta = timedelta(seconds=messages.EXPIRES_SECONDS_MIN + 60),
    ) -> None:
        """Take what it needs.

        Args:
            name: as in URLs and rows.
            account: the account's id (acct_…), for the books; test and live are two merchants.
            base_url: of the API, without a path.
            http: makes the calls.
            clock: of how old a signature may be.
            api_keys: the newest is used.
            secrets: of the webhook endpoint; each verifies.
            schedule: seconds between queries.
            shortest: Checkout takes no deadline that is nearer than half an hour.
        """
        self.name, self.schedule = name, schedule
        self.offer = Offer(_CURRENCIES, 1, messages.AMOUNT_MAX, shortest)
        self.keyrings = (api_keys, secrets)
        self._account, self._clock = account, clock
        self._api = StripeApi(base_url, http, api_keys)
        self._api_keys, self._secrets = api_keys, secrets
        self.merchant = self._identity(live=api_keys.newest.live)

    async def open(self, charge: Charge) -> OpenSaid:
        """Open a session; its key makes a repeated call the same session."""
        session = await self._open(charge)
        if isinstance(session, Fault):
            final = session.type == "invalid_request_error"
            return Refused(session.code or session.type, session.message) if final else _unknown(session)
        if not isinstance(session, Session):
            return session
        if session.url:
            return Opened(redirect_url=session.url, reference=session.id)
        said = await self._retrieve(session.id, charge)
        return said if isinstance(said, Paid) else Unknown("the session is not open")

    async def query(self, charge: Charge) -> QuerySaid:
        """Ask for the session."""
        session_id = await self._session_of(charge)
        return await self._retrieve(session_id, charge) if isinstance(session_id, str) else session_id

    async def close(self, charge: Charge) -> CloseSaid:
        """Expire the session; one that is complete cannot be, and says what became of it."""
        session_id = await self._session_of(charge)
        if not isinstance(session_id, str):
            return session_id
        path = messages.path(_SESSIONS, session_id, "expire")
        # Without a key: it is harmless twice, and a fault of Stripe's would be the key's answer for a day.
        session = await self._session("POST", path)
        if isinstance(session, Session) and session.status == "expired":
            return Closed()
        if isinstance(session, Unknown | NotSent):
            return session
        said = await self._retrieve(session_id, charge)
        return said if isinstance(said, Paid | Closed) else Unknown("not expired")

    async def refund(self, back: Return) -> RefundSaid:
        """Give money back, once for each number; Stripe forgets keys after a day, so it is asked first."""
        before = await self.query_refund(back)
        if not isinstance(before, NotFound):
            return before
        form = messages.form(
            {
                "payment_intent": back.transaction_id,
                "amount": back.amount,
                "metadata": {"attempt": back.charge.attempt_id, "refund": back.refund_id},
            }
        )
        answer = await self._api.call("POST", messages.path("refunds"), form, f"refund-{back.refund_id}")
        if isinstance(answer, Fault):
            refused = answer.code in _REFUND_REFUSED
            return RefundFailed(answer.code, answer.message) if refused else _unknown(answer)
        if not isinstance(answer, bytes):
            return answer
        try:
            return _refund_state(messages.read_refund(answer), back)
        except Malformed as error:
            return Unknown(str(error))

    async def query_refund(self, back: Return) -> RefundSaid:
        """Look for the refund among those of the payment."""
        query = messages.form({"payment_intent": back.transaction_id, "limit": 100}).decode()
        answer = await self._api.call("GET", f"{messages.path('refunds')}?{query}")
        if isinstance(answer, Fault):
            return _unknown(answer)
        if not isinstance(answer, bytes):
            return answer
        try:
            refunds, all_there = messages.read_refunds(answer)
        except Malformed as error:
            return Unknown(str(error))
        for refund in refunds:
            if refund.metadata.get("refund") == back.refund_id:
                return _refund_state(refund, back)
        return NotFound() if all_there else Unknown("more refunds than one page holds")

    def read_notice(self, notice: Notice) -> Heard:
        """Verify, then read which object it is about.

        Raises:
            NoticeRefused: not signed with a secret of ours now, or of no form that Stripe has.
        """
        header = notice.headers.get("stripe-signature", "")
        secrets = [secret for _, secret in self._secrets.all]
        if fault := fault_of(header, notice.body, secrets, notice.received_at):
            raise NoticeRefused(reason=fault)
        try:
            event = messages.read_event(notice.body)
        except Malformed as error:
            raise NoticeRefused from error
        about, metadata = event.data.object, event.data.object.metadata or {}
        if event.livemode != self._api_keys.newest.live:
            return Heard(event.id, "")
        if event.type.startswith("checkout.session."):
            return Heard(event.id, about.client_reference_id or "")
        if about.object == "refund" and "refund" in metadata:
            return Heard(event.id, metadata.get("attempt", ""), refund_id=metadata["refund"])
        if event.type.startswith("charge.dispute.") and about.id and about.payment_intent:
            return Heard(event.id, "", disputed=_disputed(event))
        return Heard(event.id, "")

    def answer_notice(self, *, taken: bool) -> NoticeAnswer:
        """Return any 2xx, or a failure that makes Stripe send it again."""
        return NoticeAnswer(200 if taken else 500)

    async def _session_of(self, charge: Charge) -> str | NotFound | Unknown | NotSent:
        """Return the session's id; one whose answer was lost is among those made within its longest life."""
        if charge.reference:
            return charge.reference
        since = int(charge.expires_at.timestamp()) - messages.EXPIRES_SECONDS_MAX
        after = ""
        for _ in range(_PAGES_MAX):
            page = await self._page(since, after)
            if not isinstance(page, tuple):
                return page
            sessions, all_there = page
            for one in sessions:
                if one.client_reference_id == charge.attempt_id:
                    return one.id
            if all_there or not sessions:
                return NotFound()
            after = sessions[-1].id
        return Unknown("more sessions than are looked through")

    async def _page(self, since: int, after: str) -> tuple[list[Session], bool] | Unknown | NotSent:
        query = {"created": {"gte": since}, "limit": 100, **({"starting_after": after} if after else {})}
        answer = await self._api.call("GET", f"{messages.path(_SESSIONS)}?{messages.form(query).decode()}")
        if isinstance(answer, Fault):
            return _unknown(answer)
        if not isinstance(answer, bytes):
            return answer
        try:
            return messages.read_sessions(answer)
        except Malformed as error:
            return Unknown(str(error))

    async def _open(self, charge: Charge) -> Session | Fault | Unknown | NotSent:
        form = messages.session_form(
            charge.attempt_id,
            charge.amount,
            charge.currency,
            charge.subject,
            expires_at=None if self._is_far(charge) else charge.expires_at,
            return_url=charge.return_url,
        )
        return await self._session("POST", messages.path(_SESSIONS), form, f"{charge.attempt_id}-open")

    def _is_far(self, charge: Charge) -> bool:
        """Say whether Checkout takes no deadline as far ahead; it sets its own, and we close at ours."""
        ahead = (charge.expires_at - self._clock.now()).total_seconds()
        return ahead > messages.EXPIRES_SECONDS_MAX

    async def _retrieve(self, session_id: str, charge: Charge) -> Paid | Waiting | Closed | Unknown | NotSent:
        session = await self._session("GET", messages.path(_SESSIONS, session_id))
        if isinstance(session, Fault):
            return _unknown(session)
        if not isinstance(session, Session):
            return session
        if session.client_reference_id != charge.attempt_id:
            return Unknown("an answer about another payment")
        if session.status == "complete" and session.payment_status == "paid" and session.payment_intent:
            amount, currency = session.amount_total or 0, (session.currency or "").upper()
            return Paid(amount, currency, session.payment_intent, self._identity(live=session.livemode))
        if session.status == "open":
            return Waiting()
        return (
            Closed()
            if session.status == "expired"
            else Unknown(f"{session.status}, {session.payment_status}")
        )

    async def _session(
        self, method: str, path: str, form: bytes = b"", key: str = ""
    ) -> Session | Fault | Unknown | NotSent:
        answer = await self._api.call(method, path, form, key)
        if not isinstance(answer, bytes):
            return answer
        try:
            return messages.read_session(answer)
        except Malformed as error:
            return Unknown(str(error))

    def _identity(self, *, live: bool) -> str:
        return f"{self._account}:{'live' if live else 'test'}"


def _disputed(event: Event) -> Disputed:
    about = event.data.object
    return Disputed(
        about.id,
        about.payment_intent or "",
        max(about.amount or 0, 0),
        (about.currency or "").upper()[:3],
        about.reason or "",
        about.status or "",
        closed=event.type == "charge.dispute.closed",
    )


def _unknown(fault: Fault) -> Unknown:
    return Unknown(fault.code or fault.type)


def _refund_state(refund: Refund, back: Return) -> RefundSaid:
    if refund.amount != back.amount:
        return Unknown("another amount was refunded")
    if refund.status == "succeeded":
        return RefundDone(refund.id)
    if refund.status in _REFUND_FAILED:
        return RefundFailed(refund.status or "", "The card's bank did not take the refund.")
    return RefundAccepted()
