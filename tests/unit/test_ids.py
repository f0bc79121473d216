"""Identifiers, and the forms of ids and traces."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from paybell.errors import InvalidRequest
from paybell.ids import ID_MAX, NODES, SnowflakeIds, new_traceparent, parse_id
from paybell.testing import FrozenClock, SequentialIds


def test_ids_never_repeat_though_time_stands_still() -> None:
    """More of them in one millisecond than the sequence has numbers: it borrows from the future."""
    ids = SnowflakeIds(FrozenClock(), 5)
    made = [ids.next() for _ in range(20_000)]

    assert len(set(made)) == len(made)
    assert made == sorted(made)


def test_ids_never_repeat_though_the_clock_steps_back() -> None:
    clock = FrozenClock()
    ids = SnowflakeIds(clock, 5)
    made = [ids.next() for _ in range(10)]
    clock.advance(-3_600)
    made += [ids.next() for _ in range(10)]
    clock.advance(3_600)
    made += [ids.next() for _ in range(10)]

    assert len(set(made)) == 30
    assert made == sorted(made)


def test_processes_with_different_nodes_never_make_the_same_id() -> None:
    clock = FrozenClock()
    sources = [SnowflakeIds(clock, node) for node in (0, 1, 512, NODES - 1)]
    made = [source.next() for source in sources for _ in range(5_000)]

    assert len(set(made)) == len(made)


def test_later_ids_are_larger_whatever_their_node() -> None:
    clock = FrozenClock()
    earlier = SnowflakeIds(clock, NODES - 1).next()
    clock.advance(0.001)

    assert SnowflakeIds(clock, 0).next() > earlier


def test_ids_fit_a_signed_64_bit_column_for_decades() -> None:
    for start in (datetime(2024, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC), datetime(2093, 1, 1, tzinfo=UTC)):
        assert 1 <= SnowflakeIds(FrozenClock(start), NODES - 1).next() <= ID_MAX
    assert timedelta(milliseconds=2**41) > datetime(2093, 1, 1) - datetime(2024, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize("node", [-1, NODES])
def test_a_node_number_out_of_range_is_a_bug(node: int) -> None:
    """Its bits would run into the time's."""
    with pytest.raises(AssertionError):
        SnowflakeIds(FrozenClock(), node)


def test_sequential_ids_count() -> None:
    ids = SequentialIds(7)

    assert [ids.next() for _ in range(3)] == [7, 8, 9]


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("9223372036854775807", ID_MAX)])
def test_digits_are_an_id(text: str, number: int) -> None:
    assert parse_id(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "+1", "1.0", "1e3", "0x1", " 1", "1 ", "1\n", "1_000", "1,2", "abc", "\0", "'; --"),
        *("9223372036854775808", "9" * 20, "1" * 10_000),
        "\N{ARABIC-INDIC DIGIT ONE}",
        "\N{SUPERSCRIPT TWO}",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_id(text)


def test_a_new_trace_has_the_form_of_w3c_trace_context() -> None:
    """Version 00, two random ids, not sampled; never the same twice."""
    made = {new_traceparent() for _ in range(100)}

    assert len(made) == 100
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", one) for one in made)
