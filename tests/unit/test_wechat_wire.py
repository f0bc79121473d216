"""WeChat Pay's wire format, by its published vectors and against what strangers might send."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from rsa_keys import key_pair, private_key

from paybell.channels.crypto import AesKey, BadKey, PrivateKey, PublicKey
from paybell.channels.strict_json import Malformed
from paybell.channels.wechat import messages
from paybell.channels.wechat.messages import Merchant, Resource
from paybell.channels.wechat.signing import answer_text, authorization, fault_of, request_text

# The key and values with which WeChat Pay's documentation shows how to sign.
DOCUMENTED_KEY = """
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCm2mb6q8gMKH/3CNTbpJAIrbqiBiQGEOtjGcBrDYltsGyn
WgNscqT7WvfzU14FQbYcQUC5T4Wvva7mi3fIp3OgX8VqMDNA0qebnr38Pe6kqiLyZgFpJPXlSKDyPyqhRbVTbXssvSMQeVKc
dXeVxoNNeoOlNFHgF/P0io6AmAVnz+hN8SiZKuOsth5/zUTLGvtkgxBcQooQrtXhRcpLT798OyIb9xeJ2HO3xRtMv2+perEz
b4gMibI74UBz+2QEbnkubPE+2jU2rRZudnNEz/BPOt3Qj/w2V6/G0VumGDh6+UeMU0jv4aupHztWITC4Akn0l7lBCNy3lgl8
VFaJnkIxAgMBAAECggEAYGL8aESB7NwciDWW2UdoWUsa7GxFtSdjAz2mFXGdeTsYmVh7b9OOkRGM+Qio4LqEHDBp1mMk5E/c
UJwy1zw8pGGO5nfvs7u9TT3XnHaefIs4YvUgTYAneIuLRkXNN5rQU+CD7mVYczTSz0Vgjqo9wa1LjUz7G0xbBmJgTdMEFGJs
eJjy6AbJo0CGIwp6HJbTm4CmOUgXnnDAIbEGTIRImkZFH/rzneIeR7oZ77FVwxr1CZB2gfRCov/yRPbw8vnryYkmvQ7D/ze3
j5097vRg/MoDGBSdoOwcmo75vyofr0ASzytMjmHYyifqkf5slPropSiJeGf4p/7gtKyF6dE/XQKBgQDVAlJ+4U5ZVGOuDc3+
sAhz8CTzgFNlq9vKuSoFK6hOz2L+cwj+E7NXGkOe2DsHHZNy2Xqxk7caKhPEp1z9hhpMpyLVMoFt6CKemyoRBWDCQwLLwem9
SZF/IAyovBkLiH36P42Jm26gUkNMKC/5Zhtqxf6RZgRQzbVudJi47vIRCwKBgQDIh0+v27Oo+DM3fhObH4I1NrXpWOEGH7OQ
G1dEsMuFYF4hjGhg0kBEP3w9vVdl2+mRllZKTsx9oqjb8OibPLLIH8xsdbAB0WLfJvjLu4wl/ILUzN1RI03dWnnv2EnEeQn6
c3hizvrJ9wR5U4ue9RPVnQooJ0hZF1PUuCL5fWK3MwKBgElReU/PAYbh80WP3t3Rfbdaa32dKBeQ5iCLR5lsA4zM+YgX1HqQ
EWTj126vgvHaDkyz6vWAoL/Sx+cirHFfXWIRDX5Q2hgYlQH+6qXdMgbrxeSYpHnQ/tHBGFpkFELSAnrGsVMyOwvYBO4LzyeL
K9i+ufcWJFoj1FVmsMLHDG8tAoGARdbiiQQCoYG4DMarO2aQ6cmhN6EN1h0qY7EyBqlwaIZ0okiNfdMcMOjPc41DKCWcRmlO
qlihXcxN9TQFPzO3rH1urAOdBjUPs1qWYhZyrDQyuLyVBBJApyxAtajloDjrob+fmQIvVDHk7ACN6xG+E7K6+9salnTKbJap
D618uQMCgYBNy6XUvzLkP/A1U/UZdtcxl8GwU/dturLxz4CyGbqDw4ubaYY2e13lnqHUqQgPtiSyH51nq3tdo8G0YAJdfkSv
KvnfslW91fyEBUKnkdW1o3/1UFU/wprZ7ixVL/F42A4xDu7OFE8EnweJOZ0jWceEOdhCkaIGBCfRnlECRK8UyQ==
"""
NONCE = "593BEC0C930BF1AFEB40B4A08C8FB242"
DOCUMENTED_BODY = (
    '{"appid":"wxd678efh567hg6787","mchid":"1900007291","description":"Image形象店-深圳腾大-QQ公仔",'
    '"out_trade_no":"1217752501201407033233368018","notify_url":"https://www.weixin.qq.com/wxpay/pay.php",'
    '"amount":{"total":100,"currency":"CNY"},"payer":{"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}}'
)
DOCUMENTED_SIGNATURE = (
    "jnks4dlrPw3ZX+ozVvSK39oa0t7OMBsg83BHAwd8BRdUFiVaQNTLTvci+wURgP1OQBbKYhFGvt7iqYpDSTQkp7Uq1sltaQKyncCyrA1g"
    "88m5bsKERQfPyT0ahSwKTYJ1CAn9QiJuSJRq1QsQs07eehbU/k9BCS51jTyc1Jpsi2H77HF9f/BnjXAOP3/sPObg6V5Ee4EzwLox684h"
    "huMuIwHo7D8KFk3LIHOKDcNI4It1aCXydFWNpNK+SG86VUDe5kwoDpw4Ulqfu9z8OFDGbDs9TCxEv8iqQzbpxOlEVoOe2kalSYM5kApQ"
    "b3nZcxdUtoE0liJGW3RGUNE0t4v01A=="
)
# An answer of the real API, and the public key it was signed with.
ANSWER_KEY = """
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwXNI6sdlknHBnK8Fu2U6Cwor9qY747jP8KAfeBMeveEt1TqaHkLf
aSD07trZLhGpfs8/AHqjhgSMO1O10YQWOrrJ4hjIWPKqxbgrYMkBQc+mwdiWp4W3ByCqxBRagCveCXRWCmuJYovl9H/bsDI0
iGbpVtEOghJtfciisYSgxcLufUDTRkvwxjIBK1pCRjk33jJ5YTBWTHMRtMAOcFLNF6hdEYdX8SPsgHHeLZ5Lv2T/686w1xtg
CHef/sd4uSfWmyzsalQdHG/e4IyYmrhx+O3VBoNDzE3nx23bFeV/RVNCG7cV6VhmYokJNHa/erIPkEmEFID6A5wQOXuxUkmJ
WwIDAQAB
"""
ANSWER_SIGNATURE = (
    "mfI1CPqvBrgcXfgXMFjdNIhBf27ACE2YyeWsWV9ZI7T7RU0vHvbQpu9Z32ogzc+k8ZC5n3kz7h70eWKjgqNdKQF0eRp8mVKlmfzMLBVH"
    "bssB9jEZEDXThOX1XFqX7s7ymia1hoHQxQagPGzkdWxtlZPZ4ZPvr1RiqkgAu6Is8MZgXXrRoBKqjmSdrP1N7uxzJ/cjfSiis9FiLjuA"
    "DoqmQ1P7p2N876YPAol7Rn0+GswwAwxldbdLrmVSjfytfSBJFqTMHn4itojgxSWWN1byuckQt8hSTEv/Lg97QoeGniYP17T80pJeQyL3"
    "b+295FPHSO2AtvCgyIbKMZ0BALilAA=="
)
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SERIAL = "PUB_KEY_ID_0000000000000024101100397200000001"


def test_a_request_is_signed_as_the_documentation_shows() -> None:
    key = PrivateKey(DOCUMENTED_KEY)
    text = request_text("POST", "/v3/pay/transactions/jsapi", 1554208460, NONCE, DOCUMENTED_BODY.encode())

    assert key.sign(text) == DOCUMENTED_SIGNATURE
    header = authorization(
        "POST",
        "/v3/pay/transactions/jsapi",
        DOCUMENTED_BODY.encode(),
        mchid="1900007291",
        serial="408B07E7",
        key=key,
        now=datetime.fromtimestamp(1554208460, UTC),
        nonce=NONCE,
    )
    assert header == (
        f'WECHATPAY2-SHA256-RSA2048 mchid="1900007291",nonce_str="{NONCE}",timestamp="1554208460",'
        f'serial_no="408B07E7",signature="{DOCUMENTED_SIGNATURE}"'
    )


def test_an_empty_body_leaves_its_line_empty() -> None:
    assert request_text("GET", "/v3/certificates", 1, "N", b"") == b"GET\n/v3/certificates\n1\nN\n\n"


def test_an_answer_of_the_real_api_is_verified() -> None:
    body = b'{"code_url":"weixin://wxpay/bizpayurl?pr=JyC91EIz1"}'
    headers = {
        "wechatpay-timestamp": "1722850421",
        "wechatpay-nonce": "d824f2e086d3c1df967785d13fcd22ef",
        "wechatpay-serial": SERIAL,
        "wechatpay-signature": ANSWER_SIGNATURE,
    }
    keys = [(SERIAL, PublicKey(ANSWER_KEY))]
    then = datetime.fromtimestamp(1722850421, UTC)

    assert fault_of(headers, body, keys, then) == ""
    assert fault_of(headers, body + b" ", keys, then) == "bad_signature"
    assert fault_of(headers, body, keys, then + timedelta(minutes=6)) == "wrong_time"


def test_the_official_ciphertext_is_decrypted() -> None:
    key = AesKey("a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb")
    ciphertext = "ulwSiIajGClcvcOYvOQ7+l+0PAbzzwI="

    assert key.decrypted(ciphertext, "uluk4a9R25RW", "associatedData") == b"message"
    assert key.encrypted(b"message", "uluk4a9R25RW", "associatedData") == ciphertext
    for wrong in ("", "AAAA", "not base64", ciphertext[:-4] + "AAA="):
        assert key.decrypted(wrong, "uluk4a9R25RW", "associatedData") is None
    assert key.decrypted(ciphertext, "short", "associatedData") is None
    with pytest.raises(BadKey):
        AesKey("too short")


def headers_of(body: bytes, *, serial: str = SERIAL, at: datetime = NOW, number: int = 0) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    return {
        "wechatpay-timestamp": timestamp,
        "wechatpay-nonce": "n",
        "wechatpay-serial": serial,
        "wechatpay-signature": private_key(number).sign(answer_text(timestamp, "n", body)),
    }


def test_nothing_is_believed_that_is_not_signed_now_by_a_key_of_ours() -> None:
    body, keys = b"{}", [(SERIAL, private_key(0).public)]
    good = headers_of(body)

    assert fault_of(good, body, keys, NOW) == ""
    for name in good:
        assert fault_of({**good, name: ""}, body, keys, NOW) == "not_signed"
    assert fault_of(headers_of(body, at=NOW - timedelta(days=365)), body, keys, NOW) == "wrong_time"
    assert fault_of(headers_of(body, at=NOW + timedelta(minutes=6)), body, keys, NOW) == "wrong_time"
    assert fault_of({**good, "wechatpay-timestamp": "x"}, body, keys, NOW) == "wrong_time"
    assert fault_of(headers_of(body, serial="5DEA10EF"), body, keys, NOW) == "unknown_key"
    assert fault_of(headers_of(body, number=1), body, keys, NOW) == "bad_signature"
    probe = {**good, "wechatpay-signature": "WECHATPAY/SIGNTEST/" + good["wechatpay-signature"]}
    assert fault_of(probe, body, keys, NOW) == "probe"


def test_in_a_change_of_keys_the_certificate_and_the_public_key_both_verify() -> None:
    certificate = PublicKey(key_pair(1).certificate("Tenpay.com", NOW, days=30))
    keys = [(SERIAL, private_key(0).public), ("", certificate)]

    assert fault_of(headers_of(b"{}"), b"{}", keys, NOW) == ""
    assert fault_of(headers_of(b"{}", serial=certificate.serial, number=1), b"{}", keys, NOW) == ""
    assert certificate.ends_at == NOW + timedelta(days=30)


def test_a_number_cannot_lead_to_another_path() -> None:
    assert (
        messages.trade_target("a/../b?x=1", "1")
        == "/v3/pay/transactions/out-trade-no/a%2F..%2Fb%3Fx%3D1?mchid=1"
    )
    assert messages.refund_target("a/b") == "/v3/refund/domestic/refunds/a%2Fb"


def native(merchant: Merchant) -> bytes:
    subject, url = "茶" * 60, "https://shop.example/n"
    return messages.native_body(merchant, "700001", 1177, subject, expires_at=NOW, notify_url=url)


def test_the_same_order_is_the_same_bytes() -> None:
    merchant = Merchant("1", "wx1", "https://api.mch.weixin.qq.com")
    body = native(merchant)

    assert body == native(merchant)
    read = json.loads(body)
    assert read["time_expire"] == "2026-01-31T20:00:00+08:00"
    assert read["amount"] == {"total": 1177, "currency": "CNY"}
    assert read["description"] == "茶" * 42


def test_a_notice_that_no_key_of_ours_decrypts_is_refused() -> None:
    good, other = AesKey("k" * 32), AesKey("o" * 32)
    sealed = good.encrypted(b'{"mchid":"1"}', "n" * 12, "")
    resource = Resource("AEAD_AES_256_GCM", sealed, "n" * 12)

    assert messages.decrypted(resource, [other, good]) == {"mchid": "1"}
    for bad in (Resource("AES", sealed, "n" * 12), Resource("AEAD_AES_256_GCM", sealed, "m" * 12)):
        with pytest.raises(Malformed):
            messages.decrypted(bad, [other, good])
