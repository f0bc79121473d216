"""A set-up, looked at one part after the other."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping

from paybell.clock import Clock
from paybell.diagnosis.broker import examine_broker
from paybell.diagnosis.channels import examine_channels
from paybell.diagnosis.databases import examine_databases
from paybell.diagnosis.findings import Finding, of_error
from paybell.diagnosis.pay_service import examine_pay_service
from paybell.diagnosis.remote_wallet import examine_wallet
from paybell.environment.reading import service_links, unknown_variables
from paybell.errors import PaybellError
from paybell.settings import ROLES, Settings, read_settings
from paybell.settings.secrets import with_secrets


async def examine(
    clock: Clock,
    environ: Mapping[str, str] = os.environ,
    roles: frozenset[str] = ROLES,
    /,
    **overrides: object,
) -> AsyncIterator[Finding]:
    """Look at what these roles need, one part after the other; what needs a broken part is left out."""
    try:
        settings = with_secrets(read_settings(environ, **overrides))
    except PaybellError as error:
        yield of_error("settings", error)
        return
    for finding in _settings(environ):
        yield finding
    yield await _port(settings)
    async for finding in examine_databases(settings, roles, clock):
        yield finding
    if settings.pay_url:
        yield await examine_pay_service(settings, clock)
    async for finding in examine_channels(settings, clock):
        yield finding
    async for finding in examine_wallet(settings, clock):
        yield finding
    async for finding in examine_broker(settings, roles, clock):
        yield finding


def _settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    yield Finding("settings", "ok", "readable, secrets present")
    for sentence in unknown_variables(Settings, environ):
        what, _, advice = sentence.partition("; ")
        yield Finding("settings", "warning", what, advice[0].upper() + advice[1:])
    for name in service_links(environ):
        yield Finding(
            "settings",
            "warning",
            f"{name} is Kubernetes' address of a service, and is ignored",
            "Set enableServiceLinks: false in the pod, or give the service another name.",
        )


async def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        server = await asyncio.start_server(lambda *_: None, settings.host, settings.port)
    except OSError as error:
        return Finding(
            "port",
            "warning",
            f"{where} cannot be listened on: {error.strerror}",
            "If that is not this service already running, set PAYBELL_PORT to a free one, PAYBELL_HOST to an "
            "address of this machine.",
        )
    server.close()
    await server.wait_closed()
    return Finding("port", "ok", f"{where} is free")
