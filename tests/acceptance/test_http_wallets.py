"""The contract of ``/wallets``."""

import asyncio

import pytest
from serving import PEPPER_SETTING, Client, Reply, Service, fresh_user
from support import PASSWORD, connected

from paybell.idempotency.keys import IdempotencyKey
from paybell.storage import Database
from paybell.wallet.pay_password import Pepper
from paybell.wallet.routes import topped_up
from paybell.wallet.service import WalletService

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_opened_wallet_is_empty_and_in_yuan(http: Client) -> None:
    user = fresh_user()

    reply = await http.post("/wallets", http.shop, {"userId": user, "payPassword": PASSWORD})

    assert reply.status == 201
    assert reply.json == {"userId": user, "balance": 0, "currency": "CNY"}
    assert (await http.get(f"/wallets/{user}", http.token(user))).json == {**reply.json, "lockedUntil": None}


async def test_a_user_has_one_wallet_in_each_currency(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 7, "USD")
    await http.fund(user, 5)

    again = await http.post("/wallets", http.shop, {"userId": user, "payPassword": "654321"})

    assert again.refusal == (409, "wallet_exists")
    assert (await http.get(f"/wallets/{user}?currency=USD", http.token(user))).json["balance"] == 7
    assert (await http.get(f"/wallets/{user}", http.token(user))).json["currency"] == "CNY"


async def test_a_wallet_in_one_foreign_currency_is_found_without_naming_it(http: Client) -> None:
    """A user who only has dollars need not know that yuan are the default; a top-up goes there too."""
    user = fresh_user()
    await http.fund(user, 7, "USD")

    reply = await http.top_up(user, 3, "more")

    assert reply.json == {"userId": user, "balance": 10, "currency": "USD"}
    assert (await http.get(f"/wallets/{user}", http.token(user))).json["currency"] == "USD"


async def test_a_wallet_nobody_opened_is_not_found(http: Client) -> None:
    user = fresh_user()

    assert (await http.get(f"/wallets/{user}", http.token(user))).refusal == (404, "wallet_not_found")
    assert (await http.top_up(user, 1, "k")).refusal == (404, "wallet_not_found")
    await http.fund(user, 1)
    missing = await http.get(f"/wallets/{user}?currency=EUR", http.token(user))
    assert missing.refusal == (404, "wallet_not_found")


@pytest.mark.parametrize(
    "password",
    ["12345", "1234567", "12345a", "\uff11\uff12\uff13\uff14\uff15\uff16", " 123456", "123456\n", ""],
)
async def test_a_pay_password_has_six_ascii_digits(http: Client, password: str) -> None:
    user = fresh_user()

    reply = await http.post("/wallets", http.shop, {"userId": user, "payPassword": password})

    assert reply.refusal == (400, "invalid_request")
    assert not password or password not in reply.json["detail"]
    assert (await http.get(f"/wallets/{user}", http.token(user))).refusal == (404, "wallet_not_found")


async def test_the_same_key_and_body_get_the_first_answer_again(http: Client) -> None:
    """Byte for byte, also after the balance has moved on; the replay says that it is one."""
    user = fresh_user()
    await http.fund(user, 100)
    first = await http.top_up(user, 50, "k1")
    await http.top_up(user, 1, "k2")

    again = await http.top_up(user, 50, "k1")

    assert (first.status, first.json["balance"]) == (201, 150)
    assert (again.status, again.content) == (first.status, first.content)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await http.balance(user) == 151


async def test_the_order_and_spacing_of_members_do_not_make_another_body(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 0)
    headers = {"Idempotency-Key": "k"}
    path = f"/wallets/{user}/top-ups"
    first = b'{"amount":5,"currency":"CNY"}'
    same = b'{ "currency" : "CNY", "amount" : 5 }'

    replies = [await http.send("POST", path, http.shop, data=body, headers=headers) for body in (first, same)]

    assert [reply.status for reply in replies] == [201, 201]
    assert await http.balance(user) == 5


