"""The private RabbitMQ node keeps what the fault tests rely on."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from time import monotonic

import pika
import pytest

from paybell.errors import Misconfigured, Unavailable
from paybell.testing.rabbitmq_commands import Alarm
from paybell.testing.rabbitmq_install import ensure_installed
from paybell.testing.rabbitmq_node import RabbitmqNode, find_or_start
from paybell.testing.rabbitmq_process import answers

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

QUEUE = "kept"


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitmqNode]:
    """A node that was started by a thread which has ended since: that alone must not end the node."""
    ensure_installed(print)
    with ThreadPoolExecutor(1) as threads:
        started = threads.submit(RabbitmqNode.start).result()
    with started:
        yield started


def until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for something to become true; fail when it does not in time."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "it did not happen in time"
        Event().wait(0.02)


def connect(node: RabbitmqNode) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(node.url))


def test_a_client_connects_on_its_own_port(node: RabbitmqNode) -> None:
    with closing(connect(node)) as connection:
        assert connection.is_open

    assert node.port != 5672


def test_its_virtual_machine_is_the_process_it_names(node: RabbitmqNode) -> None:
    assert node.ctl("eval", "os:getpid().") == f'"{node.pid}"'


def test_a_persistent_message_survives_a_crash(node: RabbitmqNode) -> None:
    with closing(connect(node)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(QUEUE, durable=True)
        channel.basic_publish("", QUEUE, b"42", pika.BasicProperties(delivery_mode=2), mandatory=True)

    node.settle()
    node.kill()
    node.restart()

    with closing(connect(node)) as connection:
        _, _, body = connection.channel().basic_get(QUEUE, auto_ack=True)
    assert body == b"42"


@pytest.mark.parametrize("alarm", ["memory", "disk"])
def test_a_blocked_node_tells_its_publishers_and_tells_them_when_it_is_over(
    node: RabbitmqNode, alarm: Alarm
) -> None:
    seen: list[str] = []
    with closing(connect(node)) as connection:
        connection.add_on_connection_blocked_callback(lambda *_: seen.append("blocked"))
        connection.add_on_connection_unblocked_callback(lambda *_: seen.append("unblocked"))

        def told(what: str) -> bool:
            connection.process_data_events(0)
            return what in seen

        node.block(alarm)
        connection.channel().basic_publish("", "nobody", b"")
        until(lambda: told("blocked"))
        node.unblock(alarm)
        until(lambda: told("unblocked"))

    assert seen == ["blocked", "unblocked"]


def test_a_suspended_node_is_silent_until_it_is_resumed(node: RabbitmqNode) -> None:
    node.suspend()
    assert not answers(node.port)

    node.resume()
    until(lambda: answers(node.port))


def test_closed_connections_are_noticed(node: RabbitmqNode) -> None:
    connection = connect(node)
    until(lambda: "guest" in node.ctl("list_connections", "user"))

    node.close_connections()

    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="operator"):
        until(lambda: connection.process_data_events(0))


def test_a_folder_holds_one_node(node: RabbitmqNode) -> None:
    with pytest.raises(Misconfigured, match="Another"):
        RabbitmqNode.start(node.home)


def test_a_taken_port_is_not_mistaken_for_a_started_node(node: RabbitmqNode) -> None:
    with pytest.raises(Unavailable, match="taken"):
        RabbitmqNode.start(port=node.port)


def test_a_node_that_dies_while_starting_says_why() -> None:
    with pytest.raises(Unavailable, match="nodistribution"):
        RabbitmqNode.start(name="two words")


def test_a_node_dies_with_the_process_that_started_it() -> None:
    program = (
        "import pathlib, sys; from paybell.testing.rabbitmq_node import RabbitmqNode;"
        "print(RabbitmqNode.start(pathlib.Path(sys.argv[1])).port, flush=True); sys.stdin.read()"
    )
    with (
        tempfile.TemporaryDirectory(prefix="paybell-rabbitmq-") as home,
        subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-c", program, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as parent,
    ):
        assert parent.stdout
        port = int(parent.stdout.readline())
        assert answers(port)

        parent.send_signal(signal.SIGKILL)

        until(lambda: not answers(port))


def test_two_nodes_form_a_cluster() -> None:
    with RabbitmqNode.start(cookie="shared") as first, RabbitmqNode.start(cookie="shared") as second:
        second.join_cluster(first)

        assert first.ctl("eval", "length(nodes()).") == "1"
        assert second.name in first.ctl("cluster_status")
        with closing(connect(second)) as connection:
            connection.channel().queue_declare("everywhere", durable=True)
        assert "everywhere" in first.ctl("list_queues", "name")


def test_a_broker_named_in_the_environment_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYBELL_TEST_AMQP_URL", "amqp://elsewhere")

    with find_or_start(pytest.fail) as url:
        assert url == "amqp://elsewhere"


def test_a_temporary_home_is_removed(node: RabbitmqNode) -> None:
    assert node.home.is_dir()
    assert Path(tempfile.gettempdir()) in node.home.parents
    assert os.access(node.home, os.W_OK)


def test_a_virtual_host_has_nothing_of_another_and_goes_with_all_it_has(node: RabbitmqNode) -> None:
    with closing(connect(node)) as connection:
        connection.channel().queue_declare("of-all")
    inside = pika.URLParameters(node.url.replace("%2f", "of-its-own"))

    for _ in range(2):
        node.add_virtual_host("of-its-own")
        with closing(pika.BlockingConnection(inside)) as connection:
            with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
                connection.channel().queue_declare("of-all", passive=True)
            connection.channel().queue_declare("of-all")
        node.delete_virtual_host("of-its-own")

    assert "of-its-own" not in node.ctl("list_vhosts")
