"""What an operator tells a RabbitMQ node of ours: alarms, clusters, and whatever rabbitmqctl can."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from paybell.errors import Unavailable
from paybell.testing.rabbitmq_install import SEARCH_PATH
from paybell.testing.rabbitmq_process import unprivileged

# rabbitmqctl starts a virtual machine of its own (0.6 s); joining a cluster starts the broker again.
CTL_TIMEOUT_SECONDS = 60.0

Alarm = Literal["memory", "disk"]
_RAISE: Mapping[Alarm, Sequence[str]] = {
    "memory": ("set_vm_memory_high_watermark", "0.0000001"),
    "disk": ("set_disk_free_limit", "1000000GB"),
}
_CLEAR: Mapping[Alarm, Sequence[str]] = {
    "memory": ("set_vm_memory_high_watermark", "0.4"),
    "disk": ("set_disk_free_limit", "50MB"),
}


class NodeCommands:
    """The commands of a node that runs."""

    def __init__(self, server: Path, home: Path, environment: dict[str, str]) -> None:
        """Take the script that starts it, its folder, and the environment it was started in."""
        self.home = home
        self.name = environment["RABBITMQ_NODENAME"]
        self._server = server
        self._environment = environment

    def block(self, alarm: Alarm = "memory") -> None:
        """Raise a resource alarm: every connection is blocked from its next publish on.

        Raises:
            Unavailable: see `ctl`.
        """
        self.ctl(*_RAISE[alarm])

    def unblock(self, alarm: Alarm = "memory") -> None:
        """End the alarm that `block` raised.

        Raises:
            Unavailable: see `ctl`.
        """
        self.ctl(*_CLEAR[alarm])

    def close_connections(self) -> None:
        """Have the broker close every client's connection, as an operator would.

        Raises:
            Unavailable: see `ctl`.
        """
        self.ctl("close_all_connections", "--global", "closed by the operator")

    def settle(self) -> None:
        """Have every queue, exchange and binding on disk, so that a test may `kill` right away.

        RabbitMQ 3.10 confirms a declaration before that: of queues declared less than 2 s before a
        crash every seventh was gone with its confirmed messages; of 31 after this call none.

        Raises:
            Unavailable: see `ctl`.
        """
        self.ctl("eval", "catch mnesia:sync_log().")

    def add_virtual_host(self, name: str) -> None:
        """Add an empty virtual host, where guest may do everything; what ``rabbitmqctl add_vhost`` calls.

        Raises:
            Unavailable: see `ctl`.
        """
        may = 'rabbit_auth_backend_internal:set_permissions(<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, U)'
        self.evaluate(f'V = <<"{name}">>, U = <<"paybell">>, ok = rabbit_vhost:add(V, U), ok = {may}')

    def delete_virtual_host(self, name: str) -> None:
        """Delete a virtual host with all that is in it, and close the connections to it.

        Raises:
            Unavailable: see `ctl`.
        """
        self.evaluate(f'ok = rabbit_vhost:delete(<<"{name}">>, <<"paybell">>)')

    def join_cluster(self, other: "NodeCommands") -> None:
        """Give up this node's data and join the cluster of a node started with the same cookie.

        Raises:
            Unavailable: see `ctl`; also when the cookies differ.
        """
        self.ctl("stop_app")
        self.ctl("join_cluster", other.name)
        self.ctl("start_app")

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against this node (0.6 s or more) and return what it printed.

        Raises:
            Unavailable: it failed, or took longer than ``CTL_TIMEOUT_SECONDS``.
        """
        command = [str(self._server.with_name("rabbitmqctl")), "--quiet", "--node", self.name, *arguments]
        return self._run(f"rabbitmqctl {arguments[0]}", command)

    def evaluate(self, expression: str) -> str:
        """Evaluate Erlang in the node and return the value: in 10 ms where there is an erl_call.

        Raises:
            Unavailable: it failed, or see `ctl`.
        """
        if not (erl_call := shutil.which("erl_call", path=SEARCH_PATH)):
            return self.ctl("eval", f"{expression}.")
        said = self._run("erl_call", [erl_call, "-sname", self.name, "-e"], f"{expression}.\n")
        if not said.startswith("{ok, "):
            raise Unavailable(f"erl_call failed: {said}")
        return said.removeprefix("{ok, ").removesuffix("}")

    def _run(self, name: str, command: Sequence[str], given: str = "") -> str:
        try:
            done: subprocess.CompletedProcess[bytes] = subprocess.run(  # noqa: S603  # our own node, as its own user
                command,
                env=self._environment,
                cwd=self.home,
                input=given.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=CTL_TIMEOUT_SECONDS,
                check=False,
                **unprivileged(),
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{name} took over {CTL_TIMEOUT_SECONDS:g} s.") from error
        said = done.stdout.decode(errors="replace").strip()
        if done.returncode:
            raise Unavailable(f"{name} failed: {said}")
        return said
