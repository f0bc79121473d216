"""The settings: read once, checked once, and secrets that are real where they have to be."""

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

import jwt
import pytest

from paybell.environment.common import CommonSettings
from paybell.environment.keys import SECRET_BYTES_MIN
from paybell.environment.reading import unknown_variables, variables_of
from paybell.errors import Misconfigured, NotAuthenticated
from paybell.messaging.broker_url import broker_places, unencrypted_places
from paybell.messaging.signatures import EventKeys
from paybell.settings import Settings, read_settings
from paybell.settings.secrets import with_secrets
from paybell.testing import FrozenClock
from paybell.tokens import Tokens


def test_nothing_has_to_be_set() -> None:
    """The embedded defaults: this machine only, no broker to install."""
    settings = read_settings({})

    assert settings == Settings()
    assert (settings.host, settings.port, settings.broker_url) == ("127.0.0.1", 8000, "local:")
    assert settings.loopback
    assert settings.embedded


def test_the_environment_sets_every_setting_by_its_name() -> None:
    given = {
        "PAYBELL_HOME": "/srv/paybell",
        "PAYBELL_HOST": "0.0.0.0",
        "PAYBELL_PORT": "9000",
        "PAYBELL_DATABASE_URL": "postgresql://db/pay",
        "PAYBELL_TRADE_DATABASE_URL": "postgresql://db/trade",
        "PAYBELL_BROKER_URL": "amqps://broker",
        "PAYBELL_QUEUE_TYPE": "quorum",
        "PAYBELL_RELAY_LEASE_SECONDS": "60.5",
        "PATH": "/usr/bin",
    }
    settings = read_settings(given)

    assert settings.home == Path("/srv/paybell")
    assert (settings.host, settings.port, settings.queue_type) == ("0.0.0.0", 9000, "quorum")
    assert settings.relay_lease_seconds == 60.5
    assert not settings.loopback
    assert not settings.embedded


def test_an_empty_variable_counts_as_not_set() -> None:
    """As compose files and unit files write it."""
    assert read_settings({"PAYBELL_PORT": "", "PAYBELL_HOST": ""}) == Settings()


def test_a_command_line_option_wins_over_the_environment() -> None:
    settings = read_settings({"PAYBELL_PORT": "9000", "PAYBELL_HOST": "::1"}, port=9001, host=None)

    assert (settings.port, settings.host) == (9001, "::1")


def test_the_variables_of_some_settings_give_these_settings_again() -> None:
    """A service that we start has exactly ours; each variable is named after its setting."""
    settings = read_settings({}, port=9000, seal_keys="1:key", reconcile_seconds=0.5)

    assert set(variables_of(settings)) == {f"PAYBELL_{one.name.upper()}" for one in fields(Settings)}
    assert read_settings(variables_of(settings)) == settings


def test_every_setting_has_one_owner_and_every_owner_is_collected() -> None:
    """A setting that two declare, or an owner that `Settings` forgot, would be read from one place only."""
    owners = subclasses_of(CommonSettings) - {Settings}

    assert owners == set(Settings.__mro__[1:]) - {CommonSettings, object}
    declared = [name for owner in (CommonSettings, *owners) for name in owner.__annotations__]
    assert sorted(declared) == sorted(one.name for one in fields(Settings))


