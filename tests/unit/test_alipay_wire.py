"""Alipay's wire format: what is signed, what is believed, and what amounts and times look like."""

import base64
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from rsa_keys import key_pair, private_key

from paybell.channels.alipay import messages
from paybell.channels.alipay.certificates import Certificates
from paybell.channels.alipay.messages import Caller, Merchant, beijing, fen, from_beijing, read_reply, yuan
from paybell.channels.alipay.signing import pairs_text, verified_notice
from paybell.channels.crypto import AppCertificate, BadKey, PrivateKey, PublicKey, RootCertificates
from paybell.channels.keyring import Keyring
from paybell.channels.strict_json import Malformed
from paybell.errors import Misconfigured

NOW = datetime(2026, 1, 31, 20, 30, tzinfo=UTC)
MERCHANT = Merchant("2021000000000001", "2088102100000001", "https://openapi.alipay.com/gateway.do")
METHOD, MEMBER = "alipay.trade.query", "alipay_trade_query_response"


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return private_key(0)


def answer(key: PrivateKey, text: str, member: str = MEMBER) -> bytes:
    return f'{{"{member}":{text},"sign":"{key.sign(text.encode())}"}}'.encode()


def test_a_request_is_signed_over_its_sorted_unencoded_pairs(key: PrivateKey) -> None:
    """Checked by the other side's rule, from the bytes that go over the wire."""
    content = messages.opening("7001", 1177, "茶 + {}", NOW, "2088102100000001")
    body = messages.request_body("alipay.trade.precreate", content, Caller(MERCHANT, key), NOW)

    fields = dict(parse_qsl(body.decode(), strict_parsing=True))
    covered = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name != "sign")
    assert key.public.verifies(fields["sign"], covered.encode())
    assert fields["timestamp"] == "2026-02-01 04:30:00"
    assert json.loads(fields["biz_content"]) == {
        "out_trade_no": "7001",
        "total_amount": "11.77",
        "subject": "茶 + {}",
        "seller_id": "2088102100000001",
        "time_expire": "2026-02-01 04:30:00",
    }


def test_empty_values_and_the_signature_itself_are_not_signed() -> None:
    assert pairs_text({"b": "2", "a": "1", "c": "", "sign": "x"}, {"sign"}) == b"a=1&b=2"


def test_a_page_link_carries_everything_in_its_query(key: PrivateKey) -> None:
    merchant = messages.returning(MERCHANT, "https://shop.example/notices", "https://shop.example/back")
    link = messages.page_link(messages.opening("7001", 1, "a", NOW, ""), Caller(merchant, key), NOW)

    query = parse_qs(urlsplit(link).query, strict_parsing=True)
    assert link.startswith(MERCHANT.gateway + "?")
    assert query["return_url"] == ["https://shop.example/back"]
    assert json.loads(query["biz_content"][0])["product_code"] == "FAST_INSTANT_TRADE_PAY"


@pytest.mark.parametrize(
    "text",
    [
        '{"code":"10000","msg":"a } in the \\"subject\\" {"}',
        '{ "code" : "10000" ,"msg":"https:\\/\\/a"}',
        '{"code":"10000","msg":"\\u8336","list":[{"a":"}]"}]}',
    ],
)
def test_an_answer_is_verified_over_its_exact_text(key: PrivateKey, text: str) -> None:
    """Braces in strings, escaped slashes and spaces are all part of it."""
    assert read_reply(METHOD, answer(key, text), [key.public]).signed
    assert not read_reply(METHOD, answer(key, text).replace(b"10000", b"10001"), [key.public]).signed
    assert not read_reply(METHOD, answer(private_key(1), text), [key.public]).signed


def test_both_keys_of_a_rotation_verify(key: PrivateKey) -> None:
    keys = [private_key(1).public, key.public]
    assert read_reply(METHOD, answer(key, '{"code":"10000"}'), keys).signed


def test_an_error_without_signature_is_read_and_not_believed(key: PrivateKey) -> None:
    reply = read_reply(
        METHOD, b'{"error_response":{"code":"40002","sub_code":"isv.invalid-app-id"}}', [key.public]
    )
    assert (reply.signed, reply.why) == (False, "isv.invalid-app-id")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b'{"alipay_trade_query_response":{"code":"10000"',
        b'{"other":{}}',
        b'{"alipay_trade_query_response":[]}',
        b'{"alipay_trade_query_response":{"code":"1"},"alipay_trade_query_response":{"code":"2"}}',
        b'{"alipay_trade_query_response":{"code":"1","code":"2"}}',
        b'{"alipay_trade_query_response":{"code":NaN}}',
        b'{"alipay_trade_query_response":{"code":1}}',
        b'{"alipay_trade_query_response":' + b'{"a":' * 30 + b"1" + b"}" * 30 + b"}",
        b'{"alipay_trade_query_response":' + b"[" * 40_000,
        b'{"alipay_trade_query_response":{}}x',
        b'\xff{"alipay_trade_query_response":{}}',
    ],
)
def test_what_could_be_read_in_two_ways_is_not_read(key: PrivateKey, body: bytes) -> None:
    with pytest.raises(Malformed):
        read_reply(METHOD, body, [key.public])


