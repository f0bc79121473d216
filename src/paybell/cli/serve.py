"""``paybell serve``: everything in one process, or one role, or several workers."""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Annotated, Any

import structlog
import uvloop
from cyclopts import Parameter, validators

from paybell.cli.options import Flag, Role, roles_of
from paybell.cli.output import announce
from paybell.clock import SystemClock
from paybell.environment.reading import service_links, unknown_variables
from paybell.errors import Misconfigured
from paybell.messaging.broker_url import broker_places, unencrypted_places
from paybell.serving.arrival import prepare_patiently
from paybell.serving.databases import databases, databases_of, is_embedded
from paybell.serving.logs import configure_logs
from paybell.settings import ROLES, Settings, read_settings
from paybell.settings.secrets import with_secrets

log = structlog.get_logger()
WORKERS_MAX = 64


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """End in order from the first step on, also while still starting; whoever serves has its own handler."""

    def stop(*_: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@_stopped_by_sigterm()
def serve(
    *,
    role: tuple[Role, ...] = ("all",),
    host: str | None = None,
    port: int | None = None,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=WORKERS_MAX))] = 1,
    sample: Flag = False,
    sandbox: Flag = False,
    inherited: Annotated[tuple[int, ...], Parameter(show=False, consume_multiple=False)] = (),
) -> int:
    """Run the service until it is told to stop (SIGTERM or Ctrl-C).

    Args:
        role: all, or some of: api (wallets and pay orders), background (outbox to
            broker, deadlines, balances, seals, retention; also accepted as relay), trade (orders and
            their listener), ops (console, comparison of both sides). Repeat it for several.
        host: address to listen on, instead of PAYBELL_HOST.
        port: port to listen on, instead of PAYBELL_PORT; 0 takes a free one.
        workers: processes that share the port, so that several cores are used.
        sample: make a sample order, and show links to it and to the console with tokens; all roles in one
            process on the loopback.
        sandbox: offer Alipay, WeChat Pay and cards over simulators that run in this process, too.
        inherited: pipe and sockets handed down by the supervisor of workers.
    """
    settings = with_secrets(read_settings(host=host, port=port))
    configure_logs(settings)
    for name in service_links():
        log.warning("setting_ignored", name=name, detail="Kubernetes' address of a service, and no port.")
    for sentence in unknown_variables(Settings):
        log.warning("setting_unknown", detail=sentence)
    roles = roles_of(role)
    if "trade" in roles and not ("api" in roles or settings.pay_url):
        raise Misconfigured("Set PAYBELL_PAY_URL: trade alone must know where the pay service is.")
    if sample and (not settings.loopback or workers > 1 or roles != ROLES):
        raise Misconfigured("--sample is for one process with all roles on the loopback; leave it out.")
    names = databases_of(roles)
    if sandbox and (not settings.loopback or workers > 1):
        raise Misconfigured("--sandbox is for one process on the loopback; leave it out.")
    with ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in _sockets(settings, inherited[1:])]
        settings = replace(settings, port=sockets[0].getsockname()[1])
        if sandbox:
            settings = stack.enter_context(_over_sandbox(settings))
        # The web framework loads while the embedded database starts; both take about as long.
        loading = ThreadPoolExecutor(1).submit(_load_server)
        urls = stack.enter_context(databases(settings, names))
        ready = partial(_greet, settings, sample=sample, embedded=is_embedded(settings, names))
        if not inherited:
            uvloop.run(prepare_patiently(settings, urls, SystemClock(), sockets[0]))
        server = loading.result()
        if workers > 1:
            uvloop.run(server.try_parts(settings, urls, roles))
            from paybell.serving.workers import run_workers  # noqa: PLC0415 - one process needs none

            run_workers(workers, settings, urls, roles, sockets, ready=ready)
            return 0
        run_server = partial(
            server.run_server, settings, urls, roles, *sockets[:1], watched=[*sockets, None][1]
        )
        uvloop.run(run_server(parent_pipe=inherited[0]) if inherited else run_server(ready=ready))
    return 0


@contextmanager
def _over_sandbox(settings: Settings) -> Iterator[Settings]:
    """Run the simulators of all channels, and return the settings that lead there."""
    from paybell.sandbox.background import serving_beside  # noqa: PLC0415 - brings an HTTP server

    with serving_beside(settings.home / "sandbox") as (url, setup):
        announce(f"Alipay, WeChat Pay and cards are simulated; scan and pay at {url}")
        yield replace(settings, **dict[str, Any](setup.settings(url, _url(settings))))


def _load_server() -> ModuleType:
    from paybell.serving import process  # noqa: PLC0415 - see where it is called

    return process


def _sockets(settings: Settings, inherited: Sequence[int]) -> list[socket.socket]:
    """Return the socket to serve, and the one of metrics alone if they have a port of their own."""
    if inherited:
        return [socket.socket(fileno=number) for number in inherited]
    wanted = [("PAYBELL_PORT", settings.port)]
    if settings.metrics_port:
        wanted.append(("PAYBELL_METRICS_PORT", settings.metrics_port))
    return [_bound(settings.host, variable, port) for variable, port in wanted]


def _bound(host: str, variable: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        # It listens when there is somebody to answer; until then a balancer goes to another process.
        listening.bind((host, port))
    except (OSError, UnicodeError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise Misconfigured(
            f"Cannot listen on {host}:{port} ({reason}); set PAYBELL_HOST to an address "
            f"of this machine and {variable} to a free port."
        ) from error
    return listening


def _greet(settings: Settings, *, sample: bool, embedded: bool) -> None:
    announce(_greeting(settings))
    if embedded:
        log.info("embedded_database", home=str(settings.home))
    for place in unencrypted_places(settings.broker_url):
        log.warning(
            "broker_unencrypted",
            broker=place,
            detail="amqp:// sends the password and every message unencrypted to another machine: use amqps://.",
        )
    if sample:
        from paybell.cli.links import show_soon  # noqa: PLC0415 - brings an HTTP client

        show_soon(_url(settings), settings, SystemClock())


def _url(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _greeting(settings: Settings) -> str:
    local = settings.broker_url.startswith("local:")
    broker = "local:" if local else ",".join(broker_places(settings.broker_url))
    return f"Paybell listens on {_url(settings)} (broker {broker}, pid {os.getpid()})"
