"""Promise 9: nobody guesses a pay password."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from support import PASSWORD, PEPPER, PaySide, codes, connected, payment, until, waiting_for_locks

from paybell.errors import PaybellError
from paybell.ids import ID_MAX
from paybell.messaging.outbox import Outbox
from paybell.pay.model import PayOrder
from paybell.pay.service import PayService
from paybell.storage import Database
from paybell.storage.operator_actions import list_actions
from paybell.telemetry.observers import Observer
from paybell.testing import FrozenClock, SequentialIds
from paybell.wallet.errors import WrongPayPassword
from paybell.wallet.pay_password import LOCK, TRIES_MAX, Pepper
from paybell.wallet.pay_password_service import PayPasswordService
from paybell.wallet.service import WalletService

WRONG = "000000"


async def test_a_stranger_cannot_lock_the_payers_password(pay_database: Database) -> None:
    """Tries of somebody else are not tries: else anybody could keep anybody from paying."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)

    outcomes = await asyncio.gather(*(side.attempt(order.id, "8", WRONG) for _ in range(20)))

    assert set(codes(outcomes)) == {"not_the_payer"}
    assert isinstance(await side.attempt(order.id, "7"), PayOrder)


async def tries(url: str) -> int:
    """Return what the database counts."""
    async with connected(url) as connection:
        count: int = await connection.fetchval("SELECT failed_tries FROM wallets")
    return count


async def test_a_hundred_guesses_at_once_get_five_tries(pay_database: Database, pay_url: str) -> None:
    """Over two services and many orders; the right password among them comes too late."""
    one, other = PaySide(pay_database, batch_max=3), PaySide(pay_database, batch_max=16)
    await one.fund("7", 1_000)
    orders = await asyncio.gather(*(one.order(number, "7", 1) for number in range(1, 101)))

    outcomes = await asyncio.gather(
        *(side.attempt(order.id, "7", WRONG) for order, side in zip(orders, [one, other] * 50, strict=True))
    )

    assert Counter(codes(outcomes)) == {"wrong_pay_password": TRIES_MAX, "pay_password_locked": 95}
    assert await tries(pay_url) == TRIES_MAX
    assert codes([await one.attempt(orders[0].id, "7", PASSWORD)]) == ["pay_password_locked"]
    assert await one.balance("7") == 1_000


async def test_two_guesses_that_meet_are_both_counted(pay_database: Database, pay_url: str) -> None:
    """The second comes back until the first has done, and then counts on from what it left."""
    one, other = PaySide(pay_database), PaySide(pay_database)
    await one.fund("7", 1_000)
    orders = [await one.order(number, "7", 100) for number in (1, 2)]

    async with connected(pay_url) as holding:
        async with holding.transaction():
            await holding.execute("LOCK TABLE wallets IN SHARE MODE")  # the first stops where it counts
            first = asyncio.create_task(one.attempt(orders[0].id, "7", WRONG))
            await until(lambda: waiting_for_locks(holding, 1))
            # The first holds the wallet, so that no other process of ours looks at it meanwhile.
            assert codes(await other.pay.settle_batch([payment(orders[1].id, "7", WRONG)])) == ["busy"]
            second = asyncio.create_task(other.attempt(orders[1].id, "7", WRONG))
        outcomes = await asyncio.gather(first, second)

    assert [getattr(outcome, "extensions", {}) for outcome in outcomes] == [
        {"triesLeft": 4},
        {"triesLeft": 3},
    ]
    assert await tries(pay_url) == 2


