"""All roles behind one address, and below a path of it: a real nginx with the configuration we document."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from browser import DESK, page_of
from playwright.async_api import Browser, expect
from serving import SETTINGS, Client, fresh_databases, fresh_user, in_process
from support import PASSWORD, Databases, until

from paybell.testing.ports import free_port
from paybell.testing.system_packages import Program, ensure_installed, services_not_started

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
CONFIGURATION = Path(__file__).parents[2] / "ops" / "nginx.conf"
NGINX = Program(
    "nginx",
    lambda: Path(found) if (found := shutil.which("nginx", path="/usr/sbin:/usr/bin")) else None,
    ("nginx-light",),
    "install it (`apt-get install nginx-light` as root)",
)
BELOW_A_PATH = """
server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_buffering off;
    location /pay/ {{
        proxy_pass http://127.0.0.1:{whole}/;
    }}
}}
"""


@contextmanager
def nginx(folder: Path, servers: str) -> Iterator[None]:
    """Run one that nobody else sees, until the block ends."""
    program = ensure_installed(NGINX, print, services_not_started)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "main.conf"
    main.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}{servers}\n}}\n"
    )
    command = [str(part) for part in (program, "-c", main, "-p", folder, "-e", folder / "error.log")]
    running = subprocess.Popen(command)  # noqa: S603 - ours
    try:
        yield
    finally:
        running.terminate()
        running.wait(10)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin(
    postgres: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Client, str]]:
    """The roles as two processes are, behind one address; and the address of the same below a path."""
    urls = await fresh_databases(postgres)
    async with in_process(urls, roles=frozenset({"api"})) as api:
        settings = replace(SETTINGS, pay_url=api.client.url)
        async with in_process(urls, settings, frozenset({"background", "trade", "ops"})) as rest:
            port, below = free_port(), free_port()
            servers = CONFIGURATION.read_text(encoding="utf-8")
            for address, process in (("api", api), ("trade", rest), ("ops", rest)):
                servers = servers.replace(
                    f" {address}:8000", " " + process.client.url.removeprefix("http://")
                )
            servers = servers.replace("listen 80;", f"listen 127.0.0.1:{port};")
            servers += BELOW_A_PATH.format(port=below, whole=port)
            with nginx(tmp_path_factory.mktemp("nginx"), servers):
                async with Client.open(f"http://127.0.0.1:{port}") as client:

                    async def answers() -> bool:
                        try:
                            return (await client.get("/readyz")).status == 200
                        except OSError:
                            return False

                    await until(answers)
                    yield client, f"http://127.0.0.1:{below}/pay"


@pytest.mark.parametrize("place", ["at the root", "below a path"])
async def test_roles_in_processes_of_their_own_serve_both_pages(
    browser: Browser, origin: tuple[Client, str], place: str
) -> None:
    client, below = origin
    root = client.url if place == "at the root" else below
    buyer = fresh_user()
    await client.fund(buyer, 5000)
    order = await client.order(buyer, 1234, subject="Two tickets")
    async with page_of(browser, locale="en-GB") as cashier:
        await cashier.goto(f"{root}/cashier/{order['id']}#token={client.token(buyer)}")
        await expect(cashier.locator("#card")).to_have_attribute("data-phase", "open")
        await cashier.keyboard.type(PASSWORD)
        await cashier.keyboard.press("Enter")
        await expect(cashier.locator("#card")).to_have_attribute("data-phase", "confirmed")
    async with page_of(browser, size=DESK, locale="en-GB") as console:
        async with asyncio.timeout(30), console.expect_response(f"{root}/ops/now") as watched:
            await console.goto(f"{root}/console#token={client.token('operator', 'ops')}")
        assert (await watched.value).status == 200


async def test_metrics_are_not_shown_to_the_outside(origin: tuple[Client, str]) -> None:
    client, _ = origin

    assert (await client.send("GET", "/metrics", "")).status == 404
