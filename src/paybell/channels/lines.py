"""What a process has of each channel."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paybell.channels.channel import Channel
from paybell.channels.chaser import Chaser
from paybell.channels.circuit import Circuit
from paybell.channels.recorder import Recorder
from paybell.clock import Clock
from paybell.storage import Database


@dataclass(frozen=True, slots=True)
class Line:
    """A channel with what this process has of it: its circuit, and who queries and closes."""

    channel: Channel
    circuit: Circuit
    chaser: Chaser


def lines_of(
    database: Database, recorder: Recorder, channels: Iterable[Channel], clock: Clock
) -> Mapping[str, Line]:
    """Return one for each channel, by name."""
    lines = {}
    for channel in channels:
        circuit = Circuit(clock)
        lines[channel.name] = Line(channel, circuit, Chaser(database, recorder, channel, circuit, clock))
    return lines
