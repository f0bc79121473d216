"""Which language a problem is told in (RFC 9110 section 12.5.4)."""

import pytest

from paybell.channels.problems import PROBLEMS as CHANNELS
from paybell.errors import Misconfigured, PaybellError, Unavailable
from paybell.operations.problems import PROBLEMS as OPERATIONS
from paybell.pay.problems import PROBLEMS as PAY
from paybell.trade.errors import RefundFailed, RefundPending, RefundRefused
from paybell.trade.problems import PROBLEMS as TRADE
from paybell.web.negotiation import preferred
from paybell.web.refusals import ProblemTypes

# The operator's matter, answered as `Unavailable`; and what trade notes about a refund that pay refused.
NEVER_ANSWERED = {Misconfigured, RefundFailed, RefundPending, RefundRefused}


@pytest.mark.parametrize(
    ("accept_language", "chinese"),
    [
        ("", False),
        ("*", False),
        ("zh", True),
        ("zh-CN", True),
        ("ZH-hans-cn", True),
        ("en", False),
        ("en-GB, zh", False),
        ("zh, en", True),
        ("zh;q=0.5, en;q=0.9", False),
        ("zh;q=0.9, en;q=0.5", True),
        ("en;q=0.5,zh;q=0.5", False),
        ("zh;q=0", False),
        ("zh;q=0, en;q=0", False),
        ("fr, de;q=0.9, zh;q=0.1", True),
        ("fr, de", False),
        ("zh-CN,zh;q=0.9,en;q=0.8", True),
        ("en-US,en;q=0.9,zh-CN;q=0.8", False),
        ("zh ; q=0.9 , en ; q=0.1", True),
        # Not of the documented form: ignored, never an error.
        ("zh;q=", True),
        ("zh;q=high, en;q=0.1", False),
        ("zh;q=nan, en;q=0.1", False),
        ("zhuang, english", False),
        (";;;,,,q=1", False),
        ("\0\xff", False),
        ("en," * 10_000 + "zh", False),
    ],
    ids=lambda value: ascii(value[:40]) if isinstance(value, str) else None,
)
def test_the_language_with_the_highest_weight_is_taken(accept_language: str, chinese: bool) -> None:
    """The first of equals; English where nothing fits."""
    assert preferred(accept_language, ("en", "zh")) == ("zh" if chinese else "en")


TABLES = {
    "pay": PAY,
    "channels": CHANNELS,
    "trade": TRADE,
    "operations": OPERATIONS,
}  # those of wallet and web are in pay's


@pytest.mark.parametrize("types", TABLES.values(), ids=TABLES)
def test_every_problem_has_a_sentence_in_both_languages(types: ProblemTypes) -> None:
    for error in types:
        assert error.detail.endswith(".")
        assert any("\u4e00" <= letter <= "\u9fff" for letter in types[error].chinese)


@pytest.mark.parametrize("types", TABLES.values(), ids=TABLES)
def test_a_refusal_is_a_4xx_and_what_may_be_tried_again_a_503(types: ProblemTypes) -> None:
    """What is nobody's fault but ours is neither."""
    for error in set(types) - {PaybellError}:
        status = types[error].status
        assert status == 503 if issubclass(error, Unavailable) else 400 <= status < 500


@pytest.mark.parametrize("types", TABLES.values(), ids=TABLES)
def test_no_two_problems_share_a_code(types: ProblemTypes) -> None:
    codes = [error.code for error in types]

    assert len(codes) == len(set(codes))


def test_every_code_that_callers_see_stands_in_a_table() -> None:
    """A class with a code of its own and no entry would be answered with its base's status by accident."""
    listed = {error for types in TABLES.values() for error in types}
    public = {error for error in _all(PaybellError) if error.__module__.endswith(".errors")}

    assert {error for error in public if "code" in vars(error)} - listed == NEVER_ANSWERED


def _all(kind: type[PaybellError]) -> set[type[PaybellError]]:
    return {kind, *(below for child in kind.__subclasses__() for below in _all(child))}
