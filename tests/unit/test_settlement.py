"""The decision about a batch of payments: a table for precedence, and thousands of random batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import seeded

from paybell.errors import PayOrderClosed, Refused
from paybell.pay.errors import NotThePayer, PayOrderNotFound
from paybell.pay.model import PayOrder
from paybell.pay.settlement import PaymentRequest, Settlement, settle
from paybell.pay.status import PayStatus
from paybell.wallet.errors import InsufficientBalance, PayPasswordLocked, WalletNotFound, WrongPayPassword
from paybell.wallet.ledger import WalletAccount
from paybell.wallet.pay_password import LOCK, PayPassword, Pepper

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PEPPER = Pepper("unit pepper")
RIGHT, WRONG = "123456", "000000"
STORED = PEPPER.protect(RIGHT)
Option = TypeVar("Option")


@dataclass
class World:
    """Locked rows and what a transaction would make of them."""

    orders: dict[int, PayOrder] = field(default_factory=dict)
    wallets: dict[tuple[str, str], WalletAccount] = field(default_factory=dict)

    def settle(self, requests: Sequence[PaymentRequest]) -> Settlement:
        """Decide a batch."""
        return settle(requests, self.orders, self.wallets, PEPPER, NOW)

    def after(self, settlement: Settlement) -> "World":
        """Return the rows as they are when the settlement is written."""
        wallets = dict(self.wallets)
        for key, one in wallets.items():
            spent = sum(t.amount for t in settlement.transfers if t.debit_account == one.account_id)
            tries = settlement.tries.get(one.account_id, one.pay_password)
            if spent or tries is not one.pay_password:
                wallets[key] = replace(one, debits=one.debits + spent, pay_password=tries)
        return World(self.orders | {order.id: order for order, _ in settlement.paid}, wallets)


def order(
    number: int,
    payer: str,
    amount: int,
    *,
    currency: str = "CNY",
    status: PayStatus = PayStatus.WAIT_BUYER_PAY,
    expired: bool = False,
) -> PayOrder:
    """A pay order of merchant 1 with the payee account 900."""
    return PayOrder(
        id=number,
        merchant_id="1",
        biz_order_no=5000 + number,
        payer_id=payer,
        payee_account=900,
        amount=amount,
        currency=currency,
        subject="",
        status=status,
        version=1,
        created_at=NOW - timedelta(hours=1),
        expires_at=NOW if expired else NOW + timedelta(hours=1),
        succeeded_at=NOW - timedelta(minutes=1) if status is PayStatus.TRADE_SUCCESS else None,
        closed_at=NOW - timedelta(minutes=1) if status is PayStatus.TRADE_CLOSED else None,
        refunded_amount=0,
    )


def wallet(
    account: int,
    owner: str,
    balance: int,
    *,
    currency: str = "CNY",
    failed_tries: int = 0,
    locked_until: datetime | None = None,
) -> WalletAccount:
    """A wallet that has turned over more than it holds."""
    password = PayPassword(STORED, failed_tries, locked_until)
    return WalletAccount(account, owner, currency, 1_000, 1_000 + balance, password)


def world(orders: Sequence[PayOrder], wallets: Sequence[WalletAccount]) -> World:
    """Put rows together."""
    return World({one.id: one for one in orders}, {(one.owner_id, one.currency): one for one in wallets})


def request(number: int, payer: str, password: str = RIGHT) -> PaymentRequest:
    """Somebody asks to pay an order."""
    return PaymentRequest(number, payer, password, f"trace-{number}")


def names(settlement: Settlement) -> list[str]:
    """Name the outcomes by their codes."""
    return [one.code if isinstance(one, Refused) else "paid" for one in settlement.outcomes]


PRECEDENCE: list[tuple[str, type[Refused] | None]] = [
    ("no such order", PayOrderNotFound),
    ("another payer", NotThePayer),
    ("paid already", None),
    ("closed", PayOrderClosed),
    ("expired", PayOrderClosed),
    ("no wallet", WalletNotFound),
    ("locked", PayPasswordLocked),
    ("wrong password", WrongPayPassword),
    ("not enough balance", InsufficientBalance),
    ("nothing", None),
]


def troubled(troubles: set[str]) -> tuple[World, PaymentRequest]:
    """Return a world in which all of these stand in the way of one payment."""
    status = PayStatus.WAIT_BUYER_PAY
    if "closed" in troubles:
        status = PayStatus.TRADE_CLOSED
    if "paid already" in troubles:
        status = PayStatus.TRADE_SUCCESS
    it = order(
        1,
        "someone" if "another payer" in troubles else "7",
        100,
        status=status,
        expired="expired" in troubles,
    )
    purse = wallet(
        10,
        it.payer_id,
        99 if "not enough balance" in troubles else 100,
        locked_until=NOW + LOCK if "locked" in troubles else None,
    )
    asked = request(
        2 if "no such order" in troubles else 1, "7", WRONG if "wrong password" in troubles else RIGHT
    )
    return world([it], [] if "no wallet" in troubles else [purse]), asked


@pytest.mark.parametrize("place", range(len(PRECEDENCE)), ids=[trouble for trouble, _ in PRECEDENCE])
def test_of_several_troubles_the_first_of_the_order_is_the_answer(place: int) -> None:
    """Everything that comes later in the order is wrong as well, and is not mentioned."""
    trouble, refusal = PRECEDENCE[place]
    alone, asked = troubled({trouble})
    with_all_later, asked_too = troubled({later for later, _ in PRECEDENCE[place:]})

    for settlement in (alone.settle([asked]), with_all_later.settle([asked_too])):
        (outcome,) = settlement.outcomes
        if refusal is not None:
            assert type(outcome) is refusal
            assert settlement.transfers == []
        elif trouble == "paid already":
            assert outcome == alone.orders[1] or outcome == with_all_later.orders[1]
            assert settlement.transfers == []
        else:
            assert isinstance(outcome, PayOrder)
            assert len(settlement.transfers) == 1


def test_a_payment_comes_to_an_answer_a_transfer_a_status_and_an_event() -> None:
    here = world([order(1, "7", 100)], [wallet(10, "7", 100)])

    settled = here.settle([request(1, "7")])

    (paid,) = settled.outcomes
    assert isinstance(paid, PayOrder)
    assert (paid.status, paid.version, paid.succeeded_at) == (PayStatus.TRADE_SUCCESS, 2, NOW)
    (transfer,) = settled.transfers
    assert (transfer.kind, transfer.reference) == ("payment", "1")
    assert (transfer.debit_account, transfer.credit_account, transfer.amount) == (10, 900, 100)
    assert settled.paid == [(paid, "trace-1")]
    assert settled.tries == {}


@pytest.mark.parametrize(
    ("requests", "expected", "tries"),
    [
        # One order twice: one transfer, the same answer.
        ([request(1, "7"), request(1, "7")], ["paid", "paid"], None),
        # Paid in this batch: the password is not asked again, and a stranger learns nothing.
        ([request(1, "7"), request(1, "7", WRONG), request(1, "8")], ["paid", "paid", "not_the_payer"], None),
        # 60 + 30 of 100; the next 60 do not fit, the 10 after them do.
        ([request(n, "7") for n in (1, 2, 3, 4)], ["paid", "paid", "insufficient_balance", "paid"], None),
        # A wrong try before the right one is forgiven.
        ([request(1, "7", WRONG), request(1, "7")], ["wrong_pay_password", "paid"], 0),
        # Tries are the wallet's, whichever order is tried.
        (
            [request(n, "7", WRONG) for n in (1, 2, 3, 4, 1)] + [request(2, "7")],
            ["wrong_pay_password"] * 5 + ["pay_password_locked"],
            5,
        ),
        # Being short of money does not count as a guess, and shows that the password was right.
        (
            [request(1, "7"), request(3, "7"), request(3, "7", WRONG)],
            ["paid", "insufficient_balance", "wrong_pay_password"],
            1,
        ),
        # Orders nobody knows, and nobody's wallet, touch no tries.
        ([request(9, "7", WRONG), request(5, "8", WRONG)], ["pay_order_not_found", "wallet_not_found"], None),
        ([], [], None),
    ],
)  # fmt: skip
def test_requests_of_one_batch_are_decided_in_their_order(
    requests: list[PaymentRequest], expected: list[str], tries: int | None
) -> None:
    here = world(
        [order(n, "7", amount) for n, amount in ((1, 60), (2, 30), (3, 60), (4, 10))] + [order(5, "8", 1)],
        [wallet(10, "7", 100)],
    )

    settled = here.settle(requests)

    assert names(settled) == expected
    assert (settled.tries[10].failed_tries if settled.tries else None) == tries


def test_a_request_to_pay_does_not_show_its_password() -> None:
    """Whoever logs it."""
    assert RIGHT not in repr(request(1, "7", RIGHT)) + str(request(1, "7", RIGHT))


def test_wallets_of_other_currencies_are_not_touched() -> None:
    """An order in yen is not paid in yuan, however many there are."""
    here = world(
        [order(1, "7", 100, currency="JPY")], [wallet(10, "7", 1_000), wallet(11, "7", 99, currency="JPY")]
    )

    assert names(here.settle([request(1, "7")])) == ["insufficient_balance"]


PAYERS = ("a", "b", "c")
CURRENCIES = ("CNY", "JPY")
BATCHES = 2_000


class Chooser(Protocol):
    """Picks one of several: at random, or as hypothesis wants it."""

    def __call__(self, options: Sequence[Option], /) -> Option:
        """Pick one."""
        ...


def random_batch(choose: Chooser) -> tuple[World, list[PaymentRequest]]:
    """A few payers' orders in every state, wallets often too small, missing or locked, and a batch."""
    orders = [
        order(
            number,
            choose(PAYERS),
            choose(range(1, 50)),
            currency=choose(CURRENCIES),
            status=choose([PayStatus.WAIT_BUYER_PAY] * 6 + list(PayStatus)),
            expired=choose([False] * 9 + [True]),
        )
        for number in range(1, choose(range(2, 10)))
    ]
    wallets = []
    for account, (payer, currency) in enumerate(product(PAYERS, CURRENCIES), 10):
        if choose([True] * 4 + [False]):
            failed = choose(range(6))
            locked_until = NOW + choose([LOCK, timedelta(0), -LOCK]) if failed == 5 else None
            wallets.append(
                wallet(
                    account,
                    payer,
                    choose(range(120)),
                    currency=currency,
                    failed_tries=failed,
                    locked_until=locked_until,
                )
            )
    requests = []
    for _ in range(choose(range(20))):
        asked = choose([*orders, order(99, "a", 1)])
        payer = choose([asked.payer_id] * 9 + ["b"])
        requests.append(request(asked.id, payer, choose([RIGHT] * 3 + [WRONG])))
    return world(orders, wallets), requests


