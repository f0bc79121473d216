"""Promise 9 over HTTP: who may do what, on every route there is."""

import base64
import json
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import jwt
import pytest
import structlog
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from serving import SCOPES, SECRET, Client, Reply, Service, fresh_number, fresh_user, state
from support import PASSWORD, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPEN = {
    "/",
    "/api",
    "/api/{name:str}",
    "/cashier/{order_id:str}",
    "/console",
    "/console/{page:str}",
    "/console/{page:str}/{name:str}",
    "/pages/{folder:str}/{name:str}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/schema",
    "/schema/openapi.json",
    "/schema/{path:str}",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may use a route: a scope's bearer, an owner, or either of the two."""

    scope: str = ""
    stranger: tuple[int, str] = (403, "insufficient_scope")
    other_merchant: tuple[int, str] | None = None
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    paid: bool = False


# They need a channel: `test_remote_wallet_http.py` says who may use them. A notice is signed by its channel.
OF_CHANNELS = {
    ("POST", "/pay-orders/{pay_order_id:str}/attempts"),
    ("GET", "/attempts/{attempt_id:str}"),
    ("POST", "/attempts/{attempt_id:str}/settlements"),
    ("POST", "/attempts/{attempt_id:str}/settlements/withdraw"),
    ("POST", "/channels/{channel:str}/notices"),
}
# Asked for by number here; `test_http_lists.py` has the rest.
LISTS = {"/pay-orders": "bizOrderNos", "/orders": "ids", "/refunds": "ids"}
NOT_FOUND = (404, "pay_order_not_found")
NOT_THE_OWNER = (403, "not_the_owner")
NO_SCOPE = (403, "insufficient_scope")
# other_merchant: what a token with every scope, of another merchant, is told.
RULES: Mapping[tuple[str, str], Rule] = {
    ("POST", "/pay-orders"): Rule(
        "pay-orders:write", body={"bizOrderNo": "{new}", "payerId": "{user}", "amount": 1}
    ),
    ("POST", "/pay-orders/batch"): Rule(
        "pay-orders:write", body={"payOrders": [{"bizOrderNo": "1", "payerId": "1", "amount": 1}]}
    ),
    ("GET", "/pay-orders"): Rule("pay-orders:read"),
    ("GET", "/refunds"): Rule("refunds:read"),
    ("GET", "/pay-orders/{pay_order_id:str}"): Rule("pay-orders:read", (403, "not_the_payer"), NOT_FOUND),
    ("GET", "/pay-orders/biz/{biz_order_no:str}"): Rule("pay-orders:read", (403, "not_the_payer"), NOT_FOUND),
    ("POST", "/pay-orders/{pay_order_id:str}/pay"): Rule(
        stranger=(403, "not_the_payer"), other_merchant=(403, "not_the_payer"), body={"payPassword": PASSWORD}
    ),
    ("POST", "/pay-orders/{pay_order_id:str}/close"): Rule("pay-orders:write", other_merchant=NOT_FOUND),
    ("POST", "/pay-orders/{pay_order_id:str}/refunds"): Rule(
        "refunds:write",
        other_merchant=NOT_FOUND,
        body={"amount": 1},
        headers={"Idempotency-Key": "{new}"},
        paid=True,
    ),
    ("GET", "/pay-orders/{pay_order_id:str}/refunds"): Rule("refunds:write", other_merchant=NOT_FOUND),
    ("GET", "/pay-orders/{pay_order_id:str}/attempts"): Rule(
        "pay-orders:read", (403, "not_the_payer"), NOT_FOUND
    ),
    ("GET", "/pay-orders/{pay_order_id:str}/methods"): Rule(
        "pay-orders:read", (403, "not_the_payer"), NOT_FOUND
    ),
    ("GET", "/attempts"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("POST", "/wallets"): Rule(
        "wallets:write", other_merchant=NO_SCOPE, body={"userId": "{new_user}", "payPassword": PASSWORD}
    ),
    ("GET", "/wallets/{user_id:str}"): Rule("wallets:read", NOT_THE_OWNER, NOT_THE_OWNER),
    ("POST", "/wallets/{user_id:str}/top-ups"): Rule(
        "wallets:write",
        other_merchant=NO_SCOPE,
        body={"amount": 1},
        headers={"Idempotency-Key": "{new}"},
    ),
    ("PUT", "/wallets/{user_id:str}/pay-password"): Rule(
        stranger=NOT_THE_OWNER,
        other_merchant=NOT_THE_OWNER,
        body={"payPassword": PASSWORD, "newPayPassword": "654321"},
    ),
    ("POST", "/wallets/{user_id:str}/pay-password/reset"): Rule(
        "pay-passwords:reset", other_merchant=NO_SCOPE, body={"newPayPassword": "654321"}
    ),
    ("POST", "/wallets/{user_id:str}/pay-password/unlock"): Rule(
        "pay-passwords:reset", other_merchant=NO_SCOPE
    ),
    ("GET", "/wallets/{user_id:str}/transfers"): Rule("wallets:read", NOT_THE_OWNER, NOT_THE_OWNER),
    ("GET", "/merchants/{merchant_id:str}/transfers"): Rule("merchants:read", other_merchant=NOT_THE_OWNER),
    ("POST", "/orders"): Rule(
        "orders:write", other_merchant=NO_SCOPE, body={"buyerId": "{user}", "totalFee": 1}
    ),
    ("GET", "/orders"): Rule("orders:read", other_merchant=NO_SCOPE),
    ("GET", "/orders/{order_id:str}"): Rule(
        "orders:read", (403, "not_the_buyer"), other_merchant=(403, "not_the_buyer")
    ),
    # Of a paid order, whose news have an end.
    ("GET", "/orders/{order_id:str}/events"): Rule(
        "orders:read", (403, "not_the_buyer"), other_merchant=(403, "not_the_buyer"), paid=True
    ),
    ("POST", "/orders/{order_id:str}/cancel"): Rule(
        "orders:write", (403, "not_the_buyer"), other_merchant=(403, "not_the_buyer")
    ),
    ("GET", "/ops/now"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("GET", "/ops/payments"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("GET", "/ops/payments/{name:str}"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("POST", "/ops/payments/{pay_order_id:str}/refund"): Rule(
        "ops:refund",
        other_merchant=NO_SCOPE,
        body={"amount": 1, "reason": "as agreed"},
        headers={"Idempotency-Key": "{new}"},
        paid=True,
    ),
    ("POST", "/ops/payments/{pay_order_id:str}/close"): Rule("ops:refund", other_merchant=NO_SCOPE),
    ("POST", "/ops/payments/{pay_order_id:str}/republish"): Rule(
        "ops:repair", other_merchant=NO_SCOPE, paid=True
    ),
    ("GET", "/ops/failures"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("GET", "/ops/failures/outcome"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("GET", "/ops/failures/{failure_id:str}"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("POST", "/ops/failures/replay"): Rule("ops:repair", other_merchant=NO_SCOPE, body={}),
    ("POST", "/ops/failures/acknowledge"): Rule("ops:repair", other_merchant=NO_SCOPE, body={"ids": "1"}),
    ("GET", "/ops/actions"): Rule("ops:read", other_merchant=NO_SCOPE),
    ("POST", "/ops/reconcile"): Rule("ops:read", other_merchant=NO_SCOPE, body={"hours": 0.001}),
    ("POST", "/ops/differences/acknowledge"): Rule(
        "ops:repair", other_merchant=NO_SCOPE, body={"orders": "1", "note": "as agreed"}
    ),
    ("POST", "/ops/differences/withdraw"): Rule("ops:repair", other_merchant=NO_SCOPE, body={"orders": "1"}),
}
EVERY_ROUTE = pytest.mark.parametrize("route", RULES, ids=[f"{method} {path}" for method, path in RULES])
Route = tuple[str, str]


def routes(service: Service) -> set[Route]:
    """Return every method and path the application answers, beside the framework's own OPTIONS."""
    app = service.application()
    return {
        (method, route.path)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if isinstance(handler, HTTPRouteHandler)
        for method in handler.http_methods
        if method != "OPTIONS"
    }


async def a_dead_letter(client: Client) -> str:
    """Return the number of one: there is, or will be, a payment no order is known for."""

    async def failures() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await client.get("/ops/failures", client.shop)).json["failures"]
        return found

    if not await failures():
        user = fresh_user()
        await client.fund(user, 1)
        await client.pay((await client.apply(user, 1))["payOrderId"], user)
        await until(lambda: _there(failures()))
    return str((await failures())[0]["id"])


async def _there(found: Awaitable[list[dict[str, Any]]]) -> bool:
    return bool(await found)


@dataclass(frozen=True, slots=True)
class Victim:
    """A user with money, an order and a pay order; somebody tries what is not theirs."""

    client: Client
    user: str
    order: Mapping[str, Any]
    failure: str

    @classmethod
    async def make(cls, client: Client) -> "Victim":
        """Make one."""
        user = fresh_user()
        await client.fund(user, 1_000)
        return cls(client, user, await client.order(user, 300), await a_dead_letter(client))

    async def send(self, route: Route, token: str | None, **headers: str) -> Reply:
        """Use a route on what is the victim's."""
        method, template = route
        rule = RULES[route]
        known = {"{new}": str(fresh_number()), "{new_user}": fresh_user(), "{user}": self.user}
        path = (
            template.replace("{pay_order_id:str}", self.order["payOrderId"])
            .replace("{biz_order_no:str}", self.order["id"])
            .replace("{order_id:str}", self.order["id"])
            .replace("{user_id:str}", self.user)
            .replace("{merchant_id:str}", "1")
            .replace("{name:str}", self.order["payOrderId"])
            .replace("{failure_id:str}", self.failure)
        )
        path += {"/ops/now": "?samples=0", "/ops/failures/outcome": "?actions=1"}.get(path, "")
        if method == "GET" and path in LISTS:
            path += f"?{LISTS[path]}={self.order['id']}"
        body = None if rule.body is None else {k: known.get(str(v), v) for k, v in rule.body.items()}
        all_headers = {name: known.get(value, value) for name, value in rule.headers.items()} | headers
        return await self.client.send(method, path, token, body, headers=all_headers)


async def test_every_route_is_in_the_table_of_this_page(service: Service) -> None:
    """A new route must say here who may use it."""
    assert {route for route in routes(service) if route[1] not in OPEN} == set(RULES) | OF_CHANNELS
    assert {path for _, path in routes(service)} >= OPEN


@EVERY_ROUTE
async def test_without_a_token_nobody_gets_anywhere(service: Service, http: Client, route: Route) -> None:
    victim = await Victim.make(http)
    before = await state(service)

    reply = await victim.send(route, None)

    assert reply.refusal == (401, "not_authenticated")
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="paybell"'
    assert (await state(service)).follows(before)


@EVERY_ROUTE
async def test_a_stranger_without_scopes_is_refused_and_changes_nothing(
    service: Service, http: Client, route: Route
) -> None:
    victim = await Victim.make(http)
    before = await state(service)

    reply = await victim.send(route, http.token(fresh_user()))

    assert reply.refusal == RULES[route].stranger
    assert (await state(service)).follows(before)


@EVERY_ROUTE
async def test_every_other_scope_together_does_not_make_up_for_the_right_one(
    service: Service, http: Client, route: Route
) -> None:
    victim = await Victim.make(http)
    others = [scope for scope in SCOPES if scope != RULES[route].scope]
    before = await state(service)

    reply = await victim.send(route, http.token(fresh_user(), *others))

    assert reply.refusal == RULES[route].stranger
    assert (await state(service)).follows(before)


@EVERY_ROUTE
async def test_the_right_scope_alone_is_enough(http: Client, route: Route) -> None:
    """So the refusals above are about the scope; paying is nobody's but the payer's."""
    victim = await Victim.make(http)
    if RULES[route].paid:
        await http.pay(victim.order["payOrderId"], victim.user)
    scope = RULES[route].scope
    token = http.token(fresh_user(), scope) if scope else http.token(victim.user)

    assert (await victim.send(route, token)).status in (200, 201, 204)


@EVERY_ROUTE
async def test_another_merchants_token_reaches_nothing_of_ours(
    service: Service, http: Client, route: Route
) -> None:
    """With every scope there is; new pay orders are the caller's own."""
    victim = await Victim.make(http)
    before = await state(service)

    reply = await victim.send(route, http.token("thief", *SCOPES, merchant="thieves"))

    if expected := RULES[route].other_merchant:
        assert reply.refusal == expected
        assert (await state(service)).follows(before)
    elif route[0] == "GET":
        assert list(reply.json.values()) == [[]]
    else:
        assert route in {("POST", "/pay-orders"), ("POST", "/pay-orders/batch")}
        made = reply.json["answers"][0]["payOrder"] if "answers" in reply.json else reply.json
        assert made["merchantId"] == "thieves"


@EVERY_ROUTE
async def test_an_owner_needs_no_scope_for_what_is_theirs_and_has_none_beyond_it(
    http: Client, route: Route
) -> None:
    victim = await Victim.make(http)
    if RULES[route].paid:
        await http.pay(victim.order["payOrderId"], victim.user)

    reply = await victim.send(route, http.token(victim.user))

    owned = RULES[route].stranger != NO_SCOPE
    assert (reply.status in (200, 204)) if owned else (reply.refusal == NO_SCOPE)


async def test_a_buyer_cannot_set_the_price(http: Client) -> None:
    """Neither at the order service nor at pay, for an order of their own."""
    buyer = fresh_user()
    token = http.token(buyer)

    order = await http.post("/orders", token, {"buyerId": buyer, "totalFee": 1})
    pay_order = {"bizOrderNo": str(fresh_number()), "payerId": buyer, "amount": 1}

    assert order.refusal == NO_SCOPE
    assert (await http.post("/pay-orders", token, pay_order)).refusal == NO_SCOPE


async def test_a_users_name_cannot_be_claimed_by_another_spelling(http: Client) -> None:
    """Case, padding and look-alikes are other users."""
    user = f"Alice{fresh_user()}"
    await http.fund(user, 10)

    for other in (user.lower(), f" {user}", f"{user} ", user.replace("A", "\uff21"), f"{user}\u200b"):
        assert (await http.get(f"/wallets/{user}", http.token(other))).status in (401, 403), other


def forged(secret: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """Return a token with these claims."""
    return jwt.encode({"sub": "7", "scope": " ".join(SCOPES), **claims}, secret, algorithm=algorithm)


def unsigned(header: Mapping[str, object], signature: str = "") -> str:
    """Return a token with this header, by hand."""
    parts = [header, {"sub": "7", "scope": " ".join(SCOPES)}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, signature])


BAD_TOKENS = {
    "another key": forged("another secret with at least 32 bytes of it"),
    "another algorithm": forged(algorithm="HS512"),
    "alg none": unsigned({"alg": "none", "typ": "JWT"}),
    "alg None, spelled another way": unsigned({"alg": "nOnE"}),
    "no alg": unsigned({"typ": "JWT"}),
    "an algorithm that is no text": unsigned({"alg": 1}),
    "a signature cut off": forged().rpartition(".")[0] + ".",
    "a signature of other claims": forged().rpartition(".")[0] + "." + forged(sub="8").rpartition(".")[2],
    "expired": forged(exp=1_000_000_000),
    "expired just now, in another form": forged(exp="1000000000"),
    "not valid yet": forged(nbf=4_000_000_000),
    "an expiry that is none": forged(exp="soon"),
    "an expiry too far to tell": forged(exp=10**400),
    "an endless expiry": forged(exp=float("inf")),
    "an expiry that is no number": forged(exp=float("nan")),
    "an endless expiry in words": forged(exp="inf"),
    "a negative expiry": forged(exp=-1),
    "no subject": jwt.encode({"scope": "orders:read"}, SECRET),
    "an empty subject": forged(sub=""),
    "a subject that is a number": jwt.encode({"sub": 7}, SECRET),
    "a subject with a line in it": forged(sub="7\n8"),
    "a subject with a NUL": forged(sub="7\0"),
    "a long subject": forged(sub="7" * 65),
    "scopes in a list": forged(scope=["orders:read"]),
    "scopes as null": forged(scope=None),
    "a merchant that is a number": forged(merchant=1),
    "an empty merchant": forged(merchant=""),
    "a header that is no JSON": "e30x.e30.AAAA",
    "a payload that is no object": jwt.api_jws.encode(b"[]", SECRET),
    "a deep header": base64.urlsafe_b64encode(b'{"alg":' + b"[" * 8_000).decode() + ".e30.AAAA",
    "deep claims": jwt.api_jws.encode(b"[" * 8_000, SECRET),
    "two parts": "e30.e30",
    "dots": "....",
    "no ASCII": "é.ü.ö",
    "nothing": "",
    "spaces": "   ",
    "a critical header nobody knows": jwt.encode(
        {"sub": "7"}, SECRET, headers={"crit": ["b64"], "b64": False}
    ),
}


@pytest.mark.parametrize(("name", "token"), BAD_TOKENS.items(), ids=BAD_TOKENS)
async def test_a_bad_token_is_no_token_and_reads_differently(http: Client, name: str, token: str) -> None:
    reply = await http.send("GET", "/orders?ids=1", headers={"Authorization": f"Bearer {token}"})

    invalid = bool(token.strip()) and name not in ("expired", "a negative expiry")
    assert reply.refusal == (401, "invalid_token" if invalid else "not_authenticated")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
    assert ('error="invalid_token"' in reply.headers["WWW-Authenticate"]) == invalid
    assert not token.strip() or token not in reply.content.decode()


@pytest.mark.parametrize(
    "header", ["", "Basic Nzo3", "Bearer", "Token {}", "{}", "Bearer{}", "Bearer {} {}", "Bearer,{}", "null"]
)
async def test_another_kind_of_authorization_is_none(http: Client, header: str) -> None:
    token = forged()

    reply = await http.send("GET", "/orders?ids=1", headers={"Authorization": header.format(token, token)})

    two = header.startswith("Bearer {}")
    assert reply.refusal == (401, "invalid_token" if two else "not_authenticated")


async def test_a_token_stops_working_when_it_expires_though_it_was_seen_before(http: Client) -> None:
    """Verified tokens are remembered; their end is too."""
    soon = int(http.tokens._clock.now().timestamp()) + 1
    token = forged(exp=soon)
    assert (await http.get("/orders?ids=1", token)).status == 200

    while http.tokens._clock.now().timestamp() < soon:
        await http.get("/healthz")

    expired = await http.get("/orders?ids=1", token)
    assert expired.refusal == (401, "not_authenticated")
    assert "expired" in expired.json["detail"]


async def test_a_token_may_call_its_scheme_as_it_likes(http: Client) -> None:
    """RFC 9110: the scheme's case means nothing."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        reply = await http.send("GET", "/orders?ids=1", headers={"Authorization": f"{scheme} {forged()}"})
        assert reply.status == 200


async def test_every_answer_says_its_version_and_has_the_requests_id(http: Client) -> None:
    """A sane one of the caller's, else that of its trace, else a new one; refusals too."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    for path, headers, wanted in (
        ("/healthz", {"X-Request-Id": "order-7.try/2"}, "order-7.try/2"),
        ("/orders?ids=1", trace, "0af7651916cd43dd8448eb211c80319c"),
        ("/console", {"X-Request-Id": "no spaces", **trace}, "0af7651916cd43dd8448eb211c80319c"),
        ("/nowhere", {"X-Request-Id": "x" * 129}, None),
        ("/" + "x" * 9000, {}, None),
    ):
        reply = await http.send("GET", path, headers=headers)
        assert reply.headers["Paybell-Version"] == "1", path
        request_id = reply.headers["X-Request-Id"]
        assert request_id == wanted if wanted else re.fullmatch("[0-9a-f]{32}", request_id), path


async def test_log_lines_of_a_request_have_its_id(service: Service, http: Client) -> None:
    processors, seen = structlog.get_config()["processors"], structlog.testing.LogCapture()
    before = list(processors)
    processors[:] = [structlog.contextvars.merge_contextvars, seen]  # in place: loggers are remembered
    try:
        with patch.object(service.served.runtime.host.tokens, "verify", side_effect=ZeroDivisionError):
            reply = await http.send("GET", "/orders?ids=1", http.token("7"), headers={"X-Request-Id": "mine"})
    finally:
        processors[:] = before

    assert reply.refusal == (500, "internal_error")
    told = [line["event"] for line in seen.entries if line.get("request_id") == "mine"]  # loops write, too
    assert told == ["request_failed"]
