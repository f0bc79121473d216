"""Environment variables ``PAYBELL_…``, read into settings and checked once at start."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import msgspec

from paybell.environment.common import CommonSettings
from paybell.errors import Misconfigured

Section = TypeVar("Section", bound=CommonSettings)


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
        name: environ[variable]
        for name, variable in variables.items()
        if environ.get(variable) and variable not in ignored
    }
    given |= {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = msgspec.convert(given, kind, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise Misconfigured(_readable(error)) from error
    settings.check()
    return settings


def service_links(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables that Kubernetes set to the URL of a service with our name; no settings of ours."""
    ports = [variable_of(one.name) for one in fields(CommonSettings) if one.name.endswith("port")]
    return [name for name in ports if "://" in environ.get(name, "")]


def _path(wanted: type, value: object) -> object:
    assert wanted is Path, "the only type of a setting msgspec does not know"
    return Path(str(value))


def _readable(error: msgspec.ValidationError) -> str:
    problem, _, place = str(error).partition(" - at `$.")
    name = variable_of(place.rstrip("`")) if place else "A setting"
    return f"{name}: {problem[0].lower()}{problem[1:]}."
