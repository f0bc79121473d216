"""Stripe as a channel: a Checkout session that the buyer's browser is sent to, for cards."""

from datetime import timedelta

from paybell.channels.answers import (
    Closed,
    CloseSaid,
    NotFound,
    NotSent,
    Opened,
    OpenSaid,
    Paid,
    QuerySaid,
    RefundAccepted,
    RefundDone,
    RefundFailed,
    RefundSaid,
    Refused,
    Unknown,
    undecided,
)
from paybell.channels.channel import (
    Charge,
    Disputed,
    Heard,
    Kind,
    Notice,
    NoticeAnswer,
    NoticeRefused,
    Offer,
    Return,
)
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed
from paybell.channels.stripe import messages
from paybell.channels.stripe.api import StripeApi, unknown
from paybell.channels.stripe.messages import Event, Fault, Refund, Session
from paybell.channels.stripe.sessions import Sessions
from paybell.channels.stripe.signing import ApiKey, Secret, fault_of
from paybell.clock import Clock
from paybell.money import CURRENCIES, digits_of

_CURRENCIES = frozenset(one for one in CURRENCIES if messages.takes(one, digits_of(one)))
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
            clock: tells which deadlines Checkout takes.
            api_keys: the newest is used.
            secrets: of the webhook endpoint; each verifies.
            schedule: seconds between queries.
            shortest: Checkout takes no deadline that is nearer than half an hour.
        """
        self.name, self.schedule = name, schedule
        self.offer = Offer(_CURRENCIES, 1, messages.AMOUNT_MAX, shortest)
        self.keyrings = (api_keys, secrets)
        self._api = StripeApi(base_url, http, api_keys)
        self._api_keys, self._secrets = api_keys, secrets
        self._sessions = Sessions(self._api, account, clock)
        self.merchant = self._sessions.merchant_of(live=api_keys.newest.live)

    async def open(self, charge: Charge) -> OpenSaid:
        """Open a session; its key makes a repeated call the same session."""
        session = await self._sessions.open(charge)
        if isinstance(session, Fault):
            final = session.type == "invalid_request_error"
            return Refused(session.code or session.type, session.message) if final else unknown(session)
        if not isinstance(session, Session):
            return session
        if session.url:
            return Opened(redirect_url=session.url, reference=session.id)
        said = await self._sessions.retrieve(session.id, charge)
        return said if isinstance(said, Paid) else undecided("the session is not open")

    async def query(self, charge: Charge) -> QuerySaid:
        """Ask for the session."""
        session_id = await self._sessions.find(charge)
        if not isinstance(session_id, str):
            return session_id
        return await self._sessions.retrieve(session_id, charge)

    async def close(self, charge: Charge) -> CloseSaid:
        """Expire the session; one that is complete cannot be, and says what became of it."""
        session_id = await self._sessions.find(charge)
        if not isinstance(session_id, str):
            return session_id
        session = await self._sessions.expire(session_id)
        if isinstance(session, Session) and session.status == "expired":
            return Closed()
        if isinstance(session, Unknown | NotSent):
            return session
        said = await self._sessions.retrieve(session_id, charge)
        return said if isinstance(said, Paid | Closed) else undecided("not expired")

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
            return RefundFailed(answer.code, answer.message) if refused else unknown(answer)
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
            return unknown(answer)
        if not isinstance(answer, bytes):
            return answer
        try:
            refunds, all_there = messages.read_refunds(answer)
        except Malformed as error:
            return Unknown(str(error))
        for refund in refunds:
            if refund.metadata.get("refund") == back.refund_id:
                return _refund_state(refund, back)
        return NotFound() if all_there else undecided("more refunds than one page holds")

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


def _refund_state(refund: Refund, back: Return) -> RefundSaid:
    if refund.amount != back.amount:
        return undecided("another amount was refunded")
    if refund.status == "succeeded":
        return RefundDone(refund.id)
    if refund.status in _REFUND_FAILED:
        return RefundFailed(refund.status or "", "The card's bank did not take the refund.")
    return RefundAccepted()
