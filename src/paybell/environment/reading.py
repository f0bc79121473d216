"""Environment variables ``PAYBELL_…``, read into settings and checked once at start."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from paybell.environment.common import CommonSettings
from paybell.errors import Misconfigured

Section = TypeVar("Section", bound=CommonSettings)

PREFIX = "PAYBELL_"
# A setting's variable with this at its end names a file that holds the value, as orchestrators mount secrets.
_FILE = "_FILE"
_FILE_BYTES_MAX = 64 * 1024
# What Kubernetes sets for services with our name, a person's token, and our own tests: nobody's mistake.
_OTHERS = re.compile(
    r"PAYBELL_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)"
    r"|PAYBELL_TEST_\w+|PAYBELL_OPERATOR_TOKEN"
)
_SHOWN_MAX = 60


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"PAYBELL_{name.upper()}"


def variables_of(settings: CommonSettings) -> dict[str, str]:
    """Return the environment variables that give exactly these settings."""
    return {variable_of(one.name): str(getattr(settings, one.name)) for one in fields(settings)}


def read_section(
    kind: type[Section], environ: Mapping[str, str] = os.environ, **overrides: object
) -> Section:
    """Read settings of one kind from the environment; ``overrides`` are field names and win.

    Raises:
        Misconfigured: a value is not of its documented form, or the rules between them are broken.
    """
    ignored = service_links(environ)
    variables = {one.name: variable_of(one.name) for one in fields(kind)}
    given: dict[str, object] = {
        name: text
        for name, variable in variables.items()
        if variable not in ignored and (text := _given(variable, environ))
    }
    given |= {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = msgspec.convert(given, kind, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise Misconfigured(_readable(error, kind, given)) from error
    settings.check()
    return settings


def _given(variable: str, environ: Mapping[str, str]) -> str:
    """Return a setting's text: the variable's own, or that of the file it names."""
    text, path = environ.get(variable, ""), environ.get(variable + _FILE, "")
    if not path:
        return text
    if text:
        raise Misconfigured(f"Set {variable} or {variable}{_FILE}, not both.")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_FILE_BYTES_MAX)
        return content.decode().removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise Misconfigured(f"{variable}{_FILE} names {path}, which cannot be read: {reason}.") from error


def unknown_variables(kind: type[CommonSettings], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for each variable of ours that is no setting: most likely a slip of the fingers."""
    known = [variable_of(one.name) for one in fields(kind)]
    files = [variable + _FILE for variable in known]
    sentences = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or name in files or _OTHERS.fullmatch(name):
            continue
        choices = [one.removeprefix(PREFIX) for one in (files if name.endswith(_FILE) else known)]
        nearest = get_close_matches(name.removeprefix(PREFIX), choices, 1)
        meant = f"; did you mean {PREFIX}{nearest[0]}?" if nearest else "; docs/settings.md lists all."
        sentences.append(f"{name} is no setting and is ignored{meant}")
    return sentences


def service_links(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables that Kubernetes set to the URL of a service with our name; no settings of ours."""
    ports = [variable_of(one.name) for one in fields(CommonSettings) if one.name.endswith("port")]
    return [name for name in ports if "://" in environ.get(name, "")]


def _path(wanted: type, value: object) -> object:
    assert wanted is Path, "the only type of a setting msgspec does not know"
    return Path(str(value))


def _readable(error: msgspec.ValidationError, kind: type[CommonSettings], given: Mapping[str, object]) -> str:
    problem, _, place = str(error).partition(" - at `$.")
    if not place:
        return f"A setting: {problem[0].lower()}{problem[1:]}."
    name = place.rstrip("`")
    if choices := _choices(name, kind):
        problem = f"it may be {' or '.join(filter(None, choices))}"
    return f"{variable_of(name)}{_shown(name, kind, given)}: {problem[0].lower()}{problem[1:]}."


def _choices(name: str, kind: type[CommonSettings]) -> Sequence[str]:
    """Return the values a setting may have, where these are a few words."""
    wanted = get_type_hints(kind).get(name)
    return get_args(wanted) if get_origin(wanted) is Literal else ()


def _shown(name: str, kind: type[CommonSettings], given: Mapping[str, object]) -> str:
    """Show a wrong value, unless the setting is a text: of these some are secrets."""
    default = next((one.default for one in fields(kind) if one.name == name), "")
    if isinstance(default, str) and not _choices(name, kind):
        return ""
    text = str(given.get(name, ""))
    shown = text if text.isprintable() else ascii(text)
    return f" is {shown[:_SHOWN_MAX]!r}"
