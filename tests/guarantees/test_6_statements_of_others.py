"""Promise 6, seen from outside: a bank's statement and our ledger are laid side by side, to the last line."""

from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from relaying import pay
from support import PaySide, seeded

from paybell.clock import SystemClock
from paybell.errors import InvalidRequest
from paybell.idempotency.keys import IdempotencyKey
from paybell.storage import Database
from paybell.verification.bank_file import Kind
from paybell.verification.bank_matching import Matched, Mismatch, match_statement
from paybell.wallet import ledger
from paybell.wallet.ledger import Transfer, TransferKind
from paybell.wallet.routes import topped_up
from paybell.wallet.statements import Period

HEAD = "date,reference,amount,currency\n"


async def match(
    database: Database,
    *lines: str,
    kind: Kind | None = None,
    period: Period | None = None,
    head: str = HEAD,
    merchant: str = "1",
) -> Matched:
    """Match a file of these lines."""
    return await match_statement(database, BytesIO("".join([head, *lines]).encode()), merchant, kind, period)


async def test_a_statement_that_agrees_matches_line_by_line(pay_database: Database) -> None:
    """Also when it is longer than a page; the answer names what was compared."""
    side = PaySide(pay_database)
    await side.fund("7", 10_000_00)
    starts = range(1, 6_001, 2_000)
    orders = [order for start in starts for order in await pay(side, *range(start, start + 2_000))]

    result = await match(pay_database, *(f"2026-01-01,{order.id},100,CNY\n" for order in orders))

    today = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
    assert (result.lines, result.matched, result.transfers, result.mismatches) == (6_000, 6_000, 6_000, [])
    assert (result.merchant_id, result.kinds, result.currencies) == ("1", ["payment"], ["CNY"])
    assert result.period is not None
    assert result.period.end - result.period.start in (timedelta(days=1), timedelta(days=2))
    assert result.period.start <= today < result.period.end


async def test_what_does_not_agree_is_listed_with_both_sides(pay_database: Database) -> None:
    """Missing here, missing there, another amount or currency, twice."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    first, second, third, fourth, last = [(await pay(side, number))[0].id for number in range(1, 6)]

    result = await match(
        pay_database,
        f",{first},100,CNY\n",
        f",{third},99,CNY\n",
        f",{fourth},100,USD\n",
        ",4711,5,CNY\n",
        f",{last},100,CNY\n",
        "\n",
        f",{last},100,CNY\n",
    )

    assert (result.lines, result.matched) == (6, 2)
    assert result.mismatches == [
        Mismatch("different_amount", 3, str(third), "99 CNY", "100 CNY"),
        Mismatch("different_amount", 4, str(fourth), "100 USD", "100 CNY"),
        Mismatch("missing_here", 5, "4711", "5 CNY", ""),
        Mismatch("twice", 8, str(last), "100 CNY", "100 CNY"),
        Mismatch("missing_there", 0, str(second), "", "100 CNY"),
    ]


async def test_a_file_that_was_cut_off_lacks_what_else_was_paid_on_its_days(pay_database: Database) -> None:
    """What was paid before its first line and after its last one counts too."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    before, named, after = [(await pay(side, number))[0].id for number in range(1, 4)]

    result = await match(pay_database, f",{named},100,CNY\n")

    assert (result.matched, result.transfers) == (1, 3)
    assert [(one.what, one.reference) for one in result.mismatches] == [
        ("missing_there", str(before)),
        ("missing_there", str(after)),
    ]


async def test_a_given_period_is_compared_whole_and_alone(pay_database: Database) -> None:
    """A line of another time is no match, so that a green answer is never about nothing."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    first = (await pay(side, 1))[0].id
    middle = SystemClock().now()
    second = (await pay(side, 2))[0].id
    later = Period(middle, middle + timedelta(hours=1))
    long_ago = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC))

    right = await match(pay_database, f",{second},100,CNY\n", period=later)
    older = await match(pay_database, f",{first},100,CNY\n", period=later)
    nothing = await match(pay_database, f",{first},100,CNY\n", period=long_ago)

    assert (right.matched, right.transfers, right.mismatches) == (1, 1, [])
    assert older.counts == {"outside_period": 1, "missing_there": 1}
    assert nothing.counts == {"outside_period": 1}


async def test_another_currency_or_merchant_is_neither_missing_nor_found(pay_database: Database) -> None:
    """A line about somebody else's payment is about nothing of ours."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    await side.fund("7", 1_000, "USD")
    mine = (await pay(side, 1))[0]
    dollars = await side.order(2, "7", 100, currency="USD")
    assert not isinstance(await side.attempt(dollars.id, "7"), Exception)

    result = await match(pay_database, f",{mine.id},100,CNY\n")
    stranger = await match(pay_database, f",{mine.id},100,CNY\n", merchant="2")

    assert (result.matched, result.mismatches) == (1, [])
    assert stranger.counts == {"missing_here": 1}
    assert stranger.period is None


