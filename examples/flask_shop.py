"""A shop in Flask whose buyers pay out of their balance at Paybell; it knows nothing but the HTTP API.

    pip install flask httpx pyjwt
    export SHOP_PAY_URL=http://127.0.0.1:8000 SHOP_URL=http://127.0.0.1:5000
    export SHOP_TOKEN_SECRET=$(cat .paybell/jwt-secret)
    flask --app examples/flask_shop.py run

Three things make it safe. An order has its id before it is sent, so a second click, or a request that
is sent again because no answer came, makes no second order. What is paid is asked of Paybell, never
believed of the browser that comes back. And the buyer pays at Paybell's page: no pay password passes
through the shop after the account is opened.
"""

import os
import secrets
import time
from urllib.parse import quote

import httpx
import jwt
from flask import Flask, abort, redirect, render_template_string, request, session, url_for
from werkzeug.wrappers import Response

SHOP_SCOPES = "wallets:write orders:write orders:read"
OK, CREATED, SEE_OTHER, FORBIDDEN, NOT_FOUND, CONFLICT, UNAVAILABLE = 200, 201, 303, 403, 404, 409, 503
PRICE, WELCOME = 1234, 5000  # minor units: 12.34 and 50.00
TRIES, FIRST_WAIT_SECONDS = 5, 0.1

HOME = """<!doctype html><title>Tea</title><h1>Tea</h1>
{% if name %}<form method="post" action="{{ url_for('buy') }}">
<input type="hidden" name="order_id" value="{{ order_id }}"><button>Buy a can for 12.34</button></form>
{% else %}<form method="post" action="{{ url_for('sign_up') }}"><label>Name <input name="name"></label>
<label>Pay password, six digits <input name="pay_password" type="password" inputmode="numeric"></label>
<button>Open an account with 50.00</button></form>{% endif %}"""
ORDER = """<!doctype html><title>Order</title><h1>Order {{ id }}</h1>
<p>{% if status == "PAID" %}Paid. The tea is on its way.{% elif status == "UNPAID" %}Not paid yet.
<a href="{{ cashier }}">Pay</a>{% else %}This order is {{ status }}.{% endif %}</p>"""


class Paybell:
    """The few calls a shop needs; each may be sent again."""

    def __init__(self, http: httpx.Client, token_secret: str) -> None:
        self._http = http
        self._secret = token_secret

    def token(self, name: str, scope: str = "") -> str:
        """Return a token for the shop itself (with scopes) or a buyer (without)."""
        now = int(time.time())
        claims = {"sub": name, "scope": scope, "iat": now, "exp": now + 3600}
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def send(self, method: str, path: str, body: object = None, key: str = "") -> httpx.Response:
        """Send a request as the shop; ask again while the service is away or busy."""
        headers = {"Authorization": f"Bearer {self.token('tea-shop', SHOP_SCOPES)}"}
        if key:
            headers["Idempotency-Key"] = key
        for tried in range(TRIES):
            try:
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx.TransportError:  # no answer: it may have been done, so the same again
                if tried == TRIES - 1:
                    raise
            else:
                if answer.status_code != UNAVAILABLE:
                    return answer
            time.sleep(FIRST_WAIT_SECONDS * 2**tried)
        return answer


def create_app(pay: httpx.Client | None = None, token_secret: str = "", shop_url: str = "") -> Flask:
    """Return the shop; what is not given is made from the environment."""
    app = Flask(__name__)
    app.secret_key = os.environ.get("SHOP_SESSION_SECRET") or secrets.token_bytes(32)
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    pay = pay or httpx.Client(base_url=os.environ["SHOP_PAY_URL"], timeout=10)
    paybell = Paybell(pay, token_secret or os.environ["SHOP_TOKEN_SECRET"])
    here = shop_url or os.environ["SHOP_URL"]

    @app.get("/")
    def home() -> str:
        order_id = secrets.randbelow(2**62) + 1
        return render_template_string(HOME, name=session.get("name"), order_id=order_id)

    @app.post("/sign-up")
    def sign_up() -> Response:
        name = request.form["name"]
        wallet = {"userId": name, "payPassword": request.form["pay_password"]}
        answer = paybell.send("POST", "/wallets", wallet)
        if answer.status_code != CREATED:  # of a wallet that is there somebody else is the owner
            abort(CONFLICT if answer.status_code == CONFLICT else FORBIDDEN, answer.json()["detail"])
        path = f"/wallets/{quote(name, safe='')}/top-ups"
        paybell.send("POST", path, {"amount": WELCOME}, key="welcome").raise_for_status()
        session["name"] = name
        return redirect(url_for("home"), SEE_OTHER)

    @app.post("/orders")
    def buy() -> Response:
        name = session.get("name") or abort(FORBIDDEN)
        order = {"orderId": request.form["order_id"], "buyerId": name, "totalFee": PRICE, "subject": "Tea"}
        answer = paybell.send("POST", "/orders", order)
        if not answer.is_success:
            abort(answer.status_code, answer.json()["detail"])
        return redirect(cashier(answer.json()["id"], name), SEE_OTHER)

    @app.get("/orders/<int:order_id>")
    def show(order_id: int) -> str:
        answer = paybell.send("GET", f"/orders/{order_id}")
        order = answer.json()
        if answer.status_code != OK or order["buyerId"] != session.get("name"):
            abort(NOT_FOUND)
        link = cashier(order["id"], order["buyerId"])
        return render_template_string(ORDER, id=order["id"], status=order["status"], cashier=link)

    def cashier(order_id: str, name: str) -> str:
        """Return the address of Paybell's page; what follows # is sent to no server."""
        back = quote(f"{here}/orders/{order_id}", safe="")
        return f"{pay.base_url.join('cashier/')}{order_id}?returnUrl={back}#token={paybell.token(name)}"

    return app