def subclasses_of(kind: type[CommonSettings]) -> set[type[CommonSettings]]:
    below = set(kind.__subclasses__())
    return below.union(*(subclasses_of(one) for one in below))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYBELL_PORT", "eighty"),
        ("PAYBELL_PORT", "-1"),
        ("PAYBELL_PORT", "65536"),
        ("PAYBELL_PORT", "80.5"),
        ("PAYBELL_DATABASE_CONNECTIONS", "1"),
        ("PAYBELL_QUEUE_TYPE", "mirrored"),
        ("PAYBELL_RELAY_LEASE_SECONDS", "nan"),
        ("PAYBELL_PUBLISH_DEADLINE_SECONDS", "0"),
        ("PAYBELL_PUBLISH_DEADLINE_SECONDS", "20"),
        ("PAYBELL_SETTLE_BATCH_MAX", "0"),
        ("PAYBELL_ORDER_TTL_SECONDS", "1e100"),
        ("PAYBELL_BROKER_URL", "http://broker"),
        ("PAYBELL_BROKER_URL", "local"),
        ("PAYBELL_MERCHANT_ID", "x" * 65),
        ("PAYBELL_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused_by_name(name: str, value: str) -> None:
    """In one sentence, before anything is connected."""
    with pytest.raises(Misconfigured, match=rf"{name}\b"):
        read_settings({name: value})


def test_a_relay_may_not_lose_its_lease_while_it_publishes() -> None:
    """A rule between two settings: exactly twice is enough."""
    assert read_settings({}, publish_deadline_seconds=15.0, relay_lease_seconds=30.0)
    with pytest.raises(Misconfigured, match="twice"):
        read_settings({}, publish_deadline_seconds=15.1, relay_lease_seconds=30.0)


def test_a_content_type_that_no_message_can_carry_is_refused_at_the_start() -> None:
    """AMQP writes it as a short string of 255 bytes; a longer one would fail at every publishing."""
    assert read_settings({"PAYBELL_LEGACY_CONTENT_TYPE": "é" * 127 + "x"}).legacy_content_type

    with pytest.raises(Misconfigured, match="PAYBELL_LEGACY_CONTENT_TYPE must have at most 255 bytes"):
        read_settings({"PAYBELL_LEGACY_CONTENT_TYPE": "é" * 128})


def test_development_secrets_are_made_once_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    settings = read_settings({}, home=tmp_path / "new" / "home")
    first, again = with_secrets(settings), with_secrets(settings)

    assert first == again
    assert first.jwt_secret != first.pin_pepper
    for secret, name in ((first.jwt_secret, "jwt-secret"), (first.pin_pepper, "pin-pepper")):
        assert len(secret) >= SECRET_BYTES_MIN
        assert re.fullmatch(r"[\w-]+", secret)  # fit to stand in PAYBELL_PIN_PEPPER, which knows : and ,
        assert stat.S_IMODE((settings.home / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in settings.home.iterdir()) == ["event-keys", "jwt-secret", "pin-pepper"]
    assert with_secrets(read_settings({}, home=tmp_path / "other")).jwt_secret != first.jwt_secret
    assert EventKeys.from_settings(first).sign_event(b"").startswith("1:")


def test_a_secret_that_is_set_is_taken_as_it_is(tmp_path: Path) -> None:
    settings = with_secrets(read_settings({}, home=tmp_path, jwt_secret="mine", pin_pepper="too"))

    assert (settings.jwt_secret, settings.pin_pepper) == ("mine", "too")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "pay.example"])
@pytest.mark.parametrize(
    ("secrets", "name"),
    [
        ({}, "PAYBELL_JWT_SECRET"),
        ({"jwt_secret": "x" * 31}, "PAYBELL_JWT_SECRET"),
        ({"jwt_secret": "x" * 32}, "PAYBELL_PIN_PEPPER"),
        ({"jwt_secret": "x" * 32, "pin_pepper": "x" * 31}, "PAYBELL_PIN_PEPPER"),
    ],
)
def test_off_loopback_nothing_starts_without_real_secrets(
    tmp_path: Path, host: str, secrets: dict[str, str], name: str
) -> None:
    """And none are generated, embedded database or not."""
    with pytest.raises(Misconfigured, match=name):
        with_secrets(read_settings({}, home=tmp_path, host=host, **secrets))
    assert list(tmp_path.iterdir()) == []


ELSEWHERE = [
    {"host": "0.0.0.0"},
    {"database_url": "postgresql://db/pay"},
    {"trade_database_url": "postgresql://db/trade"},
    {"broker_url": "amqp://rabbit"},
]


@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=lambda given: next(iter(given)))
@pytest.mark.parametrize(
    ("secrets", "name"),
    [
        ({"jwt_secret": "x" * 31}, "PAYBELL_JWT_SECRET"),
        ({"jwt_secret": "x" * 32, "pin_pepper": f"2:x,1:{'x' * 36}"}, "PAYBELL_PIN_PEPPER, key 2"),
        ({"jwt_secret": "x" * 32, "pin_pepper": f"2:{'x' * 36},1:x"}, "PAYBELL_PIN_PEPPER, key 1"),
    ],
)
def test_each_key_is_long_enough_as_soon_as_other_machines_are_involved(
    tmp_path: Path, elsewhere: dict[str, str], secrets: dict[str, str], name: str
) -> None:
    """A proxy on the same machine makes loopback as open as any other address."""
    with pytest.raises(Misconfigured, match=f"{name}: at least 32 random bytes"):
        with_secrets(read_settings({}, home=tmp_path, **elsewhere, **secrets))