async def test_guesses_of_one_batch_are_counted_one_by_one(pay_database: Database, pay_url: str) -> None:
    """The fifth locks, and the right password in sixth place is not looked at."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)

    outcomes = await side.pay.settle_batch(
        [payment(order.id, "7", f"00000{digit}") for digit in range(5)] + [payment(order.id, "7")]
    )

    assert codes(outcomes) == ["wrong_pay_password"] * 5 + ["pay_password_locked"]
    assert [one.extensions.get("triesLeft") for one in outcomes[:5] if isinstance(one, PaybellError)] == [
        4, 3, 2, 1, 0,
    ]  # fmt: skip
    assert await tries(pay_url) == 5


async def test_the_lock_ends_after_thirty_minutes(pay_url: str) -> None:
    """To the microsecond, whatever is tried meanwhile; then there are five new tries."""
    clock = FrozenClock()
    async with Database.open(pay_url, clock) as database:
        side = PaySide(database)
        await side.fund("7", 1_000)
        order = await side.order(5001, "7", 100, ttl_seconds=86_400)
        locked_until = clock.now() + timedelta(minutes=30)
        assert timedelta(minutes=30) == LOCK
        for _ in range(5):
            last = await side.attempt(order.id, "7", WRONG)
        assert isinstance(last, WrongPayPassword)
        assert last.extensions == {"triesLeft": 0, "lockedUntil": locked_until}

        clock.advance(30 * 60 - 0.000001)
        refusal = await side.attempt(order.id, "7")
        assert codes([refusal]) == ["pay_password_locked"]
        assert getattr(refusal, "extensions", {}) == {"lockedUntil": locked_until}

        clock.advance(0.000001)
        again = await side.attempt(order.id, "7", WRONG)
        assert getattr(again, "extensions", {}) == {"triesLeft": 4}
        assert isinstance(await side.attempt(order.id, "7"), PayOrder)
    assert await tries(pay_url) == 0


async def test_the_right_password_forgives_earlier_tries(pay_database: Database, pay_url: str) -> None:
    """Also when there is not enough money: what is counted are wrong passwords in a row."""
    side = PaySide(pay_database)
    await side.fund("7", 10)
    order = await side.order(5001, "7", 100)
    for _ in range(3):
        for _ in range(4):
            await side.attempt(order.id, "7", WRONG)
        assert await tries(pay_url) == 4
        assert codes([await side.attempt(order.id, "7")]) == ["insufficient_balance"]
        assert await tries(pay_url) == 0


async def test_a_guess_is_counted_once_although_its_batch_had_to_be_halved(
    pay_database: Database, pay_url: str
) -> None:
    """A neighbour's failure undoes the batch; the guess is decided again and not forgotten."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    orders = [await side.order(number, "7", 100) for number in (1, 2, 3)]
    async with connected(pay_url) as connection:
        await connection.execute(
            """
            CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'disk on fire'; END $$;
            CREATE TRIGGER breaks BEFORE INSERT ON outbox
                FOR EACH ROW WHEN (NEW.subject = '2') EXECUTE FUNCTION break()
            """
        )

    outcomes = await side.pay.settle_batch(
        [payment(orders[1].id, "7"), payment(orders[2].id, "7", WRONG), payment(orders[2].id, "7", WRONG)]
    )

    assert codes(outcomes[1:]) == ["wrong_pay_password"] * 2
    assert await tries(pay_url) == 2


async def test_each_wallet_counts_its_own_tries(pay_database: Database) -> None:
    """A locked wallet does not lock its neighbours in the batch."""
    side = PaySide(pay_database)
    await side.fund("7", 1_000)
    await side.fund("8", 1_000)
    orders = {payer: await side.order(number, payer, 100) for number, payer in ((1, "7"), (2, "8"))}

    outcomes = await side.pay.settle_batch(
        [payment(orders["7"].id, "7", WRONG)] * 6 + [payment(orders["8"].id, "8")]
    )

    assert codes(outcomes) == ["wrong_pay_password"] * 5 + ["pay_password_locked", "paid"]


async def test_a_pepper_can_be_rotated(pay_database: Database, pay_url: str) -> None:
    """Old wallets pay while their key is listed and not after; new ones are under the newest key."""

    def under(setting: str) -> tuple[WalletService, PayService]:
        pepper, outbox = Pepper(setting), Outbox(pay_database)
        ids = SequentialIds(1001)
        return WalletService(pay_database, pepper), PayService(
            pay_database, outbox, pepper, ids, Observer(), batch_max=8
        )

    side = PaySide(pay_database)  # under "test pepper", key id 1
    for user in ("7", "9"):
        await side.fund(user, 1_000)
    orders = [await side.order(number, user, 100) for number, user in ((1, "7"), (2, "9"))]
    wallets, rotated = under("2:another pepper,1:test pepper")
    _, without_old = under("2:another pepper")
    _, same_id_other_key = under("1:another pepper")
    await wallets.open("8", PASSWORD)

    assert (await rotated.pay(payment(orders[0].id, "7"))).succeeded_at
    for service in (without_old, same_id_other_key):
        with pytest.raises(WrongPayPassword):
            await service.pay(payment(orders[1].id, "9"))
    async with connected(pay_url) as connection:
        stored = [row[0] for row in await connection.fetch("SELECT pay_password FROM wallets ORDER BY 1")]
    assert [one.split("$")[0] for one in stored] == ["1", "2", "2"]
    assert not any(PASSWORD in one or "pepper" in one for one in stored)


