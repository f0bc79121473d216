"""What doctor says of channels."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rsa_keys import key_pair
from stages import CLOCK, MCHID

from paybell.diagnosis.channels import examine_channels
from paybell.diagnosis.findings import Finding
from paybell.errors import Misconfigured
from paybell.sandbox.keys import KeyPair
from paybell.sandbox.setup import Setup
from paybell.settings import Settings, read_settings
from paybell.testing.ports import free_port


async def examined(settings: Settings) -> list[Finding]:
    return [one async for one in examine_channels(settings, CLOCK)]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    for number, name in enumerate(("merchant", "channel", "channel-next")):
        pair = key_pair(number)
        (tmp_path / f"{name}.pem").write_text(pair.private)
        (tmp_path / f"{name}.pem").chmod(0o600)
        (tmp_path / f"{name}.public.pem").write_text(pair.public)
        (tmp_path / f"{name}.public.pem").chmod(0o600)
    return Setup(tmp_path, CLOCK)


async def test_channels_whose_keys_match_are_well(setup: Setup) -> None:
    async with setup.sandbox.serving() as url:
        findings = await examined(read_settings({}, **setup.settings(url, "http://127.0.0.1:1")))

    assert [(one.part, one.state) for one in findings] == [
        ("alipay", "ok"),
        ("wechat", "ok"),
        ("stripe", "ok"),
    ]


async def test_a_key_that_does_not_match_is_found_on_either_side(setup: Setup) -> None:
    async with setup.sandbox.serving() as url:
        good = read_settings({}, **setup.settings(url, "http://127.0.0.1:1"))
        ours = key_pair(2).private
        bad = replace(
            good,
            alipay_private_keys=ours,
            wechat_private_keys=f"AB={ours}",
            stripe_api_keys="sk_test_" + "b" * 24,
        )
        assert [(one.part, one.state) for one in await examined(bad)] == [
            ("alipay", "error"),
            ("wechat", "error"),
            ("stripe", "error"),
        ]
        theirs = replace(
            good,
            alipay_public_keys=key_pair(2).public,
            wechat_public_keys=f"PUB_KEY_ID_1={key_pair(2).public}",
            stripe_account="",
        )
        found = await examined(theirs)
    assert [one.state for one in found] == ["error", "error"]
    assert all("does not match" in one.advice for one in found)
    assert not any("PRIVATE" in str(one) for one in found)


async def test_a_certificate_that_ends_and_an_open_file_are_named(setup: Setup, tmp_path: Path) -> None:
    soon = key_pair(1).certificate("Tenpay.com", CLOCK.now(), days=10)
    (tmp_path / "merchant.pem").chmod(0o644)
    async with setup.sandbox.serving() as url:
        settings = read_settings({}, **setup.settings(url, "http://127.0.0.1:1"))
        settings = replace(
            settings,
            wechat_public_keys=f"{settings.wechat_public_keys},{soon}",
            alipay_app_id="",
            stripe_account="",
        )
        found = await examined(settings)

    end = (CLOCK.now() + timedelta(days=10)).date().isoformat()
    assert [one.state for one in found] == ["warning", "warning", "ok"]
    assert found[0].advice == f"Run chmod 600 {tmp_path}/merchant.pem."
    assert found[1].what.endswith(f"of PAYBELL_WECHAT_PUBLIC_KEYS ends on {end}")


async def test_a_channel_that_is_away_and_a_key_of_no_form_are_said(setup: Setup) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    settings = read_settings({}, **setup.settings(url, "http://127.0.0.1:1"))
    broken = replace(settings, alipay_private_keys="nonsense", stripe_account="")
    found = await examined(broken)

    assert [(one.part, one.state) for one in found] == [("alipay", "error"), ("wechat", "error")]
    assert "PAYBELL_ALIPAY_PRIVATE_KEYS" in found[0].what
    assert "cannot be reached" in found[1].what
    assert MCHID not in str(found)


async def test_certificate_mode_needs_a_certificate_of_the_key_that_signs(
    setup: Setup, tmp_path: Path
) -> None:
    """Without one nothing could be called; one that ends is named."""
    ours = KeyPair.kept(tmp_path, "merchant").certificate("Somebody", CLOCK.now(), days=10)
    url = f"http://127.0.0.1:{free_port()}"
    settings = read_settings(
        {},
        **setup.settings(url, "http://127.0.0.1:1"),
        alipay_root_certificates=key_pair(4).certificate("Root", CLOCK.now()),
        alipay_app_certificates=key_pair(3).certificate("Somebody", CLOCK.now()),
    )
    settings = replace(settings, wechat_mchid="", stripe_account="")

    (other,) = await examined(settings)
    settings = replace(settings, alipay_app_certificates=ours)
    (bare,) = await examined(settings)
    theirs = key_pair(1).certificate("Somebody", CLOCK.now())
    soon, away = await examined(replace(settings, alipay_public_keys=theirs))

    assert "PAYBELL_ALIPAY_APP_CERTIFICATES has no certificate of the newest private key" in other.what
    assert "PAYBELL_ALIPAY_PUBLIC_KEYS holds Alipay's certificates" in bare.what
    assert "of PAYBELL_ALIPAY_APP_CERTIFICATES ends on" in soon.what
    assert "cannot be reached" in away.what
    with pytest.raises(Misconfigured, match="Certificate mode needs both"):
        replace(settings, alipay_root_certificates="").check()
