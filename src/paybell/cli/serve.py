"""``paybell serve``: everything in one process, or one role, or several workers."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Annotated, Literal

import msgspec
import uvloop
from cyclopts import Parameter

from paybell.cli.console import announce
from paybell.cli.databases import databases, prepare
from paybell.cli.logs import configure_logs
from paybell.cli.supervisor import run_workers
from paybell.errors import Misconfigured
from paybell.settings import ROLES, Settings, read_settings, with_secrets

Role = Literal["all", "api", "relay", "trade"]


def serve(
    *,
    role: tuple[Role, ...] = ("all",),
    host: str | None = None,
    port: int | None = None,
    workers: Annotated[int, Parameter()] = 1,
    inherited: Annotated[tuple[int, int] | None, Parameter(show=False)] = None,
) -> int:
    """Run the service until it is told to stop (SIGTERM or Ctrl-C).

    Args:
        role: all, or some of: api (wallets and pay orders), relay (outbox to broker), trade (orders and
            their listener). Repeat it for several.
        host: address to listen on, instead of PAYBELL_HOST.
        port: port to listen on, instead of PAYBELL_PORT; 0 takes a free one.
        workers: processes that share the port, so that several cores are used.
        inherited: socket and pipe handed down by the supervisor of workers.
    """
    settings = with_secrets(read_settings(host=host, port=port))
    configure_logs(settings)
    roles = ROLES if "all" in role else frozenset[str](role)
    listening = socket.socket(fileno=inherited[0]) if inherited else _listen(settings)
    settings = msgspec.structs.replace(settings, port=listening.getsockname()[1])
    # The web framework loads while the embedded database starts; both take about as long.
    loading = ThreadPoolExecutor(1).submit(import_module, "paybell.cli.server")
    with listening, databases(settings) as urls:
        if inherited is None:
            uvloop.run(prepare(settings, urls))
            announce(
                f"Paybell listens on http://{settings.host}:{settings.port} "
                f"(broker {settings.broker_url.partition('@')[2] or settings.broker_url}, pid {os.getpid()})"
            )
        if workers > 1:
            run_workers(workers, settings, urls, roles, listening)
            return 0
        uvloop.run(loading.result().run_server(settings, urls, roles, listening, inherited and inherited[1]))
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(2048)
    except OSError as error:
        raise Misconfigured(
            f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}); set PAYBELL_PORT to a "
            "free one."
        ) from error
    return listening
