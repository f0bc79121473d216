"""Free ports of the loopback, for servers that tests and the demo start."""

import functools
import itertools
import secrets
import socket
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
# Below the ports the kernel hands to clients (Linux: from 32768): a client that reconnects while its
# server is down could be given the server's own port, connect to itself, and keep the server from it.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port on the loopback that nobody listens on, and that this process was not given before."""
    return next(port for port in _ports_in_turn() if is_free(port))


@functools.cache
def _ports_in_turn() -> Iterator[int]:
    """Go through the ports in an order of this process's own: several start nodes at the same time."""
    return itertools.cycle(secrets.SystemRandom().sample(_PORTS, len(_PORTS)))


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError:
            return False
        return True