async def test_payments_match_by_the_merchants_order_numbers_too(pay_database: Database) -> None:
    """Also where a number of an order is the id of another pay order; under both names it is twice."""
    side = PaySide(pay_database, first_id=5)
    await side.fund("7", 1_000)
    await side.open_merchant()
    orders = [(await pay(side, number))[0] for number in (6, 7, 8)]

    by_number = await match(pay_database, *(f",{order.biz_order_no},100,CNY\n" for order in orders))
    by_id = await match(pay_database, *(f",{order.id},100,CNY\n" for order in orders))
    both = await match(pay_database, *(f",{number},100,CNY\n" for number in (5, 6, 7, 8)))

    assert [order.id for order in orders] == [5, 6, 7]
    assert (by_number.matched, by_number.mismatches) == (3, [])
    assert (by_id.matched, by_id.mismatches) == (3, [])
    assert both.counts.total() == 1


async def test_a_merchants_own_statement_can_be_fed_back(pay_database: Database) -> None:
    """Payments and refunds in one file, refunds negative; one that lacks its refunds is not whole."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    first, second = [(await pay(side, number))[0] for number in (1, 2)]
    refund = await side.refund(first.id, 30)
    assert isinstance(refund, dict)
    head = "id,at,kind,amount,currency,reference\r\n"
    lines = [
        f"1,2026-01-01,payment,100,CNY,{first.id}\r\n",
        f"2,2026-01-01,payment,100,CNY,{second.id}\r\n",
        f"3,2026-01-01,refund,-30,CNY,{refund['refundId']}\r\n",
    ]

    whole = await match(pay_database, *lines, head=head)
    cut = await match(pay_database, *lines[:2], head=head)
    alone = await match(pay_database, f",{refund['refundId']},30,CNY\n", kind="refund")

    assert (whole.kinds, whole.matched) == (["payment", "refund", "refund_failed"], 3)
    assert whole.mismatches == []
    assert cut.mismatches == [Mismatch("missing_there", 0, refund["refundId"], "", "30 CNY")]
    assert (alone.kinds, alone.matched, alone.mismatches) == (["refund"], 1, [])


async def test_a_refund_that_its_channel_refused_stands_on_a_statement_twice(pay_database: Database) -> None:
    """Debited when it was asked for, and credited again."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    (order,) = await pay(side, 1)
    refund = await side.refund(order.id, 30)
    assert isinstance(refund, dict)
    async with pay_database.transaction() as tx:
        clearing = await ledger.system_account(tx, "clearing", "stripe", "CNY")
        back = (TransferKind.REFUND_FAILED, refund["refundId"], clearing, order.payee_account, 30)
        await ledger.post(tx, [Transfer(*back)])
    head = "id,at,kind,amount,currency,reference\r\n"
    lines = [
        f"1,2026-01-01,payment,100,CNY,{order.id}\r\n",
        f"2,2026-01-01,refund,-30,CNY,{refund['refundId']}\r\n",
        f"3,2026-01-01,refund_failed,30,CNY,{refund['refundId']}\r\n",
    ]

    whole = await match(pay_database, *lines, head=head)
    cut = await match(pay_database, *lines[:2], head=head)

    assert (whole.matched, whole.transfers, whole.mismatches) == (3, 3, [])
    assert cut.mismatches == [Mismatch("missing_there", 0, refund["refundId"], "", "30 CNY")]