def check(batch: tuple[World, list[PaymentRequest]]) -> Settlement:
    """Hold one batch to all that must be true of every batch."""
    settled = moves_exactly_what_it_pays(*batch)
    comes_to_the_same_however_it_is_cut(*batch, settled)
    refused_requests_change_nothing(*batch, settled)
    return settled


def comparable(settlement: Settlement) -> list[object]:
    """Make outcomes comparable: refusals by what they say."""
    return [(one.code, one.extensions) if isinstance(one, Refused) else one for one in settlement.outcomes]


def moves_exactly_what_it_pays(here: World, requests: list[PaymentRequest]) -> Settlement:
    """One transfer for each newly paid order: its amount, from payer to payee, within the balance."""
    before = World(dict(here.orders), dict(here.wallets))
    settled = here.settle(requests)

    assert len(settled.outcomes) == len(requests)
    assert here == before  # decided about, not changed
    paid = {one.id: one for one, _ in settled.paid}
    assert len(paid) == len(settled.paid) == len(settled.transfers)
    assert [one.reference for one in settled.transfers] == [str(one) for one in paid]
    assert sum(one.amount for one in settled.transfers) == sum(one.amount for one in paid.values())
    for transfer, (one, trace) in zip(settled.transfers, settled.paid, strict=True):
        payers = here.wallets[one.payer_id, one.currency]
        assert (transfer.debit_account, transfer.credit_account) == (payers.account_id, one.payee_account)
        assert transfer.amount == one.amount == here.orders[one.id].amount
        assert here.orders[one.id].refusal(NOW) is None
        assert trace == f"trace-{one.id}"
    assert all(holder.balance >= 0 for holder in here.after(settled).wallets.values())
    successes = {one.id for one in settled.outcomes if isinstance(one, PayOrder)}
    already = {one.id for one in here.orders.values() if one.status is PayStatus.TRADE_SUCCESS}
    assert paid.keys() == successes - already
    return settled


