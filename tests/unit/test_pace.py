"""The pace of channels: schedules and margins are settings, and may be so many times as fast."""

from dataclasses import replace

import pytest
from rsa_keys import key_pair

from paybell.channels.alipay.opening import alipay_qr
from paybell.channels.decision import CALL_SCHEDULE, WINDOW_SCHEDULE
from paybell.channels.http import ChannelHttp
from paybell.channels.openers import remote_wallet
from paybell.channels.pace import faster
from paybell.channels.returns import RETURN_SCHEDULE
from paybell.clock import SystemClock
from paybell.errors import Misconfigured
from paybell.settings import read_settings


def test_the_schedules_are_what_the_settings_say() -> None:
    assert (settings := read_settings({})).calls == CALL_SCHEDULE
    assert (settings.windows, settings.returns) == (WINDOW_SCHEDULE, RETURN_SCHEDULE)

    given = read_settings({"PAYBELL_WINDOW_SCHEDULE": "1, 2.5", "PAYBELL_CALL_SCHEDULE": "7"})

    assert (given.windows, given.calls) == ((1.0, 2.5), (7.0,))


@pytest.mark.parametrize("text", ["1,,2", "soon", "0", "-1", "inf", "nan", ",".join(["1"] * 65)])
def test_what_is_no_schedule_is_refused_by_name(text: str) -> None:
    with pytest.raises(Misconfigured, match="PAYBELL_RETURN_SCHEDULE"):
        read_settings({"PAYBELL_RETURN_SCHEDULE": text})


def test_everything_runs_so_many_times_as_fast() -> None:
    settings = read_settings({})

    fast = read_settings({}, **faster(settings, 20))

    assert (fast.windows[0], fast.calls[0], fast.returns[-1]) == (0.25, 0.1, 4320)
    assert (fast.window_margin_seconds, fast.deadline_margin_seconds) == (1.5, 3)


async def test_channels_take_their_schedule_from_the_settings() -> None:
    settings = replace(
        read_settings({}, call_schedule="3", window_schedule="4"),
        wallet_url="http://127.0.0.1:1",
        alipay_app_id="1",
        alipay_private_keys=key_pair(1).private,
        alipay_public_keys=key_pair(1).public,
    )
    async with ChannelHttp.open() as http:
        opened = [opener(settings, http, SystemClock()) for opener in (remote_wallet, alipay_qr)]

    assert [one.schedule for one in opened if one] == [(3.0,), (4.0,)]
