"""What the documentation says to type is typed here, as it stands."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from amqp import rabbit, stranger
from browser import DESK, page_of, shoot
from playwright.async_api import Browser, expect
from support import until

from paybell.messaging.events import TRADE_CLOSED_QUEUE, TRADE_QUEUE, topology, trade_topology
from paybell.testing.ports import free_port
from paybell.testing.system_packages import Program, ensure_installed

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SECONDS = 120.0
CURL = Program(
    "curl",
    lambda: Path(found) if (found := shutil.which("curl")) else None,
    ("curl",),
    "install it (`apt-get install curl` as root)",
)
_BLOCK = re.compile(r"^```(\w+)(?: title=\"([\w.]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def bash(script: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a script as a person would type it; stop at the first command that fails."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PAYBELL_")}
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-m", "-euo", "pipefail", "-c", script),
        cwd=folder,
        env=outer | {"PATH": f"{BIN}:{os.environ['PATH']}"} | dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = await asyncio.wait_for(shell.communicate(), SECONDS)
    except TimeoutError:
        pytest.fail(f"it did not end within {SECONDS:g} s:\n{_last_words(folder)}")
    finally:
        if shell.returncode is None:
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, said.decode()
    return said.decode()


def _last_words(folder: Path) -> str:
    return "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))


@pytest.mark.slow
@pytest.mark.rabbitmq
async def test_taking_over_gives_a_shops_own_listener_every_message(rabbitmq_url: str, home: Path) -> None:
    """Every command of the guide, with the shop's listener on the article's queue, as Spring declares it."""
    ensure_installed(CURL, print)
    port = free_port()
    text = (
        (ROOT / "docs" / "how-to" / "take-over.md").read_text().replace("localhost:8000", f"localhost:{port}")
    )
    script = "\n".join(body for language, _, body in _BLOCK.findall(text) if language == "sh")
    with stranger(rabbitmq_url) as outside:
        outside.forget(topology())
        outside.forget(trade_topology())
    heard: list[bytes] = []
    async with rabbit(rabbitmq_url) as shop:
        await shop.declare(topology())
        async with shop.consume(TRADE_QUEUE, 10) as consumer:

            async def listen() -> None:
                while True:
                    deliveries = await consumer.receive(10)
                    heard.extend(delivery.body for delivery in deliveries)
                    await consumer.acknowledge(deliveries)

            listening = asyncio.create_task(listen())
            said = await bash(
                script,
                home,
                {
                    "PAYBELL_BROKER_URL": rabbitmq_url,
                    "PAYBELL_PORT": str(port),
                    "PAYBELL_HOME": str(home),
                },
            )

            async def told() -> bool:
                return bool(heard)

            await until(told)
            listening.cancel()
        closed = await shop.look_at(TRADE_CLOSED_QUEUE)

    assert heard == [b"90001"]
    assert closed is None  # nobody would take anything out of it
    assert f"1 consumers of {TRADE_QUEUE}" in " ".join(said.split())


async def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    said = await bash(
        f"mkdocs build --quiet --strict --site-dir {tmp_path}", ROOT, {"NO_MKDOCS_2_WARNING": "1"}
    )

    assert (tmp_path / "tutorial.html").exists(), said


async def test_commands_can_be_completed(tmp_path: Path) -> None:
    """The file goes where the shell looks for it."""
    said = await bash("SHELL=/bin/bash paybell --install-completion", tmp_path, {"HOME": str(tmp_path)})

    found = await bash(f"grep -rl dead-letters {tmp_path}", tmp_path, {})
    assert found.strip(), said


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_the_documentation_opens_from_the_disk_and_asks_nobody(
    browser: Browser, tmp_path: Path
) -> None:
    """Pages, search and diagrams: what make docs builds, without any network."""
    await bash("make --silent --assume-old=.venv/node docs", ROOT, {})
    shutil.copytree(ROOT / "site", tmp_path / "site")
    async with page_of(browser, size=DESK) as page:
        asked = list[str]()
        page.on("request", lambda request: asked.append(request.url))
        await page.goto((tmp_path / "site" / "index.html").as_uri())
        await page.get_by_role("link", name="glossary").first.click()
        await expect(page.get_by_role("heading", name="Glossary").first).to_be_visible()
        await page.goto((tmp_path / "site" / "pay-order-states.html").as_uri())
        # The theme draws diagrams into closed shadow roots; what stays visible is their size.
        diagram = page.locator("div.mermaid").first
        await expect(diagram).to_be_visible(timeout=20_000)  # three megabytes of script before
        assert await diagram.evaluate("(one) => one.offsetHeight") > 100
        results = page.locator(".md-search-result__item")

        async def found() -> bool:  # what is typed before the index has been read is not looked for
            await page.get_by_role("textbox", name="Search").fill("")
            await page.get_by_role("textbox", name="Search").press_sequentially("outbox")
            await asyncio.sleep(0.5)
            return await results.count() > 0

        await until(found, seconds=30)
        await shoot(page, "documentation")

    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
