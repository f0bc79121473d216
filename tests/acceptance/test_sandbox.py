"""``paybell sandbox``: its settings lead to it, its pages pay, its faults strike."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from stages import CLOCK, AlipayStage

from paybell.channels.alipay.opening import alipay_qr
from paybell.channels.answers import Opened, Unknown
from paybell.channels.http import ChannelHttp
from paybell.channels.stripe.opening import stripe_cards
from paybell.channels.wechat.opening import wechat_qr
from paybell.settings import read_settings


@dataclass
class Running:
    """A sandbox in a process of its own."""

    url: str
    environ: dict[str, str]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "paybell", "sandbox", "--port", "0"]
    environ = {**os.environ, "PAYBELL_HOME": str(home)}
    with subprocess.Popen(  # noqa: S603 - our own command
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if found := re.search(r"is at (http://\S+?);", line):
                break
        yield Running(
            found[1] if found else "", dict(re.findall(r"^export (\w+)='(.*)'$", text, re.MULTILINE))
        )
        process.terminate()


async def test_its_settings_lead_to_it_and_its_pages_pay(sandbox: Running) -> None:
    settings = read_settings(sandbox.environ)
    async with ChannelHttp.open() as http, aiohttp.ClientSession() as browser:
        for opening in (alipay_qr, wechat_qr, stripe_cards):
            channel = opening(settings, http, CLOCK)
            assert channel is not None
            stage = AlipayStage()
            stage.notify_url = ""
            charge = stage.charge()
            opened = await channel.open(charge)
            assert isinstance(opened, Opened)

            async with browser.get(sandbox.url) as answer:
                links = re.findall(rf"/sandbox/{channel.name}/pay/[\w-]+", await answer.text())
            async with browser.get(sandbox.url + links[0]) as answer:
                assert "11.77 CNY" in await answer.text()
            async with browser.post(sandbox.url + links[0], allow_redirects=False) as answer:
                assert answer.status in {200, 303}
            async with browser.post(sandbox.url + links[0]) as answer:
                assert answer.status == 409
            async with browser.get(f"{sandbox.url}/sandbox/{channel.name}/books") as answer:
                assert (await answer.json())[charge.attempt_id]["paid"] == 1177


async def test_faults_are_ordered_over_http(sandbox: Running) -> None:
    settings = read_settings(sandbox.environ)
    faults = f"{sandbox.url}/sandbox/wechat/faults"
    async with ChannelHttp.open() as http, aiohttp.ClientSession() as browser:
        channel = wechat_qr(settings, http, CLOCK)
        assert channel is not None
        stage = AlipayStage()
        stage.notify_url = ""
        async with browser.post(faults, json={"operation": "open", "fault": "lose_answer"}) as answer:
            assert answer.status == 204
        assert isinstance(await channel.open(stage.charge()), Unknown)
        assert isinstance(await channel.open(stage.charge()), Opened)

        async with browser.post(faults, json={"share": 1, "seed": 7}) as answer:
            assert answer.status == 204
        assert isinstance(await channel.open(stage.charge()), Unknown)
        async with browser.delete(faults) as answer:
            assert answer.status == 204
        assert isinstance(await channel.open(stage.charge()), Opened)
        async with browser.post(faults, json={"operation": "open", "fault": "nonsense"}) as answer:
            assert answer.status == 422


def test_its_keys_are_kept_and_theirs_alone(sandbox: Running) -> None:
    private = Path(sandbox.environ["PAYBELL_ALIPAY_PRIVATE_KEYS"].removeprefix("file:"))
    assert private.stat().st_mode & 0o077 == 0
    assert private.parent.stat().st_mode & 0o077 == 0
