"""The files that run Paybell elsewhere: what they name exists, and they are closed."""

import configparser
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from paybell.cli import app
from paybell.cli.options import roles_of
from paybell.environment.reading import read_section, unknown_variables
from paybell.messaging.broker_url import broker_places
from paybell.serving.databases import databases_of
from paybell.serving.workers import STOP_SECONDS
from paybell.settings import ROLES, Settings
from paybell.settings.secrets import with_secrets

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "ops" / "systemd").glob("*.service"))
TARGET = ROOT / "ops" / "systemd" / "paybell.target"
FILES = [
    ROOT / "Dockerfile",
    ROOT / "compose.yaml",
    *sorted((ROOT / "ops" / "systemd").iterdir()),
    *sorted((ROOT / "ops" / "compose").iterdir()),
    ROOT / "docs" / "how-to" / "run.md",
]
COMPOSITION: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSITION["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "paybell"}
HARDENED = """
    CapabilityBoundingSet= DynamicUser=yes LockPersonality=yes MemoryDenyWriteExecute=yes NoNewPrivileges=yes
    PrivateDevices=yes PrivateTmp=yes ProtectHome=yes ProtectSystem=strict RestrictNamespaces=yes UMask=0077
""".split()


class _Unit(configparser.RawConfigParser):
    """A unit file: names may come again, and their case counts."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
        self.read_string(path.read_text())

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def parse(arguments: list[str]) -> dict[str, Any]:
    """Return the options of a command that can be typed; it fails otherwise."""
    _, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    return dict(bound.arguments)


def instructions() -> Iterator[tuple[str, str]]:
    """Return the Dockerfile's instructions in order."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, " ".join(rest.split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_that_a_file_names_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bPAYBELL_[A-Z_]+\b", path.read_text()))

    assert unknown_variables(Settings, dict.fromkeys(named, "1")) == []


def test_the_image_is_pinned_unprivileged_and_says_whether_it_is_alive() -> None:
    steps = list(instructions())
    stages = [index for index, (name, _) in enumerate(steps) if name == "FROM"]
    last = dict(steps[stages[-1] :])

    assert len(stages) == 2
    assert all(re.match(r"python:\d+\.\d+-slim\b", steps[index][1]) for index in stages)
    assert last["USER"].split(":")[0].isdecimal()
    assert int(last["USER"].split(":")[0]) > 0
    assert '"python"' in last["HEALTHCHECK"]
    assert "/healthz" in last["HEALTHCHECK"]
    assert not [step for step in steps if step[0] in ("ADD", "ARG", "VOLUME")]
    assert not re.search(r"https?://(?!127\.0\.0\.1)", (ROOT / "Dockerfile").read_text())
    installs = [rest for name, rest in steps if name == "RUN" and "pip install" in rest]
    assert all("--require-hashes" in rest or "--no-deps" in rest for rest in installs)
    assert parse(yaml.safe_load(last["CMD"])) == {}


def test_only_what_the_image_needs_is_sent_to_its_build() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        part
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for part in rest.split()[:-1]
    }

    assert sent == copied
    assert all((ROOT / part).exists() for part in copied)


def test_the_composition_runs_each_role_once_and_closed() -> None:
    commands = {name: parse(service["command"]) for name, service in OURS.items()}
    roles = [roles_of(options["role"]) for options in commands.values() if "role" in options]

    assert sorted(roles, key=sorted) == sorted(({role} for role in ROLES), key=sorted)
    for name, service in OURS.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert float(service["stop_grace_period"].removesuffix("s")) > STOP_SECONDS, name
        assert "ports" not in service, name
    assert all("healthcheck" in service for service in SERVICES.values())
    for name in SERVICES.keys() - OURS.keys():
        assert re.fullmatch(r"[a-z]+:\d+(\.\d+)?", SERVICES[name]["image"]), name
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["proxy"]["ports"])