@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=lambda given: next(iter(given)))
def test_a_token_must_expire_as_soon_as_other_machines_are_involved(elsewhere: dict[str, str]) -> None:
    endless = jwt.encode({"sub": "7"}, "x" * 32, algorithm="HS256")
    for settings, is_refused in ((read_settings({}), False), (read_settings({}, **elsewhere), True)):
        tokens = Tokens.from_settings(replace(settings, jwt_secret="x" * 32), FrozenClock())
        with pytest.raises(NotAuthenticated) if is_refused else nullcontext():
            tokens.verify(endless)


def test_generated_secrets_are_good_enough_for_a_broker_of_ones_own(tmp_path: Path) -> None:
    settings = with_secrets(read_settings({}, home=tmp_path, broker_url="amqp://rabbit"))

    assert len(settings.jwt_secret) >= SECRET_BYTES_MIN


@pytest.mark.parametrize("url", ["http://pay.example", "http://10.0.0.5:8000", "HTTP://[2001:db8::1]:80/x"])
def test_tokens_are_not_sent_unencrypted_to_another_machine(url: str) -> None:
    """Unless the operator says so, for a network that encrypts by itself."""
    with pytest.raises(Misconfigured, match="PAYBELL_PAY_URL_PLAIN_HTTP=allow"):
        read_settings({}, pay_url=url)
    assert read_settings({}, pay_url=url, pay_url_plain_http="allow").pay_url == url
    assert read_settings({}, pay_url="https://pay.example")


def test_brokers_that_are_sent_the_password_unencrypted_are_named_without_it() -> None:
    """Those on other machines; whoever reads along here may read along everywhere."""
    urls = (
        "amqp://u:secret@a/shop,amqps://u:secret@b,amqp://u:secret@[::1]:1,amqp://u:secret@10.0.0.5:5673/%3F"
    )

    assert unencrypted_places(urls) == [
        "amqp://a:5672/shop",
        "amqp://10.0.0.5:5673/?",
    ]
    assert unencrypted_places("local:") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_tokens_may_be_sent_unencrypted_within_one_machine(host: str) -> None:
    assert read_settings({}, pay_url=f"http://{host}:8000")


def test_off_loopback_real_secrets_are_enough(tmp_path: Path) -> None:
    """Bytes are counted, not characters."""
    settings = read_settings({}, home=tmp_path, host="0.0.0.0", jwt_secret="é" * 16, pin_pepper="x" * 32)

    assert with_secrets(settings) == settings


def test_secrets_are_not_generated_for_a_real_database(tmp_path: Path) -> None:
    """Two services with one database and each a pepper of its own would not know each other's wallets."""
    urls = {"database_url": "postgresql://db/pay", "trade_database_url": "postgresql://db/trade"}

    with pytest.raises(Misconfigured, match="PAYBELL_JWT_SECRET"):
        with_secrets(read_settings({}, home=tmp_path, **urls))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", ["a-file", "a-file/below"])
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, home: str) -> None:
    (tmp_path / "a-file").write_text("")

    with pytest.raises(Misconfigured, match="PAYBELL_HOME"):
        with_secrets(read_settings({}, home=tmp_path / home))


