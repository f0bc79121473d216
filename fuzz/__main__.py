"""``python -m fuzz --seconds 60 --seed 123 [--json]``; exit code 0: nothing found."""

import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
import msgspec
import uvloop
from cyclopts import Parameter
from cyclopts.validators import Number

from fuzz.abuse import RATE_LEAST, WINDOW_SECONDS, Outcome, abuse
from fuzz.attackers import KINDS
from fuzz.described import Tally, described
from paybell.cli.output import announce, fail, print_json
from paybell.errors import PaybellError
from paybell.storage.embedded import remove_data


class Result(msgspec.Struct, rename="camel"):
    """What there was and what was wrong with it.

    ``kept`` is the share of their rate that payments kept; ``dearer`` how many times the processor time of
    one without the attack one took with it.
    """

    seed: int
    requests: int
    kept: dict[str, float]
    dearer: dict[str, float]
    grew_megabytes: dict[str, float]
    wrong: list[str]


async def run(
    home: Path, seed: int, only: str, *, cases: int, seconds: float, rate_least: float
) -> tuple[Tally, list[Outcome], list[str]]:
    """Do both parts, each with half of the time and a service of its own."""
    tally, outcomes, wrong = Tally(), list[Outcome](), list[str]()
    parts = 1 if only else 2
    if only != "connections":
        tally = await described(_folder(home, "r"), seed, cases=cases, seconds=seconds / parts)
        wrong += tally.wrong + _complaints(home / "r" / "service.log")
    if only != "requests":
        pairs = max(1, int(seconds / parts / (2 * WINDOW_SECONDS * len(KINDS))))
        window = min(WINDOW_SECONDS, seconds / parts / (2 * len(KINDS)))
        outcomes = await abuse(_folder(home, "c"), seed, pairs, window)
        wrong += [sentence for one in outcomes for sentence in one.wrong(rate_least)]
        wrong += _complaints(home / "c" / "service.log")
    return tally, outcomes, wrong


def _folder(home: Path, name: str) -> Path:
    folder = home / name
    folder.mkdir()
    return folder


def _complaints(log: Path) -> list[str]:
    """Return what the service itself calls a bug."""
    found = [
        line for line in log.read_text(errors="replace").splitlines() if "failed" in line and "[error" in line
    ]
    return [f"{log.parent.name}: {len(found)} bugs in the log, such as {found[0][:200]}"] if found else []


def main(
    *,
    seconds: Annotated[float, Parameter(validator=Number(gte=1))] = 60.0,
    cases: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    seed: int | None = None,
    only: Literal["", "requests", "connections"] = "",
    rate_least: float = RATE_LEAST,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Attack Paybell over HTTP: requests from its own description, then hostile connections.

    Args:
        seconds: how long, at least; starting and stopping come on top.
        cases: how many requests, at least.
        seed: of all dice; without it a new one, which is printed.
        only: requests (from the OpenAPI document) or connections (hostile ones beside payments).
        rate_least: the share of their rate that payments must keep.
        json: end with one JSON line.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    home.chmod(0o711)  # run by root, the databases are another user's and would be put elsewhere
    announce(f"Fuzzing for {seconds:g} s, seed {seed}, in {home}.")
    wrong = ["it did not end"]
    try:
        tally, outcomes, wrong = uvloop.run(
            run(home, seed, only, cases=cases, seconds=seconds, rate_least=rate_least)
        )
        for one in outcomes:
            announce(
                f"{one.kind}: {one.calm_rate:,.0f} purchases a second without, {one.attacked_rate:,.0f} with "
                f"it (kept {one.ratio:.2f}; each {one.dearer:.2f} times as dear); "
                f"memory grew by {one.growth_mb:.0f} MB."
            )
        for sentence in wrong:
            fail(sentence)
        announce(f"{tally.cases:,} requests, {len(wrong)} findings, seed {seed}.")
        if json:
            kept = {one.kind: round(one.ratio, 3) for one in outcomes}
            dearer = {one.kind: round(one.dearer, 3) for one in outcomes}
            grew = {one.kind: round(one.growth_mb, 1) for one in outcomes}
            print_json(Result(seed, tally.cases, kept, dearer, grew, wrong))
    except PaybellError as error:
        fail(str(error))
    except KeyboardInterrupt:
        return 130
    finally:
        if wrong:
            announce(f"Logs and reports are in {home}.")
        else:
            for data in list(home.rglob("postgres")):  # as root they may be outside of it
                remove_data(data.parent)
            shutil.rmtree(home, ignore_errors=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    program = cyclopts.App(name="fuzz", result_action="return_value", version_flags=[])
    program.default(main)
    sys.exit(program())
