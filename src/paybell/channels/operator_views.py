"""Attempts as operators are shown them."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from paybell.channels.attempt import Attempt
from paybell.channels.inspection import Case, Moment, Statement
from paybell.channels.returns import ReturnState
from paybell.channels.views import AttemptView, view


class SettlementView(msgspec.Struct, rename="camel"):
    """What people have said of an attempt: one asks, another one confirms."""

    outcome: Annotated[str, Meta(description="`paid`, `not_paid` or `given_back`.")]
    reference: str
    note: str
    asked_by: str
    asked_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None


class OperatorAttempt(AttemptView, rename="camel"):
    """An attempt with what its channel said last, since when, and what people have said."""

    detail: str
    changed_at: datetime
    settlement: SettlementView | None


class Needs(msgspec.Struct, rename="camel"):
    """How many attempts need a person, by reason."""

    manual: int
    not_given_back: int
    differs: int
    in_doubt: int
    giving_back: int
    disputed: int


class AttemptPage(msgspec.Struct):
    """Attempts, newest first; ``next`` is sent as ``before`` for the page after it."""

    attempts: list[OperatorAttempt]
    next: str | None
    needs: Needs


class AttemptDetail(msgspec.Struct, rename="camel"):
    """An attempt as operators see it: whose payment it is, and everything that became of it."""

    attempt: AttemptView
    biz_order_no: str
    payer_id: str
    merchant_id: str
    transaction_id: str | None
    detail: str
    changed_at: datetime
    queries: int
    next_query_at: datetime | None
    settlement: SettlementView | None
    given_back: Annotated[
        ReturnState | None,
        Meta(description="Where the money stands that it brought twice or late; null: it brought none."),
    ]
    history: list[Moment]


def operator_view(attempt: Attempt, statement: Statement | None) -> OperatorAttempt:
    """Show an attempt in a list."""
    return OperatorAttempt(
        **msgspec.structs.asdict(view(attempt)),
        detail=attempt.detail,
        changed_at=attempt.changed_at,
        settlement=settlement_view(statement),
    )


def detail_view(case: Case) -> AttemptDetail:
    """Show everything of an attempt."""
    return AttemptDetail(
        attempt=view(case.attempt),
        biz_order_no=str(case.order.biz_order_no),
        payer_id=case.order.payer_id,
        merchant_id=case.order.merchant_id,
        transaction_id=case.attempt.transaction_id,
        detail=case.attempt.detail,
        changed_at=case.attempt.changed_at,
        queries=case.attempt.queries,
        next_query_at=case.attempt.next_query_at,
        settlement=settlement_view(case.statement),
        given_back=case.given_back,
        history=case.history,
    )


def settlement_view(statement: Statement | None) -> SettlementView | None:
    """Show what people have said."""
    if statement is None:
        return None
    return SettlementView(**{name: getattr(statement, name) for name in SettlementView.__struct_fields__})
