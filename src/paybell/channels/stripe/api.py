"""Calls to Stripe: what is certain of an answer, and what is not."""

from collections.abc import Mapping
from http import HTTPStatus

from paybell.channels.answers import NotSent, Unknown, undecided
from paybell.channels.http import ChannelHttp
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed
from paybell.channels.stripe import messages
from paybell.channels.stripe.messages import Fault
from paybell.channels.stripe.signing import ApiKey

# It does not want to hear of us, or not so often.
_NO_ENTRY = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


class StripeApi:
    """One account's API."""

    def __init__(self, base_url: str, http: ChannelHttp, api_keys: Keyring[ApiKey]) -> None:
        """Call ``base_url`` with the newest of the keys."""
        self._base_url, self._http, self._api_keys = base_url, http, api_keys

    async def call(
        self, method: str, path: str, form: bytes = b"", key: str = ""
    ) -> bytes | Fault | Unknown | NotSent:
        """Call; return the body of a success, a documented refusal, or what is not known."""
        headers: Mapping[str, str] = {
            "Authorization": self._api_keys.newest.bearer,
            "Stripe-Version": messages.VERSION,
            "Accept": "application/json",
        }
        if form:
            headers = {**headers, "Content-Type": "application/x-www-form-urlencoded", "Idempotency-Key": key}
        answer = await self._http.send(method, self._base_url + path, headers=headers, body=form or None)
        if isinstance(answer, Unknown | NotSent):
            return answer
        if answer.status == HTTPStatus.OK:
            return answer.body
        try:
            fault = messages.read_fault(answer.body)
        except Malformed:
            return Unknown(f"HTTP {answer.status}")
        if answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
            return fault
        well = answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status not in _NO_ENTRY
        return Unknown(f"HTTP {answer.status} {fault.code or fault.type}"[:80], answered=well)


def unknown(fault: Fault) -> Unknown:
    """Return a refusal that is not certain to be final."""
    return undecided(fault.code or fault.type)