def test_processes_that_start_at_once_agree_on_the_secrets(tmp_path: Path) -> None:
    """One of them writes, and nobody reads what is only half there."""
    settings = read_settings({}, home=tmp_path)

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(with_secrets, [settings] * 64))

    assert all(one == made[0] for one in made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["event-keys", "jwt-secret", "pin-pepper"]


def test_a_damaged_secret_is_not_taken_for_one(tmp_path: Path) -> None:
    """An empty key would sign anybody's tokens; a new one would know nobody's pay password."""
    (tmp_path / "jwt-secret").touch()

    with pytest.raises(Misconfigured, match="jwt-secret"):
        with_secrets(read_settings({}, home=tmp_path))


def test_of_a_brokers_url_only_host_port_and_virtual_host_are_shown() -> None:
    assert broker_places("amqp://me:s%2Fcret@a,amqps://b:99/%2f,amqp://me:x@[::1]:7/orders") == [
        "amqp://a:5672/",
        "amqps://b:99//",
        "amqp://[::1]:7/orders",
    ]


@pytest.mark.parametrize(("name", "value"), [("PAYBELL_PORT", "eighty"), ("PAYBELL_QUEUE_TYPE", "mirrored")])
def test_a_wrong_value_is_shown(name: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=f"^{name} is '{value}': "):
        read_settings({name: value})


def test_a_text_is_never_shown_since_it_may_hold_a_secret() -> None:
    for wrong in ({"PAYBELL_MERCHANT_ID": "hush" * 20}, {"PAYBELL_DATABASE_URL": "me:hush@db"}):
        with pytest.raises(Misconfigured) as raised:
            read_settings(wrong)
        assert "hush" not in str(raised.value)


def test_what_is_no_url_of_a_database_is_named_before_any_secret(tmp_path: Path) -> None:
    for name in ("PAYBELL_DATABASE_URL", "PAYBELL_TRADE_DATABASE_URL"):
        with pytest.raises(Misconfigured, match=f"{name} is no URL of PostgreSQL, such as postgresql://"):
            with_secrets(read_settings({name: "foo"}, home=tmp_path))


def test_the_sentence_about_a_missing_secret_has_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"export PAYBELL_JWT_SECRET=\$\(openssl rand -hex 32\)"):
        with_secrets(read_settings({}, home=tmp_path, host="0.0.0.0"))


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is() -> None:
    known = {"PAYBELL_PORT": "1", "PAYBELL_JWT_SECRET_FILE": "/x", "PAYBELL_TEST_SEED": "1", "PATH": "/bin"}
    links = {"PAYBELL_SERVICE_HOST": "10.0.0.1", "PAYBELL_PAY_PORT_8000_TCP_ADDR": "10.0.0.1"}
    slips = {"PAYBELL_PROT": "1", "PAYBELL_JWT_SECRETS_FILE": "/x", "PAYBELL_COLOUR": "red"}

    assert unknown_variables(Settings, known | links | slips) == [
        "PAYBELL_COLOUR is no setting and is ignored; docs/settings.md lists all.",
        "PAYBELL_JWT_SECRETS_FILE is no setting and is ignored; did you mean PAYBELL_JWT_SECRET_FILE?",
        "PAYBELL_PROT is no setting and is ignored; did you mean PAYBELL_PORT?",
    ]


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    """As orchestrators mount them, with a line break at the end or without."""
    path = tmp_path / "secret"
    path.write_text("from a file\n")

    assert read_settings({"PAYBELL_JWT_SECRET_FILE": str(path)}).jwt_secret == "from a file"
    with pytest.raises(Misconfigured, match="PAYBELL_JWT_SECRET or PAYBELL_JWT_SECRET_FILE, not both"):
        read_settings({"PAYBELL_JWT_SECRET_FILE": str(path), "PAYBELL_JWT_SECRET": "x"})
    with pytest.raises(Misconfigured, match=r"PAYBELL_JWT_SECRET_FILE names .*missing.*No such file"):
        read_settings({"PAYBELL_JWT_SECRET_FILE": str(tmp_path / "missing")})


def test_origins_that_a_buyer_may_return_to_are_written_as_browsers_do() -> None:
    given = "https://Shop.example, https://shop.example:8443,https://shop.example:443,http://localhost:3000"

    assert read_settings({"PAYBELL_RETURN_ORIGINS": given}).allowed_origins == [
        "https://shop.example",
        "https://shop.example:8443",
        "https://shop.example",
        "http://localhost:3000",
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "http://shop.example",
        "https://*.example",
        "*",
        "https://shop.example/",
        "https://shop.example/back",
        "https://me@shop.example",
        "https://",
        "shop.example",
        "javascript:alert(1)",
        "https://shop.example:x",
        "https://bücher.example",
    ],
)
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(Misconfigured, match="PAYBELL_RETURN_ORIGINS"):
        read_settings({"PAYBELL_RETURN_ORIGINS": origin})


def test_a_word_that_a_setting_does_not_know_is_answered_with_those_it_knows() -> None:
    with pytest.raises(Misconfigured, match=r"PAYBELL_QUEUE_TYPE is 'fast': it may be classic or quorum\."):
        read_settings({"PAYBELL_QUEUE_TYPE": "fast"})
