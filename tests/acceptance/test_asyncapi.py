"""The AsyncAPI document is one, by AsyncAPI's own parser."""

from pathlib import Path

import pytest
from programs import node

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "asyncapi.json"
PARSER = HERE / "parse_asyncapi.mjs"

pytestmark = pytest.mark.slow


async def test_asyncapis_parser_has_nothing_to_say_about_the_document() -> None:
    assert await node(PARSER, str(DOCUMENT)) == ""


async def test_asyncapis_parser_reports_a_message_that_is_not_there(tmp_path: Path) -> None:
    spoiled = tmp_path / "asyncapi.json"
    spoiled.write_text(DOCUMENT.read_text().replace('"#/components/messages/number"', '"#/components/none"'))

    assert "#/components/none" in await node(PARSER, str(spoiled))
