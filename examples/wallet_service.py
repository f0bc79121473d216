"""A user service that keeps Paybell's wallet contract: copy it, and put your own tables in place of these.

    python examples/wallet_service.py wallet.db 9100
    paybell wallet check http://127.0.0.1:9100 --user alice --pay-password right

Three things carry the contract. A debit and the row that remembers its id are one transaction. A refusal is
remembered under its id as well, so that the same request gets the same answer for ever. And a reversal of
an id that was never seen leaves a tombstone, so that a request still on its way is refused when it arrives.

Needs aiohttp; everything else is the standard library.
"""

import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, pay_password TEXT NOT NULL, balance INTEGER NOT NULL CHECK (balance >= 0)
);
CREATE TABLE IF NOT EXISTS debits (
    id TEXT PRIMARY KEY, user_id TEXT, amount INTEGER, currency TEXT, request TEXT,
    state TEXT NOT NULL CHECK (state IN ('DONE', 'REFUSED', 'REVERSED')), code TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS credits (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    request TEXT NOT NULL
);
"""
CURRENCY = "CNY"
OK, BAD_REQUEST, NOT_FOUND, CONFLICT, DIFFERS = 200, 400, 404, 409, 422
Answer = tuple[int, dict[str, Any]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Wallet:
    """Balances in minor units, and what was done with them under which id."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(SCHEMA)

    def open(self, user_id: str, pay_password: str, balance: int) -> None:
        """Make a user; hash the password in a service of your own."""
        self._db.execute("INSERT INTO users VALUES (?, ?, ?)", (user_id, pay_password, balance))

    def balance(self, user_id: str) -> int:
        """Return what a user has."""
        row = self._db.execute("SELECT balance FROM users WHERE id = ?", (user_id,)).fetchone()
        return int(row["balance"]) if row else 0

    def debit(self, number: str, body: dict[str, Any]) -> Answer:
        """Take money, once for each id; a refusal is an answer for ever, too."""
        # Without the password: it is not kept, and a repeated request brings it again.
        request = json.dumps([body["userId"], body["amount"], body["currency"], body["payOrderId"]])
        with self._transaction():
            if row := self._find("debits", number):
                if row["request"] not in (None, request):
                    return DIFFERS, {"code": "OTHER_REQUEST"}
                return _shown(row)
            state, code = self._take(body)
            self._db.execute(
                "INSERT INTO debits VALUES (?, ?, ?, ?, ?, ?, ?)",
                (number, body["userId"], body["amount"], body["currency"], request, state, code),
            )
            return _shown(self._find("debits", number))

    def _take(self, body: dict[str, Any]) -> tuple[str, str]:
        user = self._db.execute("SELECT * FROM users WHERE id = ?", (body["userId"],)).fetchone()
        if user is None or body["currency"] != CURRENCY:
            return "REFUSED", "NO_WALLET"
        if user["pay_password"] != body["payPassword"]:
            return "REFUSED", "BAD_CREDENTIAL"
        taken = self._db.execute(
            "UPDATE users SET balance = balance - ?1 WHERE id = ?2 AND balance >= ?1",
            (body["amount"], body["userId"]),
        )
        return ("DONE", "") if taken.rowcount else ("REFUSED", "INSUFFICIENT")

    def reverse(self, number: str) -> Answer:
        """Give a debit back, or make sure that it never happens."""
        with self._transaction():
            row = self._find("debits", number)
            if row is None:
                self._db.execute("INSERT INTO debits (id, state) VALUES (?, 'REVERSED')", (number,))
            elif row["state"] == "DONE":
                self._db.execute("UPDATE debits SET state = 'REVERSED' WHERE id = ?", (number,))
                self._pay_in(row["user_id"], row["amount"])
            # A refusal moved nothing and stays one.
            return OK, _shown(self._find("debits", number))[1]

    def credit(self, number: str, body: dict[str, Any]) -> Answer:
        """Give money back for a debit that was done, once for each id and never more than it took."""
        request = json.dumps([body["userId"], body["amount"], body["currency"], body["debitId"]])
        with self._transaction():
            if row := self._find("credits", number):
                return _credited(row) if row["request"] == request else (DIFFERS, {"code": "OTHER_REQUEST"})
            debit = self._find("debits", body["debitId"])
            if debit is None or debit["state"] != "DONE" or debit["user_id"] != body["userId"]:
                return CONFLICT, {"state": "REFUSED", "code": "NO_DEBIT"}
            self._db.execute(
                "INSERT INTO credits VALUES (?, ?, ?, ?, ?)",
                (number, body["userId"], body["amount"], body["currency"], request),
            )
            self._pay_in(body["userId"], body["amount"])
            return _credited(self._find("credits", number))

    def find(self, kind: str, number: str) -> Answer:
        """Say what has become of an id."""
        row = self._find(kind, number)
        if row is None:
            return NOT_FOUND, {"state": "NOT_FOUND"}
        return OK, (_shown(row) if kind == "debits" else _credited(row))[1]

    def _find(self, kind: str, number: str) -> Any:
        return self._db.execute(f"SELECT * FROM {kind} WHERE id = ?", (number,)).fetchone()  # noqa: S608

    def _pay_in(self, user_id: str, amount: int) -> None:
        self._db.execute("UPDATE users SET balance = balance + ? WHERE id = ?", (amount, user_id))

    def _transaction(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db  # commits at the end of its block, or rolls back


def _shown(row: Any) -> Answer:
    answer = {"state": row["state"], "amount": row["amount"] or 0, "currency": row["currency"] or ""}
    if row["state"] == "DONE":
        return OK, {**answer, "transactionId": f"D{row['id']}"}
    return CONFLICT, {**answer, "code": row["code"]}


def _credited(row: Any) -> Answer:
    return OK, {"state": "DONE", "transactionId": f"C{row['id']}", "amount": row["amount"]}


async def answer(
    do: Callable[[web.Request], Awaitable[Answer]], token: str, request: web.Request
) -> web.StreamResponse:
    """Answer in JSON, always; whoever does not bring the token is not served."""
    if token and request.headers.get("Authorization") != f"Bearer {token}":
        return web.json_response({"code": "UNAUTHORIZED"}, status=401)
    try:
        status, said = await do(request)
    except (KeyError, TypeError, ValueError):
        status, said = BAD_REQUEST, {"code": "INVALID"}
    return web.json_response(said, status=status)


async def body_of(request: web.Request) -> dict[str, Any]:
    """Read a body; amounts are whole minor units above zero."""
    body: dict[str, Any] = await request.json()
    if type(body["amount"]) is not int or body["amount"] <= 0:
        raise ValueError
    return body


def create_app(wallet: Wallet, token: str = "") -> web.Application:
    """Return the service; ``token`` is what callers have to bring, empty: nothing."""

    def answered(do: Callable[[web.Request], Awaitable[Answer]]) -> Handler:
        return partial(answer, do, token)

    async def debit(request: web.Request) -> Answer:
        return wallet.debit(request.match_info["id"], await body_of(request))

    async def credit(request: web.Request) -> Answer:
        return wallet.credit(request.match_info["id"], await body_of(request))

    async def reverse(request: web.Request) -> Answer:
        return wallet.reverse(request.match_info["id"])

    async def find(request: web.Request) -> Answer:
        return wallet.find(request.match_info["kind"], request.match_info["id"])

    app = web.Application()
    number = "{id:[0-9A-Za-z_]{1,64}}"
    app.router.add_put(f"/wallet/debits/{number}", answered(debit))
    app.router.add_put(f"/wallet/credits/{number}", answered(credit))
    app.router.add_post(f"/wallet/debits/{number}/reverse", answered(reverse))
    app.router.add_get("/wallet/{kind:debits|credits}/" + number, answered(find))
    return app


if __name__ == "__main__":
    one = Wallet(sys.argv[1])
    if not one.balance("alice"):
        one.open("alice", "right", 1_000_000)
    web.run_app(create_app(one), host="127.0.0.1", port=int(sys.argv[2]))