async def test_the_same_key_with_another_body_is_refused(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 0)
    await http.top_up(user, 50, "k")

    assert (await http.top_up(user, 51, "k")).refusal == (422, "idempotency_key_reused")
    other_currency = await http.top_up(user, 50, "k", currency="CNY")
    assert other_currency.refusal == (422, "idempotency_key_reused")
    assert await http.balance(user) == 50


async def test_a_key_belongs_to_its_merchant_and_wallet(http: Client) -> None:
    """Two workers of one backend are told of one bank transfer; another wallet is another request."""
    user, other_user = fresh_user(), fresh_user()
    await http.fund(user, 0)
    await http.fund(other_user, 0)
    other_worker = http.token("another worker", "wallets:write")

    first = await http.top_up(user, 50, "k")
    again = await http.top_up(user, 50, "k", token=other_worker)
    assert (await http.top_up(other_user, 50, "k")).status == 201

    assert (again.status, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert [await http.balance(user), await http.balance(other_user)] == [50, 50]


async def test_a_top_up_of_an_earlier_release_is_not_made_again(
    service: Service, http: Client, pay_check: Database
) -> None:
    """Its key belonged to the token's user; the retry comes after the upgrade, or later still."""
    user, worker = fresh_user(), http.token("worker", "wallets:write")
    await http.fund(user, 0)
    former = IdempotencyKey.of(
        "worker", f"POST /wallets/{user}/top-ups", "k", b'{"amount":50,"currency":null}'
    )
    wallets = WalletService(pay_check, Pepper(PEPPER_SETTING))
    before, _ = await wallets.top_up(user, 50, None, former, topped_up)

    kept = await http.top_up(user, 50, "k", token=worker)
    async with connected(service.urls["pay"]) as other:
        await other.execute("DELETE FROM idempotency_keys WHERE caller = 'worker'")
    removed = await http.top_up(user, 50, "k", token=worker)

    assert (kept.status, kept.content) == (201, before.body)
    assert kept.headers["Idempotent-Replayed"] == "true"
    assert removed.refusal == (422, "idempotency_key_reused")
    assert await http.balance(user) == 50


async def test_blanks_around_a_key_are_none_of_it(http: Client) -> None:
    """RFC 9110 section 5.5: they belong to the header's line."""
    user = fresh_user()
    await http.fund(user, 0)

    replies = [await http.top_up(user, 5, key) for key in ("k", "k \t", "  k")]

    assert [reply.status for reply in replies] == [201] * 3
    assert await http.balance(user) == 5


async def test_keys_with_colons_are_not_mistaken_for_each_other(http: Client) -> None:
    """The ledger's reference is put together of caller, wallet and key; no two may come out the same."""
    user, key = fresh_user(), "k"
    await http.fund(user, 0)
    callers = [("a:" + user, key), ("a", f"{user}:{key}")]

    replies = [
        await http.top_up(user, 1, its_key, token=http.token(caller, "wallets:write"))
        for caller, its_key in callers
    ]

    assert [reply.status for reply in replies] == [201, 201]


async def test_a_key_in_use_is_told_to_wait(service: Service, http: Client) -> None:
    """The lock of the key is held elsewhere, as by a request that is not done yet."""
    user = fresh_user()
    await http.fund(user, 0)
    place = "\x1f".join(["1", f"POST /wallets/{user}/top-ups", "k"])
    async with connected(service.urls["pay"]) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", place)

        reply = await http.top_up(user, 50, "k")

        assert reply.refusal == (409, "idempotency_key_in_use")
    assert (await http.top_up(user, 50, "k")).status == 201
    assert await http.balance(user) == 50


async def test_twenty_requests_at_once_under_one_key_move_money_once(http: Client) -> None:
    """Each gets the answer or is told to wait; nobody gets a second top-up."""
    user = fresh_user()
    await http.fund(user, 0)

    replies = await asyncio.gather(*(http.top_up(user, 50, "k") for _ in range(20)))

    done = [reply for reply in replies if reply.status == 201]
    waiting = [reply for reply in replies if reply.status != 201]
    assert done
    assert {reply.content for reply in done} == {done[0].content}
    assert all(reply.refusal == (409, "idempotency_key_in_use") for reply in waiting)
    assert await http.balance(user) == 50


async def test_a_refused_top_up_may_be_sent_again_with_its_key(http: Client) -> None:
    """Only answers that come with an effect are kept."""
    user = fresh_user()
    assert (await http.top_up(user, 50, "k")).refusal == (404, "wallet_not_found")
    await http.fund(user, 0)

    assert (await http.top_up(user, 50, "k")).status == 201


@pytest.mark.parametrize("key", [None, "", " ", "with space", "ü", "k" * 256, "tab\tkey"])
async def test_a_top_up_needs_a_printable_key(http: Client, key: str | None) -> None:
    user = fresh_user()
    await http.fund(user, 0)
    headers = {} if key is None else {"Idempotency-Key": key}

    reply = await http.send("POST", f"/wallets/{user}/top-ups", http.shop, {"amount": 5}, headers=headers)

    assert reply.refusal == (400, "idempotency_key_missing")
    assert await http.balance(user) == 0


async def test_a_key_may_be_255_characters_long(http: Client) -> None:
    """Also with the longest caller and user there may be."""
    user = fresh_user().ljust(64, "x")
    await http.fund(user, 0)
    caller = http.token("c" * 64, "wallets:write")

    assert (await http.top_up(user, 5, "~" * 255, token=caller)).status == 201


async def test_a_wallet_cannot_outgrow_its_range(http: Client, service: Service) -> None:
    """Totals are 64 bits; a top-up that would leave them is refused, not an error of ours."""
    user = fresh_user()
    await http.fund(user, 0)
    async with connected(service.urls["pay"]) as rows, rows.transaction():
        await rows.execute(
            "UPDATE accounts SET credits = $2, debits = $3 WHERE owner_id = $1",
            user,
            2**63 - 10**15,
            2**63 - 10**15 - 10,
        )

    assert (await http.top_up(user, 10**15, "k")).refusal == (409, "balance_limit")
    assert (await http.top_up(user, 10**15 - 1, "k")).status == 201
    async with connected(service.urls["pay"]) as rows, rows.transaction():
        what_was_topped_up = 10**15 - 1  # others look at the same books
        await rows.execute(
            "UPDATE accounts SET credits = $2, debits = 0 WHERE owner_id = $1", user, what_was_topped_up
        )


async def change(http: Client, user: str, old: str, new: str) -> Reply:
    """Ask for another pay password as its owner."""
    body = {"payPassword": old, "newPayPassword": new}
    return await http.send("PUT", f"/wallets/{user}/pay-password", http.token(user), body)


async def test_an_owner_changes_the_pay_password_of_all_their_wallets(http: Client) -> None:
    user = fresh_user()
    await http.fund(user, 100)
    await http.fund(user, 100, "USD")

    reply = await change(http, user, PASSWORD, "654321")

    assert (reply.status, reply.content) == (204, b"")
    for currency in ("CNY", "USD"):
        order = await http.apply(user, 1, currency=currency)
        assert (await http.pay(order["payOrderId"], user)).refusal == (403, "wrong_pay_password")
        assert (await http.pay(order["payOrderId"], user, "654321")).status == 200


async def test_support_resets_and_unlocks_a_pay_password(http: Client) -> None:
    """A lock ends with either; the password of an unlocked wallet is the old one."""
    user, support = fresh_user(), http.token("carol", "pay-passwords:reset")
    await http.fund(user, 100)
    orders = [await http.apply(user, 1) for _ in range(2)]
    for password, path, body in (
        (PASSWORD, "unlock", None),
        ("654321", "reset", {"newPayPassword": "654321"}),
    ):
        for _ in range(5):
            await change(http, user, "000000", "111111")
        assert (await change(http, user, PASSWORD, "111111")).refusal == (423, "pay_password_locked")

        assert (await http.post(f"/wallets/{user}/pay-password/{path}", support, body)).status == 204

        assert (await http.pay(orders.pop()["payOrderId"], user, password)).status == 200


@pytest.mark.parametrize("field", ["payPassword", "newPayPassword"])
async def test_a_changed_pay_password_has_six_digits_too(http: Client, field: str) -> None:
    """What is no pay password is no try."""
    user = fresh_user()
    await http.fund(user, 1)
    body = {"payPassword": PASSWORD, "newPayPassword": PASSWORD} | {field: "12345"}

    reply = await http.send("PUT", f"/wallets/{user}/pay-password", http.token(user), body)

    assert reply.refusal == (400, "invalid_request")
    assert reply.json["field"] == field
    assert (await change(http, user, "000000", PASSWORD)).json["triesLeft"] == 4


async def test_without_a_wallet_there_is_no_pay_password(http: Client) -> None:
    user, support = fresh_user(), http.token("carol", "pay-passwords:reset")
    body = {"newPayPassword": PASSWORD}

    assert (await change(http, user, PASSWORD, PASSWORD)).refusal == (404, "wallet_not_found")
    for path, sent in (("reset", body), ("unlock", None)):
        reply = await http.post(f"/wallets/{user}/pay-password/{path}", support, sent)
        assert reply.refusal == (404, "wallet_not_found")


async def test_a_banks_reference_is_kept_with_its_top_up_and_belongs_to_what_the_key_stands_for(
    http: Client, service: Service
) -> None:
    """The same request again is the same; with another reference it is another one."""
    user = fresh_user()
    await http.fund(user, 0)

    first = await http.top_up(user, 5, "k", reference="SEPA 2026/0815")
    again = await http.top_up(user, 5, "k", reference="SEPA 2026/0815")
    other = await http.top_up(user, 5, "k", reference="x")

    assert (first.status, again.status, other.refusal) == (201, 201, (422, "idempotency_key_reused"))
    async with connected(service.urls["pay"]) as rows:
        kept = await rows.fetch(
            "SELECT given.reference FROM top_up_references AS given JOIN transfers AS moved "
            "ON moved.id = given.transfer_id WHERE moved.reference LIKE $1 || ' %'",
            user,
        )
    assert [row["reference"] for row in kept] == ["SEPA 2026/0815"]


@pytest.mark.parametrize("reference", ["", " ", "x ", " x", "x\n", "a\0b", "x" * 65, None, 5])
async def test_a_reference_that_no_statement_can_have_is_refused(http: Client, reference: object) -> None:
    user = fresh_user()
    await http.fund(user, 0)

    reply = await http.top_up(user, 5, "k", reference=reference)

    assert reply.status == 400
    assert reply.json["field"] == "reference"


async def test_a_wallet_that_is_asked_for_many_times_at_once_is_opened_once(http: Client) -> None:
    """With the pay password of whoever was told so; wallets of others share the transaction."""
    user, others = fresh_user(), [fresh_user() for _ in range(5)]
    passwords = [f"{number:06}" for number in range(6)]
    asked = [{"userId": user, "payPassword": password} for password in passwords]
    asked += [{"userId": one, "payPassword": PASSWORD} for one in others]

    replies = await asyncio.gather(*(http.post("/wallets", http.shop, one) for one in asked))

    opened = [place for place, reply in enumerate(replies[:6]) if reply.status == 201]
    assert len(opened) == 1
    assert {reply.refusal for reply in replies[:6] if reply.status != 201} == {(409, "wallet_exists")}
    assert {reply.status for reply in replies[6:]} == {201}
    await http.top_up(user, 100, "funds")
    order = await http.order(user, 100)
    paid = await http.pay(order["payOrderId"], user, passwords[opened[0]])
    assert paid.status == 200
