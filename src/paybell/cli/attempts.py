"""``paybell attempts``: what was tried at channels, and settling by hand what none of them can say."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter, validators
from rich.table import Table

from paybell.channels.attempt import Attempt, AttemptState
from paybell.channels.settling import Settlement, Settling
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
Json = Annotated[bool, Parameter(negative="")]


@asynccontextmanager
async def _settling() -> AsyncIterator[Settling]:
    clock = SystemClock()
    async with (
        prepared(read_settings(), clock, ["pay"]) as urls,
        Database.open(urls["pay"], clock, connections=2) as database,
    ):
        yield Settling(database, Outbox(database))


@attempts.command(name="list")
async def list_(
    *, state: AttemptState | None = AttemptState.MANUAL, most: Most = 50, json: Json = False
) -> int:
    """List attempts, newest first: those that wait for a person, or those in another state.

    Args:
        state: MANUAL (waits for you), UNKNOWN (queried by itself) or another one.
        most: how many rows at most.
        json: end with one JSON line.
    """
    async with _settling() as settling:
        found = await settling.list(state, ID_MAX, most)
    if json:
        print_json([_members(one) for one in found])
        return 0
    table = Table("id", "pay order", "channel", "state", "amount", "since", "why")
    for one in found:
        amount = f"{one.amount} {one.currency}"
        since = rfc3339(one.changed_at)
        table.add_row(
            str(one.id), str(one.pay_order_id), one.channel, one.state, amount, since, ascii(one.detail)
        )
    out.print(table)
    return 0


@attempts.command
async def show(attempt_id: AttemptId, /, *, json: Json = False) -> int:
    """Show one attempt, and what people have said of it.

    Args:
        attempt_id: its number in the list.
        json: end with one JSON line.
    """
    async with _settling() as settling:
        attempt, settlement = await settling.read(attempt_id)
    members = _members(attempt) | {"settlement": settlement}
    if json:
        print_json(members)
        return 0
    table = Table("field", "value", show_header=False)
    for name, value in members.items():
        table.add_row(name, ascii(value) if name == "detail" else str(value))
    out.print(table)
    return 0


@attempts.command
async def settle(
    attempt_id: AttemptId,
    outcome: Literal["paid", "not_paid"],
    /,
    *,
    note: str,
    reference: str = "",
    json: Json = False,
) -> int:
    """Settle an attempt by hand, from the channel's own records: one person asks, another one confirms.

    Who you are says the token in PAYBELL_OPERATOR_TOKEN, with the scope ops:repair.

    Args:
        attempt_id: its number in the list.
        outcome: what the channel's records say.
        note: where that was read, up to 256 characters.
        reference: the channel's own number of the payment.
        json: end with one JSON line.
    """
    tokens = Tokens.from_settings(with_secrets(read_settings()), SystemClock())
    if not (token := os.environ.get(TOKEN_VARIABLE, "")):
        raise Misconfigured(f"Set {TOKEN_VARIABLE} to a token of your own with the scope ops:repair.")
    who = tokens.verify(token)
    who.require("ops:repair")
    async with _settling() as settling:
        attempt, decided = await settling.settle(
            attempt_id, Settlement(outcome, reference, note[:256], who.user_id)
        )
    if json:
        print_json({"attemptId": str(attempt.id), "state": attempt.state, "decided": decided})
    elif decided:
        out.print(f"Attempt {attempt.id} is {attempt.state}.")
    else:
        command = f"paybell attempts settle {attempt_id} {outcome}"
        out.print(f"Asked for; another person has to confirm it: {command}.")
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