def comes_to_the_same_however_it_is_cut(
    here: World, requests: list[PaymentRequest], whole: Settlement
) -> None:
    """Deciding again, bisecting after a failure, or paying one by one changes nobody's answer."""
    assert comparable(here.settle(requests)) == comparable(whole)
    middle = len(requests) // 2
    for parts in ([requests[:middle], requests[middle:]], [[one] for one in requests]):
        now, outcomes, transfers = here, [], []
        for part in parts:
            settled = now.settle(part)
            outcomes += comparable(settled)
            transfers += settled.transfers
            now = now.after(settled)
        assert (outcomes, transfers, now) == (comparable(whole), whole.transfers, here.after(whole))


def refused_requests_change_nothing(here: World, requests: list[PaymentRequest], whole: Settlement) -> None:
    """Without them the rest is the same; only what was tried with a password leaves a trace."""
    silent = (PayOrderNotFound, NotThePayer, PayOrderClosed, WalletNotFound, PayPasswordLocked)
    heard = [n for n, outcome in enumerate(whole.outcomes) if not isinstance(outcome, silent)]
    without = here.settle([requests[number] for number in heard])

    assert comparable(without) == [comparable(whole)[number] for number in heard]
    assert (without.transfers, without.paid, without.tries) == (whole.transfers, whole.paid, whole.tries)


def test_thousands_of_random_batches_keep_every_rule() -> None:
    """Among them each answer that settlement knows."""
    rng = seeded()
    answers = {name for _ in range(BATCHES) for name in names(check(random_batch(rng.choice)))}

    assert answers == {"paid"} | {refusal.code for _, refusal in PRECEDENCE if refusal is not None}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_batches_that_hypothesis_thinks_of_keep_every_rule(data: st.DataObject) -> None:
    """The same rules; a batch that breaks one is made as small as can be."""
    check(random_batch(lambda options: data.draw(st.sampled_from(options))))