def notice(key: PrivateKey, fields: dict[str, str]) -> bytes:
    covered = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name != "sign_type")
    return urlencode({**fields, "sign": key.sign(covered.encode())}).encode()


FIELDS = {"subject": "a+b & c=d 茶}", "out_trade_no": "7001", "sign_type": "RSA2", "total_amount": "11.77"}


def test_a_notice_is_verified_over_its_decoded_fields(key: PrivateKey) -> None:
    body = notice(key, FIELDS)

    assert verified_notice(body, [key.public]) == {**FIELDS, "sign": dict(parse_qsl(body.decode()))["sign"]}
    assert verified_notice(notice(key, {**FIELDS, "body": ""}), [key.public]) is not None
    assert verified_notice(body.replace(b"11.77", b"99.99"), [key.public]) is None
    assert verified_notice(notice(private_key(1), FIELDS), [key.public]) is None
    assert verified_notice(urlencode(FIELDS).encode(), [key.public]) is None
    assert verified_notice(notice(key, {**FIELDS, "sign_type": "RSA"}), [key.public]) is None


@pytest.mark.parametrize("body", [b"a=1&a=2", b"a", b"a=%ff", b"&".join(b"f%d=1" % n for n in range(99))])
def test_a_notice_that_is_no_form_is_refused(key: PrivateKey, body: bytes) -> None:
    with pytest.raises(Malformed):
        verified_notice(body, [key.public])


@pytest.mark.parametrize("amount", [1, 10, 99, 100, 1177, 10**10])
def test_amounts_go_to_yuan_and_back(amount: int) -> None:
    assert fen(yuan(amount)) == amount


@pytest.mark.parametrize("text", ["", "x", "0.001", "-1", "NaN", "Infinity", "1e999999999", "1e9"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        fen(text)


def test_times_are_beijings_in_whatever_zone_the_host_is() -> None:
    assert from_beijing(beijing(NOW)) == NOW
    with pytest.raises(Malformed):
        from_beijing("2026-13-01 00:00:00")
    code = (
        "from datetime import *; from paybell.channels.alipay.messages import beijing;"
        "print(beijing(datetime(2026, 1, 31, 20, 30, tzinfo=UTC)))"
    )
    for zone in ("America/New_York", "Asia/Kathmandu"):
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code], env={"TZ": zone}, capture_output=True, check=True
        )
        assert done.stdout == b"2026-02-01 04:30:00\n"


def test_keys_come_as_pem_or_as_the_bare_base64_of_alipays_tool(key: PrivateKey) -> None:
    pem = key_pair(0).private
    bare = "".join(pem.splitlines()[1:-1])

    assert PrivateKey(bare).public.fingerprint == key.public.fingerprint
    assert PublicKey("".join(key_pair(0).public.splitlines()[1:-1])).verifies(key.sign(b"a"), b"a")
    assert base64.b64decode(bare)[:8].hex() not in repr(key)


def certificate(issuer: x509.Name, serial: int, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """Return one in PEM."""
    made = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


ISSUER = x509.Name(
    [
        x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "CN"),
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Ant Financial"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "Certification Authority"),
    ]
)


def test_a_certificate_is_named_by_its_issuer_and_number_and_of_roots_those_with_rsa() -> None:
    """As Alipay's kits do: the issuer from its last part on, and the number in decimal."""
    ours, curve = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    first, odd, last = (
        certificate(ISSUER, 7, ours), certificate(ISSUER, 8, curve), certificate(ISSUER, 255, ours)
    )  # fmt: skip
    names = [
        hashlib.md5(f"CN=Certification Authority,O=Ant Financial,C=CN{number}".encode()).hexdigest()  # noqa: S324
        for number in (7, 255)
    ]

    assert AppCertificate(first).name == names[0]
    assert RootCertificates(first + odd + last).name == "_".join(names)
    for text in ("", "none", odd):
        with pytest.raises(BadKey):
            AppCertificate(text)
    for text in ("", odd):
        with pytest.raises(BadKey):
            RootCertificates(text)


def test_a_request_names_the_certificate_of_the_key_that_signs_it() -> None:
    ours, others = (key_pair(number) for number in (0, 1))
    both = ",".join(pair.certificate("Somebody", NOW) for pair in (others, ours))
    app = Keyring("PAYBELL_ALIPAY_APP_CERTIFICATES", both, AppCertificate)
    root = key_pair(4).certificate("Root", NOW)
    roots = Keyring("PAYBELL_ALIPAY_ROOT_CERTIFICATES", root, RootCertificates)

    fields = Certificates(app, roots).fields(private_key(0))

    assert fields == {"app_cert_sn": app.all[1][1].name, "alipay_root_cert_sn": roots.newest.name}
    with pytest.raises(Misconfigured, match="PAYBELL_ALIPAY_APP_CERTIFICATES"):
        Certificates(app, roots).fields(private_key(3))
