"""Thousands of good requests, each spoiled at random: every answer is a documented one."""

import asyncio
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import pytest
from serving import Reply, Service, fresh_user
from support import PASSWORD, seeded

from paybell.storage import Database
from paybell.verification.ledger_check import trial_balance

pytestmark = pytest.mark.asyncio(loop_scope="session")


REQUESTS = 2_000


_VALUES: Sequence[object] = (
    *(None, True, False, 0, 1, -1, 5, 2**31, 2**63, 2**64, 10**40, 0.5, 5.0, 1e300),
    *("", "7", "1", "0", "-1", "CNY", "USD", "123456", "' OR 1=1 --", "a\0b", "\ud800", "\u202e", "x" * 300),
    *([], {}, [1], {"a": 1}, [[[]]], "\uff19", "1e5", "null", "一本书", "../../etc/passwd", "%00", "{{7*7}}"),
)


_HEADERS = (
    "Accept",
    "Accept-Language",
    "Idempotency-Key",
    "Content-Type",
    "Authorization",
    "traceparent",
    "Cookie",
)


class Fuzzer:
    """Takes right requests and spoils them."""

    def __init__(
        self, source: random.Random, users: Sequence[str], orders: Sequence[Mapping[str, Any]]
    ) -> None:
        """Aim at these users' orders."""
        self._random = source
        self._users = users
        self._orders = orders

    def requests(self, tokens: Sequence[str]) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
        """Yield method, path, headers, body, without an end."""
        while True:
            method, path, body = self._random.choice(self._right())
            headers = {
                "Authorization": f"Bearer {self._random.choice(tokens)}",
                "Content-Type": "application/json",
                "Idempotency-Key": str(self._random.randrange(50)),
            }
            if self._random.random() < 0.2:
                headers[self._random.choice(_HEADERS)] = self._junk()
            if self._random.random() < 0.15:
                path = self._spoil_path(path)
            if self._random.random() < 0.05:
                method = self._random.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"))
            yield method, path, headers, self._spoil_body(body)

    def _right(self) -> list[tuple[str, str, dict[str, object]]]:
        user, order = self._random.choice(self._users), self._random.choice(self._orders)
        number = str(self._random.randrange(1, 2**63))
        return [
            ("POST", "/pay-orders", {"bizOrderNo": number, "payerId": user, "amount": 1, "subject": "x"}),
            ("GET", f"/pay-orders?bizOrderNos={order['id']}", {}),
            ("GET", f"/pay-orders/{order['payOrderId']}", {}),
            ("GET", f"/pay-orders/biz/{order['id']}", {}),
            ("POST", f"/pay-orders/{order['payOrderId']}/pay", {"payPassword": PASSWORD}),
            ("POST", f"/pay-orders/{order['payOrderId']}/close", {}),
            ("POST", "/wallets", {"userId": user, "payPassword": PASSWORD, "currency": "EUR"}),
            ("GET", f"/wallets/{user}?currency=CNY", {}),
            ("POST", f"/wallets/{user}/top-ups", {"amount": 1, "currency": "CNY"}),
            ("POST", "/orders", {"buyerId": user, "totalFee": 1, "orderId": number}),
            ("GET", f"/orders?ids={order['id']},{number}", {}),
            ("GET", f"/orders/{order['id']}", {}),
            ("POST", f"/orders/{order['id']}/cancel", {}),
        ]

    def _spoil_body(self, body: dict[str, object]) -> bytes:
        for _ in range(self._random.choice((0, 1, 1, 2))):
            name = self._random.choice([*body, "extra"])
            if self._random.random() < 0.2:
                body.pop(name, None)
            else:
                body[name] = self._random.choice(_VALUES)
        whole = bytearray(json.dumps(body).encode("utf-8", "surrogatepass"))
        for _ in range(self._random.choice((0, 0, 0, 1, 3))):
            place = self._random.randrange(len(whole))
            whole[place : place + self._random.randrange(2)] = self._random.randbytes(1)
        return bytes(whole)

    def _spoil_path(self, path: str) -> str:
        place = self._random.randrange(1, len(path) + 1)
        junk = quote(bytes(self._random.randrange(256) for _ in range(3)), safe="/?&=,")
        return path[:place] + junk + path[place + self._random.randrange(3) :]

    def _junk(self) -> str:
        length = self._random.choice((0, 1, 20, 300))
        return "".join(chr(self._random.choice((*range(33, 127), 0xE9, 0xFF))) for _ in range(length))


async def test_two_thousand_spoiled_requests_get_documented_answers(
    service: Service, pay_check: Database
) -> None:
    """Whatever comes in, what goes out is in the OpenAPI document; and the books still balance."""
    client = service.client
    users = [fresh_user() for _ in range(3)]
    for user in users:
        await client.fund(user, 50)
    orders = [await client.order(user, 1) for user in users for _ in range(10)]
    tokens = [*[client.shop] * 12, *(client.token(user) for user in users), client.token("nobody"), "x"]
    fuzz = Fuzzer(seeded(), users, orders).requests(tokens)
    documented = _documented(service)

    async def worker() -> None:
        for _ in range(REQUESTS // 40):
            method, path, headers, body = next(fuzz)
            reply = await client.send(method, path, data=None if method == "GET" else body, headers=headers)
            assert _is_documented(documented, method, path, reply), (method, path, headers, body, reply)

    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(worker())

    assert await trial_balance(pay_check)


def _documented(service: Service) -> Mapping[str, Mapping[str, set[str]]]:
    """Return the codes of every address's every method, by ``METHOD pattern``; 2xx as its number."""
    schema = service.application().openapi_schema.to_schema()
    found: dict[str, dict[str, set[str]]] = {}
    for template, methods in schema["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template) + "/?"
        for method, operation in methods.items():
            answers = found.setdefault(pattern, {}).setdefault(method.upper(), set())
            for status, response in operation["responses"].items():
                codes = re.findall(r"`(\w+)`:", response["description"])
                answers |= {f"{status} {code}" for code in codes} or {status}
    return found


def _is_documented(
    documented: Mapping[str, Mapping[str, set[str]]], method: str, path: str, reply: Reply
) -> bool:
    if reply.status < 400:
        code = str(reply.status)
    elif method == "HEAD":
        return reply.status < 500
    else:
        code = "{} {}".format(*reply.refusal)
    if code in ("404 not_found", "405 method_not_allowed") or method == "OPTIONS":
        return reply.status < 500
    plain = re.sub("/+", "/", unquote(path.partition("?")[0].partition("#")[0]))
    if plain == "/":  # the start page is for people, and no part of the API
        return reply.status == 200
    return any(
        code in methods.get(method, ())
        for pattern, methods in documented.items()
        if re.fullmatch(pattern, plain)
    )
