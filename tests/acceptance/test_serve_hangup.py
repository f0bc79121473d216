"""SIGHUP: a service goes on, and has read the files of its keys again; a terminal that was closed ends it."""

import os
import pty
import signal
from pathlib import Path

import pytest
from serving import fresh_number
from started import serving
from support import until
from wallets import PASSWORD, wallet_service

from paybell.serving.hangup import Terminal

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_token_that_was_changed_is_used_after_a_hangup(
    workers: str, home: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("old-token\n")
    async with wallet_service() as (wallet, between, url):
        wallet.open("alice", PASSWORD, 1000)
        between.tokens = {"old-token"}
        given = {"wallet_url": url, "wallet_token": f"file:{token}"}
        async with serving(home, "--workers", workers, **given) as (service, client):

            async def pays() -> bool:
                body = {"bizOrderNo": str(fresh_number()), "payerId": "alice", "amount": 1}
                order = (await client.post("/pay-orders", client.shop, body)).json["payOrderId"]
                consent = {"payPassword": PASSWORD}
                answer = await client.post(f"/pay-orders/{order}/pay", client.token("alice"), consent)
                return answer.status == 200

            assert await pays()
            token.write_text("new-token\n")
            between.tokens = {"new-token"}
            service.signal(signal.SIGHUP)
            await until(pays, seconds=10)
            assert "files_read_again" in service.said
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0


def test_a_terminal_that_was_closed_is_gone() -> None:
    master, terminal = pty.openpty()
    before = os.dup(0)
    try:
        os.dup2(terminal, 0)
        ours = Terminal()
        assert not ours.is_gone
        os.close(master)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        assert ours.is_gone or os.isatty(1) or os.isatty(2)
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(terminal)