async def stored(url: str) -> list[tuple[str, int]]:
    """Return the key of each wallet's password, and its tries."""
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT pay_password, failed_tries FROM wallets ORDER BY account_id")
    return [(row["pay_password"].split("$")[0], row["failed_tries"]) for row in rows]


async def test_a_leaked_pepper_can_be_retired(pay_database: Database, pay_url: str) -> None:
    """Whoever paid or changed the password since the rotation no longer needs the old key."""
    side = PaySide(pay_database)  # under "test pepper", key id 1
    for user in ("7", "8", "9"):
        await side.fund(user, 1_000)
    orders = [await side.order(number, "7", 100) for number in (1, 2)]

    def under(setting: str) -> tuple[PayService, PayPasswordService]:
        pepper = Pepper(setting)
        pay = PayService(
            pay_database, Outbox(pay_database), pepper, SequentialIds(1), Observer(), batch_max=8
        )
        return pay, PayPasswordService(pay_database, pepper)

    pay, passwords = under("2:another pepper,1:test pepper")
    await pay.pay(payment(orders[0].id, "7"))
    await passwords.change("8", PASSWORD, "654321")
    assert [key for key, _ in await stored(pay_url)] == ["2", "2", "1"]

    pay, passwords = under("2:another pepper")
    assert (await pay.pay(payment(orders[1].id, "7"))).succeeded_at
    await passwords.change("8", "654321", PASSWORD)
    with pytest.raises(WrongPayPassword):
        await passwords.change("9", PASSWORD, "654321")


async def test_changing_a_pay_password_is_no_way_to_guess_it(pay_database: Database, pay_url: str) -> None:
    """A hundred at once, with payments among them: five tries in all, and nothing is changed."""
    side, passwords = PaySide(pay_database), PayPasswordService(pay_database, PEPPER)
    await side.fund("7", 1_000)
    order = await side.order(5001, "7", 100)

    async def guess(number: int) -> str:
        if number % 2:
            return codes([await side.attempt(order.id, "7", WRONG)])[0]
        try:
            await passwords.change("7", WRONG, "111111")
        except PaybellError as error:
            return error.code
        return "changed"

    async def answered(number: int) -> str:
        while (code := await guess(number)) == "busy":  # nothing was tried; others held the wallet too long
            pass
        return code

    counted = Counter(await asyncio.gather(*(answered(number) for number in range(100))))

    assert counted == {"wrong_pay_password": 5, "pay_password_locked": 95}
    assert await stored(pay_url) == [("1", 5)]


async def test_a_password_is_changed_for_all_currencies_or_for_none(
    pay_database: Database, pay_url: str
) -> None:
    """The old one must be right for each; a try counts where it is wrong, and only there."""
    side, passwords = PaySide(pay_database), PayPasswordService(pay_database, PEPPER)
    await side.fund("7", 1_000)
    await side.wallets.open("7", "222222", "USD")

    with pytest.raises(WrongPayPassword) as refused:
        await passwords.change("7", PASSWORD, "111111")

    assert refused.value.extensions == {"triesLeft": 4}
    assert await stored(pay_url) == [("1", 0), ("1", 1)]
    await passwords.reset("7", "333333", "carol")
    await passwords.change("7", "333333", "444444")
    assert await stored(pay_url) == [("1", 0), ("1", 0)]


async def test_who_reset_or_unlocked_a_password_is_kept(pay_database: Database, pay_url: str) -> None:
    """In the transaction of the deed: no deed without its row, and no row that can be edited."""
    side, passwords = PaySide(pay_database), PayPasswordService(pay_database, PEPPER)
    await side.fund("7", 1_000)
    await side.wallets.open("7", PASSWORD, "USD")
    await passwords.reset("7", "654321", "carol")
    await passwords.unlock("7", "dave")

    actions = await list_actions(pay_database, ID_MAX, 10)
    assert [(one.who, one.action, one.selection, one.rows) for one in actions] == [
        ("dave", "unlock pay password", "user 7", 2),
        ("carol", "reset pay password", "user 7", 2),
    ]
    async with connected(pay_url) as rows:
        for change in ("UPDATE operator_actions SET who = 'x'", "DELETE FROM operator_actions",
                       "TRUNCATE operator_actions"):  # fmt: skip
            with pytest.raises(Exception, match="append-only"):
                await rows.execute(change)
        await rows.execute("ALTER TABLE operator_actions ADD CHECK (who <> 'nobody')")
    with pytest.raises(PaybellError):
        await passwords.reset("7", "000000", "nobody")
    await passwords.change("7", "654321", PASSWORD)
