"""Which language a problem is told in (RFC 9110 section 12.5.4)."""

import pytest

from paybell import errors
from paybell.web.problems import _prefers_chinese


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
    assert _prefers_chinese(accept_language) == chinese


def raised() -> list[type[errors.PaybellError]]:
    """Every error a caller can be told."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return [one for one in classes if issubclass(one, errors.Refused | errors.Unavailable)]


@pytest.mark.parametrize("error", raised(), ids=lambda error: error.__name__)
def test_every_refusal_has_a_sentence_in_both_languages(error: type[errors.PaybellError]) -> None:
    """And a 4xx or 503; what is nobody's fault but ours is not a refusal."""
    assert error.detail.endswith(".")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in error.detail_zh)
    assert error.status == 503 or 400 <= error.status < 500


def test_no_two_refusals_share_a_code() -> None:
    codes = [error.code for error in raised() if "code" in vars(error)]

    assert len(codes) == len(set(codes))
