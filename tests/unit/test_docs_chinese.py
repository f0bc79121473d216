"""The Chinese pages say what the English ones say: the same commands, names, tables and chapters."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GENERATED = {"errors.md"}
PAGES = [
    page.relative_to(DOCS / "zh")
    for page in sorted((DOCS / "zh").rglob("*.md"))
    if page.name not in GENERATED
]
_BLOCK = re.compile(r"^```[^\n]*\n.*?^```$|(?:^    [^\n]+\n)+", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_chinese_page_has_the_commands_and_names_of_the_english_one(page: Path) -> None:
    """What is typed is the same to the letter, and so is every name that stands in the text."""
    english, chinese = (DOCS / page).read_text(), (DOCS / "zh" / page).read_text()

    assert _BLOCK.findall(chinese) == _BLOCK.findall(english)
    assert _names(chinese) == _names(english)
    assert _shape(chinese) == _shape(english)


def test_the_pages_that_people_follow_are_there_in_chinese() -> None:
    wanted = {Path(name) for name in ("index.md", "tutorial.md", "guarantees.md", "channels.md")}
    wanted |= {Path("channels") / name for name in ("alipay.md", "wechat.md")}
    wanted |= {page.relative_to(DOCS) for page in (DOCS / "how-to").glob("*.md")}

    assert set(PAGES) == wanted
    for page in wanted:
        assert f"zh/{page}" in (DOCS / page).read_text().splitlines()[2]


def _names(text: str) -> set[str]:
    """What stands in backticks outside of blocks, wherever its line is broken; but for the names of tests."""
    names = {" ".join(name.split()) for name in re.findall(r"`([^`]+)`", _BLOCK.sub("", text))}
    return {name for name in names if not name.startswith("tests/")}


def _shape(text: str) -> list[str]:
    """The levels of headings, and the rows of tables with their columns and large numbers, in their order."""
    rest = _BLOCK.sub("", text)
    return [
        f"{line.count('|')} columns {re.findall(r'[0-9]+,[0-9]+', line)}"
        if line.startswith("|")
        else line.partition(" ")[0]
        for line in rest.splitlines()
        if line.startswith(("#", "|"))
    ]
