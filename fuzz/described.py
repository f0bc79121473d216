"""Requests made from the service's own OpenAPI document, right and wrong ones, alone and in sequences.

Each answer has to be one that the document describes: its status, its content type, its headers, its schema;
and none is a 5xx. The requests are schemathesis's, which runs once for each caller at the same time.
"""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from paybell.cli.callers import callers
from paybell.cli.output import announce
from paybell.clock import SystemClock
from paybell.serving.child import running_service
from paybell.settings import Settings
from paybell.tokens import Tokens

BUYER = "fuzz-buyer"
PASSWORD, CURRENCY, FUNDS = "246813", "CNY", 10**9
CALLERS: Mapping[str, tuple[str, ...]] = {
    BUYER: (),
    "fuzz-shop": (
        *(
            "orders:read",
            "orders:write",
            "pay-orders:read",
            "pay-orders:write",
            "refunds:read",
            "refunds:write",
        ),
        *("wallets:read", "wallets:write", "pay-passwords:reset"),
    ),
    "fuzz-operator": ("ops",),
}
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
)
# Event streams without an end; all that can be said of their requests is said by the others.
_ENDLESS = ("followOrder", "watchOperations")
_CONFIG = "schemathesis.toml"
# schemathesis needs some seconds before its first request, on a machine that does much else many.
_ROUND_SECONDS_LEAST, _ROUND_SECONDS_MOST = 20, 300
_ANSWER_SECONDS = "30"
# A buyer's own wallet; the others ask for anybody's.
_BUYER_CONFIG = f'parameters = {{ "path.user_id" = "{BUYER}" }}\n'


class _Counts(msgspec.Struct):
    generated: int


class _Failure(msgspec.Struct):
    title: str
    count: int
    operations: list[str]


class _Report(msgspec.Struct):
    test_cases: _Counts
    failures: list[_Failure]
    errors: list[dict[str, object]]


@dataclass(slots=True)
class Tally:
    """How many requests there were, and what was wrong with answers."""

    cases: int = 0
    wrong: list[str] = field(default_factory=list)


async def described(home: Path, seed: int, *, cases: int, seconds: float) -> Tally:
    """Send requests until there were enough, and for at least so long.

    Args:
        home: an empty folder, for the service's database and all logs.
        seed: of the first round; each further one counts on.
        cases: how many at least.
        seconds: how long at least.

    Raises:
        PaybellError: the service did not start, or ended.
    """
    clock, settings = SystemClock(), Settings(home=home, jwt_secret="fuzz" * 10, pin_pepper="fuzz" * 10)
    loop, tally = asyncio.get_running_loop(), Tally()
    async with running_service(settings, clock) as service:
        tokens = Tokens.from_settings(settings, clock)
        async with callers(service.url, tokens, clock) as calling:
            await calling.shop.open_wallet(BUYER, PASSWORD, CURRENCY)
            await calling.shop.top_up(BUYER, FUNDS, CURRENCY)
        ends_at, number, lasting = loop.time() + seconds, 0, _ROUND_SECONDS_LEAST
        while tally.cases < cases or loop.time() < ends_at:
            lasting = max(lasting, min(_ROUND_SECONDS_MOST, round(ends_at - loop.time())))
            await asyncio.gather(
                *(
                    _run(
                        home / f"{name}-{seed + number}",
                        (service.url, tokens.mint(name, *scopes)),
                        name,
                        seed=seed + number,
                        seconds=lasting,
                        tally=tally,
                    )
                    for name, scopes in CALLERS.items()
                )
            )
            number += 1
            lasting = min(_ROUND_SECONDS_MOST, 2 * lasting)  # if that was not enough
            announce(f"{tally.cases:,} requests, {len(tally.wrong)} findings.")
    return tally


async def _run(
    folder: Path, service: tuple[str, str], name: str, *, seed: int, seconds: int, tally: Tally
) -> None:
    """Let schemathesis ask as one caller; ``service`` is its address and the caller's token."""
    url, token = service
    report = folder / "report.json"
    with _prepared(folder, name) as said:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--no-color",
                "--config-file",
                str(folder / _CONFIG),
                "run",
            ),
            *(f"{url}/schema/openapi.json", "--header", f"Authorization: Bearer {token}"),
            *("--checks", ",".join(CHECKS), "--seed", str(seed), "--max-time", str(seconds)),
            *(part for one in _ENDLESS for part in ("--exclude-operation-id", one)),
            *("--continue-on-failure", "--generation-database", "none", "--warnings", "off"),
            *("--request-timeout", _ANSWER_SECONDS, "--report", "json", "--report-json-path", str(report)),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    _read(report, f"{name}, seed {seed}", code, tally)


def _prepared(folder: Path, name: str) -> BinaryIO:
    """Make a run's folder with its configuration; return the file for what it says."""
    folder.mkdir()
    (folder / _CONFIG).write_text(_BUYER_CONFIG if name == BUYER else "")
    return (folder / "said.txt").open("wb")


def _read(report: Path, run: str, code: int, tally: Tally) -> None:
    """Add what a run found."""
    if not report.exists():
        tally.wrong.append(f"{run}: schemathesis ended with {code}; see said.txt in {report.parent}")
        return
    found = msgspec.json.decode(report.read_bytes(), type=_Report)
    tally.cases += found.test_cases.generated
    tally.wrong += [
        f"{run}: {one.title}, {one.count} times ({', '.join(one.operations)})" for one in found.failures
    ]
    tally.wrong += [f"{run}: {msgspec.json.encode(one).decode()[:300]}" for one in found.errors]