def test_the_proxy_asks_services_that_are_there() -> None:
    addresses = re.findall(r"server (\w+):8000;", (ROOT / "ops" / "nginx.conf").read_text())

    assert {"api", "trade", "ops"} == set(addresses) == set(SERVICES["proxy"]["depends_on"])
    assert set(addresses) <= SERVICES.keys()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the composition's script makes."""
    place = tmp_path_factory.mktemp("composition")
    for _ in range(2):  # the second time nothing changes: the URLs keep the passwords of the first
        before = {path: path.read_text() for path in place.glob("secrets/*")}
        subprocess.run(["/bin/sh", ROOT / "ops" / "compose" / "secrets.sh"], cwd=place, check=True)  # noqa: S603 - ours
        assert all(path.read_text() == text for path, text in before.items())
    return place / "secrets"


def test_the_script_makes_every_secret_that_is_mounted_and_closes_their_folder(secrets: Path) -> None:
    wanted = {Path(secret["file"]).name for secret in COMPOSITION["secrets"].values()}

    assert {path.name for path in secrets.iterdir()} == wanted | {"broker_password"}
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", [name for name in OURS if name != "migrate"])
def test_a_service_has_the_settings_and_secrets_its_role_needs_and_no_others(
    name: str, secrets: Path
) -> None:
    service = OURS[name]
    environment = {
        variable: value.replace("/run/secrets", str(secrets))
        for variable, value in service["environment"].items()
    }
    mounted = {f"/run/secrets/{secret}" for secret in service["secrets"]}
    assert {value for value in service["environment"].values() if value.startswith("/run/")} == mounted

    settings = with_secrets(read_section(Settings, environment, host="0.0.0.0"))

    given = {"pay": settings.database_url, "trade": settings.trade_database_url}
    assert [database for database, url in given.items() if url] == databases_of(frozenset({name}))
    assert broker_places(settings.broker_url) == ["amqp://rabbitmq:5672/"]
    assert ("trade" in name) == bool(settings.pay_url)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_hardened_and_its_command_can_be_typed(path: Path) -> None:
    unit = _Unit(path)
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    lines = path.read_text().splitlines()

    assert program == "/opt/paybell/bin/paybell"
    for role in sorted(ROLES):
        parse([argument.replace("%i", role) for argument in arguments])
    assert [one for one in HARDENED if one not in lines] == []
    text = "\n".join(lines)
    loaded = re.findall(r"^LoadCredential=(\w+):/etc/paybell/secrets/\1$", text, re.MULTILINE)
    assert re.findall(r"^Environment=PAYBELL_\w+_FILE=%d/(\w+)$", text, re.MULTILINE) == loaded
    assert len(loaded) == text.count("LoadCredential=")


def test_the_units_run_every_role_and_wait_until_it_has_finished() -> None:
    wanted = _Unit(TARGET)["Unit"]["Wants"].split()
    service = _Unit(TARGET.with_name("paybell@.service"))["Service"]

    assert wanted == [f"paybell@{role}.service" for role in ("api", "background", "trade", "ops")]
    assert {re.split("[@.]", one)[1] for one in wanted} == ROLES
    assert float(service["TimeoutStopSec"]) > STOP_SECONDS
    assert service["KillMode"] == "mixed"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_systemd_accepts_the_units_and_finds_little_that_is_open(tmp_path: Path) -> None:
    """Its rating goes from 0 (closed) to 10."""
    for path in [*UNITS, TARGET]:  # the program is not installed where tests run
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/paybell/bin/paybell", "/bin/true"))
    units = [
        tmp_path / "paybell-migrate.service",
        tmp_path / "paybell@api.service",
        tmp_path / "paybell.target",
    ]
    units[1].symlink_to("paybell@.service")

    for command in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=20"]):
        checked = units if command[0] == "verify" else units[:2]
        done = subprocess.run(  # noqa: S603 - systemd's own
            ["systemd-analyze", *command, *checked],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        ours = [line for line in done.stderr.splitlines() if "paybell" in line]
        assert ours == []
