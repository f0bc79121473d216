"""``paybell attempts``: what was tried at channels, and settling by hand what none of them can say."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from shlex import quote
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter, validators
from rich.table import Table

from paybell.channels.attempt import Attempt, AttemptState
from paybell.channels.inspection import Case, Inspection, Need, Statement
from paybell.channels.operator_views import settlement_view
from paybell.channels.returns import ReturnState
from paybell.channels.settling import Settlement, Settling
from paybell.cli.options import Flag
from paybell.cli.output import out, print_json
from paybell.clock import SystemClock, rfc3339
from paybell.errors import Misconfigured
from paybell.ids import ID_MAX
from paybell.messaging.outbox import Outbox
from paybell.serving.databases import prepared
from paybell.settings import read_settings
from paybell.settings.secrets import with_secrets
from paybell.storage import Database
from paybell.tokens import Tokens

attempts = cyclopts.App(name="attempts", help="Attempts to pay by channels.")

TOKEN_VARIABLE = "PAYBELL_OPERATOR_TOKEN"  # noqa: S105 - the name of a variable
AttemptId = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=ID_MAX))]
Most = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=10_000))]
# What stands on the list under *needs*, and what to do.
_NEEDS = {
    Need.MANUAL: "two people to settle it",
    Need.NOT_GIVEN_BACK: "people to give its money back",
    Need.DIFFERS: "somebody to find out who is wrong",
    Need.IN_DOUBT: "patience: it is queried by itself",
    Need.GIVING_BACK: "its money to go back",
    Need.DISPUTED: "an answer at the channel, in time",
}


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    clock = SystemClock()
    async with (
        prepared(read_settings(), clock, ["pay"]) as urls,
        Database.open(urls["pay"], clock, connections=2) as database,
    ):
        yield database


def _operator() -> str:
    """Return who types, by their token.

    Raises:
        Misconfigured, NotAuthenticated, InsufficientScope.
    """
    tokens = Tokens.from_settings(with_secrets(read_settings()), SystemClock())
    if not (token := os.environ.get(TOKEN_VARIABLE, "")):
        raise Misconfigured(f"Set {TOKEN_VARIABLE} to a token of your own with the scope ops:repair.")
    who = tokens.verify(token)
    who.require("ops:repair")
    return who.user_id


@attempts.command(name="list")
async def list_(
    *,
    need: Need | None = None,
    state: AttemptState | None = None,
    most: Most = 50,
    json: Flag = False,
) -> int:
    """List attempts that need a person: to be settled, not given back, differing, in doubt, disputed.

    Args:
        need: those of one reason only.
        state: all attempts in this state instead, or those of a reason in this state.
        most: how many rows at most of each reason.
        json: end with one JSON line.
    """
    needs = [need] if need or state else list(Need)
    async with _database() as database:
        inspection = Inspection(database, SystemClock())
        found = [(why, *one) for why in needs for one in await inspection.list(why, state, ID_MAX, most)]
    if json:
        print_json(
            [_members(one) | {"need": why, "settlement": settlement_view(said)} for why, one, said in found]
        )
        return 0
    table = Table("id", "pay order", "channel", "state", "amount", "since", "needs", "the channel said")
    for why, one, said in found:
        table.add_row(
            str(one.id),
            str(one.pay_order_id),
            one.channel,
            one.state,
            f"{one.amount} {one.currency}",
            rfc3339(one.changed_at),
            _needs(why, said),
            ascii(" ".join(filter(None, (one.code, one.detail)))),
        )
    out.print(table if found else "None." if need or state else "No attempt needs a person.")
    if any(why is Need.MANUAL for why, _, _ in found):
        out.print(
            "Look each up in the channel's records: paybell attempts settle ID paid|not_paid --note WHERE."
        )
    if any(why is Need.NOT_GIVEN_BACK for why, _, _ in found):
        out.print("Give the money back another way, then: paybell attempts settle ID given_back --note HOW.")
    return 0


def _needs(why: Need | None, said: Statement | None) -> str:
    if said is not None and said.confirmed_by is None:
        return f"another one than {said.asked_by} to confirm {said.outcome}"
    return "" if why is None else _NEEDS[why]


@attempts.command
async def show(attempt_id: AttemptId, /, *, json: Flag = False) -> int:
    """Show one attempt, what people have said of it, and its history.

    Args:
        attempt_id: its number in the list.
        json: end with one JSON line.
    """
    async with _database() as database:
        case = await Inspection(database, SystemClock()).read(attempt_id)
    members = _members(case.attempt) | {
        "bizOrderNo": str(case.order.biz_order_no),
        "payerId": case.order.payer_id,
        "settlement": settlement_view(case.statement),
        "givenBack": case.given_back,
        "history": case.history,
    }
    if json:
        print_json(members)
        return 0
    table = Table("field", "value", show_header=False)
    for name in list(members)[:-3]:
        table.add_row(name, ascii(members[name]) if name == "detail" else str(members[name]))
    out.print(table)
    history = Table("at", "what", "who", "in words")
    for moment in case.history:
        history.add_row(rfc3339(moment.at), moment.what, moment.who, ascii(moment.words))
    out.print(history)
    if advice := _advice(case):
        out.print(advice, soft_wrap=True)
    return 0


def _confirmation(attempt_id: int, outcome: str, reference: str) -> str:
    """Return what another person types to confirm a settlement."""
    named = f" --reference {quote(reference)}" if reference else ""
    return f"paybell attempts settle {attempt_id} {outcome}{named} --note WHERE"


def _advice(case: Case) -> str:
    said, command = case.statement, f"paybell attempts settle {case.attempt.id}"
    if said is not None and said.confirmed_by is None:
        return (
            f"{said.asked_by} says {said.outcome}. Another person confirms it: "
            f"{_confirmation(case.attempt.id, said.outcome, said.reference)}; or takes it back: "
            f"paybell attempts withdraw {case.attempt.id}."
        )
    if case.attempt.state is AttemptState.MANUAL:
        return f"Look it up in the channel's records, then: {command} paid|not_paid --note WHERE."
    if case.given_back is ReturnState.FAILED:
        return (
            f"Its channel refused to give the money back. Do it another way, then: {command} given_back "
            "--note HOW."
        )
    return ""


@attempts.command
async def settle(
    attempt_id: AttemptId,
    outcome: Literal["paid", "not_paid", "given_back"],
    /,
    *,
    note: str,
    reference: str = "",
    json: Flag = False,
) -> int:
    """Settle an attempt by hand, from the channel's own records: one person asks, another one confirms.

    Who you are says the token in PAYBELL_OPERATOR_TOKEN, with the scope ops:repair.

    Args:
        attempt_id: its number in the list.
        outcome: what the channel's records say; given_back: people gave back what the channel refused to.
        note: where that was read, up to 256 characters.
        reference: the channel's own number of the payment.
        json: end with one JSON line.
    """
    wanted = Settlement(outcome, reference, note[:256], _operator())
    async with _database() as database:
        attempt, decided = await Settling(database, Outbox(database)).settle(attempt_id, wanted)
    if json:
        print_json({"attemptId": str(attempt.id), "state": attempt.state, "decided": decided})
    elif decided:
        out.print(f"Attempt {attempt.id} is {attempt.state}.")
    else:
        command = _confirmation(attempt_id, outcome, reference)
        out.print(f"Asked for; another person has to confirm it: {command}.", soft_wrap=True)
    return 0


@attempts.command
async def withdraw(attempt_id: AttemptId, /, *, json: Flag = False) -> int:
    """Take back a settlement that somebody asked for and nobody has confirmed.

    Who you are says the token in PAYBELL_OPERATOR_TOKEN, with the scope ops:repair.

    Args:
        attempt_id: its number in the list.
        json: end with one JSON line.
    """
    who = _operator()
    async with _database() as database:
        await Settling(database, Outbox(database)).withdraw(attempt_id, who)
    if json:
        print_json({"attemptId": str(attempt_id), "withdrawn": True})
    else:
        out.print(f"Withdrawn; attempt {attempt_id} waits for a settlement again.")
    return 0


def _members(attempt: Attempt) -> dict[str, object]:
    return {
        "attemptId": str(attempt.id),
        "payOrderId": str(attempt.pay_order_id),
        "channel": attempt.channel,
        "state": attempt.state,
        "amount": attempt.amount,
        "currency": attempt.currency,
        "transactionId": attempt.transaction_id,
        "createdAt": attempt.created_at,
        "changedAt": attempt.changed_at,
        "nextQueryAt": attempt.next_query_at,
        "code": attempt.code,
        "detail": attempt.detail,
    }