async def test_top_ups_match_by_the_banks_reference_else_by_their_key(pay_database: Database) -> None:
    """One that came once and was put in twice is missing in the bank's file once."""
    side = PaySide(pay_database)
    await side.fund("7", 0)

    async def top_up(key: str, amount: int, reference: str | None = None) -> None:
        name = IdempotencyKey.of("1", "top-up", key, b"")
        await side.wallets.top_up("7", amount, "CNY", name, topped_up, reference=reference)

    await top_up("key-1", 10, "Überweisung 0815/26")
    await top_up("key-2", 20)
    await top_up("key-3", 30, "twice")
    lines = [",Überweisung 0815/26,10,CNY\n", ",key-2,20,CNY\n", ",twice,30,CNY\n"]

    once = await match(pay_database, *lines, kind="top_up")
    await top_up("key-4", 30, "twice")
    put_in_twice = await match(pay_database, *lines, kind="top_up")
    came_twice = await match(pay_database, *lines, lines[2], kind="top_up")
    by_key = await match(pay_database, *lines[1:], ",key-1,10,CNY\n", kind="top_up")

    assert (once.matched, once.mismatches) == (3, [])
    assert put_in_twice.mismatches == [Mismatch("missing_there", 0, "twice", "", "30 CNY")]
    assert (came_twice.matched, came_twice.mismatches) == (4, [])
    assert by_key.counts == {"missing_here": 1, "missing_there": 2}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Line 1: .* lacks reference, amount, currency"),
        (b"reference,amount\n", "Line 1: .* lacks currency"),
        (b"reference;amount;currency\n1;1;CNY\n", "Line 1: .* lacks"),
        (b"reference,amount,currency,amount\n1,1,CNY,1\n", "Line 1: .*amount twice"),
        (b"\xff\xfer\0e\0f\0", "Line 1: the line is not UTF-8"),
        (b"reference,amount,currency\r1,1,CNY\r", "Line 1: the line is not CSV"),
        (b"reference,amount,currency\n", "Line 2: there is no line"),
        (b"\xef\xbb\xbfreference,amount,currency\n \n\n", "Line 2: there is no line"),
        *(
            (b"reference,amount,currency,text\n\n" + line, f"Line 3: .*{reason}")
            for line, reason in (
                (b'1,1,CNY,"5 inch tube\n2,1,CNY,b\n', "quote is opened and not closed"),
                (b'1,1,CNY,"5 inch tube\n2,1,CNY,b"\n', "quote is opened and not closed"),
                (b'"1"x,1,CNY,t\n', "not CSV"),
                (b"1,1,CNY\n", "3 columns instead of 4"),
                (b"1,1,CN", "3 columns instead of 4"),
                (b"1,1,CN,", "currency 'CN'"),
                (b"1,1,cny,t\n", "currency 'cny'"),
                (b"1,1.5,CNY,t\n", "amount '1.5' is no whole number"),
                (b"1,-5,CNY,t\n", "only a refund may be negative"),
                (b"1,0,CNY,t\n", "amount '0' is not from 1"),
                (b"1," + b"9" * 16 + b",CNY,t\n", "is not from 1"),
                (b"1," + b"9" * 5_000 + b",CNY,t\n", "is no whole number"),
                (b" ,5,CNY,t\n", "reference of 1 to 400"),
                (b"1\0,5,CNY,t\n", "reference of 1 to 400"),
                (b"1" * 401 + b",5,CNY,t\n", "reference of 1 to 400"),
                (b"\xff,5,CNY,t\n", "not UTF-8"),
                (b"1,5,CNY," + b"t" * 100_000 + b"\n", "longer than 8192"),
            )
        ),
        (b"kind,reference,amount,currency\nfee,1,1,CNY\n", "Line 2: kind 'fee' is none of"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_with_its_line(
    pay_database: Database, content: bytes, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        await match_statement(pay_database, BytesIO(content), "1")


async def test_whatever_bytes_a_file_holds_are_answered(pay_database: Database) -> None:
    """A right file with some of its bytes changed is compared or refused, never anything else."""
    side, dice = PaySide(pay_database), seeded()
    await side.fund("7", 1_000)
    orders = [(await pay(side, number))[0].id for number in range(1, 6)]
    right = "".join([HEAD, *(f'2026-01-01,{number},100,"CNY"\n' for number in orders)]).encode()
    for _ in range(300):
        wrong = bytearray(right)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(wrong))
            wrong[place : place + dice.randint(0, 2)] = dice.choice(
                [b'"', b"\n", b"\r", b"\0", b",", b"-", b"\xc3", b"9", b""]
            )
        try:
            result = await match_statement(pay_database, BytesIO(bytes(wrong)), "1")
        except InvalidRequest as error:
            assert str(error).startswith("Line ")  # noqa: PT017 - it may also be compared
        else:
            assert result.counts or (result.matched, result.transfers) == (5, 5)
