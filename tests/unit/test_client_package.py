"""The client package by itself: what it verifies, what it raises, and that it needs nothing of Paybell."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import paybell_client
import pytest
from notebook import event_members
from paybell_client import (
    EventKeys,
    NotAuthenticated,
    NotSigned,
    PayOrderData,
    PayOrderEvent,
    PayPasswordLocked,
    Problem,
    Unreadable,
    WrongPayPassword,
)
from paybell_client.errors import problem_of

from paybell.messaging.events import PayOrderData as SentData
from paybell.messaging.signatures import EventKeys as Signer
from paybell.messaging.signatures import PaidOrder

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "docs" / "how-to" / "verify-signatures.md").read_text()
KEYS = "2026a:" + "k" * 32
BODY = msgspec.json.encode(event_members("1001-2"))


def test_the_client_verifies_the_test_vectors_of_the_recipe() -> None:
    (ring,) = re.findall(r"`PAYBELL_EVENT_KEYS=([^`]+)`", RECIPE)
    (body,) = re.findall(r"event's body is `([^`]+)`", RECIPE)
    of_event, of_number = re.findall(r"\| `(2026a:[0-9a-f]{64})` \|", RECIPE)
    keys = EventKeys(ring)
    order = {"biz_order_no": 383031925356367872, "currency": "CNY", "merchant_id": "1"}

    assert keys.verifies_event(of_event, body.encode())
    assert keys.verifies_event(of_event.encode(), body.encode())
    assert keys.verifies_number(of_number, amount=1200, **order)  # type: ignore[arg-type]
    assert not keys.verifies_number(of_number, amount=1199, **order)  # type: ignore[arg-type]
    assert not keys.verifies_event(of_number, body.encode())


def test_the_client_believes_what_paybell_signs_and_nothing_else() -> None:
    signature = Signer(KEYS).sign_event(BODY)
    number = Signer(KEYS).sign(PaidOrder("1", "5001", 100, "CNY"))
    keys = EventKeys(f"new:{'n' * 32},{KEYS}")
    order = {"biz_order_no": "5001", "amount": 100, "currency": "CNY"}

    event = keys.read_event(signature, BODY)
    assert (event.id, event.data.biz_order_no, event.data.amount) == ("1001-2", "5001", 100)
    assert keys.verifies_number(number, merchant_id="1", **order)  # type: ignore[arg-type]
    assert not keys.verifies_number(number, merchant_id="2", **order)  # type: ignore[arg-type]
    for forged in (None, 7, "", b"\xff", signature[:-1], signature.replace("2026a", "new"), "x\N{SNOWMAN}:y"):
        with pytest.raises(NotSigned):
            keys.read_event(forged, BODY)
    with pytest.raises(NotSigned):
        keys.read_event(signature, BODY + b" ")
    with pytest.raises(Unreadable):
        keys.read_event(Signer(KEYS).sign_event(b"{}"), b"{}")


@pytest.mark.parametrize("ring", ["", "a:" + "k" * 31, f"{KEYS},{KEYS}", "a:b:" + "k" * 32])
def test_keys_that_could_verify_nothing_are_refused(ring: str) -> None:
    with pytest.raises(ValueError, match="key"):
        EventKeys(ring)


def test_the_clients_event_has_the_members_that_paybell_sends() -> None:
    assert PayOrderData.__struct_encode_fields__ == SentData.__struct_encode_fields__
    assert set(PayOrderEvent.__struct_encode_fields__) < set(event_members("1001-2")) | {"traceparent"}


def test_every_code_that_has_a_class_is_one_of_the_services() -> None:
    documented = set(
        re.findall(r"^\| [45]\d\d \| `(\w+)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    )
    ours = {code for kind in Problem.__subclasses__() for code in kind.codes}

    assert len(ours) > 15
    assert ours - documented == set()


def test_a_problem_has_its_class_its_code_and_what_else_it_says() -> None:
    wrong = problem_of(403, b'{"code":"wrong_pay_password","detail":"Wrong.","status":403,"triesLeft":3}')
    locked = problem_of(423, b'{"code":"pay_password_locked","lockedUntil":"2026-01-01T00:00:00.000Z"}')
    proxy = problem_of(502, b"<html>")

    assert isinstance(wrong, WrongPayPassword)
    assert (wrong.code, wrong.status, wrong.detail, wrong.tries_left) == (
        "wrong_pay_password",
        403,
        "Wrong.",
        3,
    )
    assert isinstance(locked, PayPasswordLocked)
    assert locked.locked_until.isoformat() == "2026-01-01T00:00:00+00:00"
    assert isinstance(problem_of(401, b'{"code":"invalid_token"}'), NotAuthenticated)
    assert (type(proxy), proxy.code) == (Problem, "http_502")


def test_everything_of_the_package_stands_in_its_first_place() -> None:
    errors = {
        kind.__name__
        for kind in (*Problem.__subclasses__(), *paybell_client.PaybellClientError.__subclasses__())
    }

    assert errors <= set(paybell_client.__all__)


def test_the_wheel_is_typed_and_works_where_paybell_is_not(tmp_path: Path) -> None:
    wheel = ("wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    place = tmp_path / "wheels"
    subprocess.run([sys.executable, "-m", "pip", *wheel, "-w", place, ROOT / "client"], check=True)  # noqa: S603
    (made,) = place.glob("paybell_client-*.whl")
    with zipfile.ZipFile(made) as files:
        names = files.namelist()
        files.extractall(tmp_path / "there")

    assert "paybell_client/py.typed" in names
    program = (
        "import sys; sys.modules['paybell'] = None; sys.path.insert(0, sys.argv[1]); import paybell_client; "
        "print(paybell_client.__file__, paybell_client.EventKeys('k' * 32).verifies_event('1:0', b''))"
    )
    said = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program, tmp_path / "there"], check=True, capture_output=True, text=True
    ).stdout
    assert said.split() == [str(tmp_path / "there" / "paybell_client" / "__init__.py"), "False"]
