"""The page on provider formats names every rule of the validators, every repair and every loss."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import pytest

from fastpaca.formats import FORMATS, LOSSES, PARTS, REPAIRS
from tests.docs.pages import DOCS, ROOT

TEXT: Final = (DOCS / "provider-formats.md").read_text(encoding="utf-8")

TITLES: Final[Mapping[str, str]] = {
    "openai-chat": "OpenAI Chat",
    "openai-responses": "OpenAI Responses",
    "anthropic": "Anthropic",
    "gemini": "Gemini",
    "bedrock": "Bedrock",
}


def section(title: str) -> str:
    """Return the text under a heading, up to the next one."""
    found = re.search(rf"^##+ {title}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """Return the rows of the table under a heading, the head aside."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("name", TITLES)
def test_every_rule_of_a_validator_is_on_the_page(name: str) -> None:
    """
    The table of a provider has exactly the rules that its validator reports.
    """
    source = (ROOT / "tests" / "providers" / f"{name.replace('-', '_')}.py").read_text()
    reported = set(re.findall(r'Violation\(\s*"([a-z-]+)"', source))
    reported |= set(re.findall(r'^[A-Z_]+: Final = "([a-z-]+)"$', source, re.MULTILINE))
    reported |= (
        set(re.findall(r'rule = "([a-z-]+)" if .* else "([a-z-]+)"', source)[0])
        if ("rule = " in source)
        else set()
    )
    named = {rule for cells in rows(TITLES[name]) for rule in re.findall(r"`([a-z-]+)`", cells[0])}
    assert named == reported


def test_every_repair_is_on_the_page() -> None:
    """
    The table of repairs is that of the code, and every demand is met by one of them.
    """
    expected = [[f"`{code}`", str(tokens), text] for code, (tokens, text) in REPAIRS.items()]
    assert rows("Repairs") == expected
    named = {
        code
        for title in TITLES.values()
        for cells in rows(title)
        for code in re.findall(r"`([a-z]+_[a-z_]+)`", cells[2])
    }
    assert named - {"tool_calls"} <= REPAIRS.keys()


def test_every_loss_is_on_the_page() -> None:
    """
    The table of losses is that of the code.
    """
    assert rows("Losses") == [[f"`{code}`", text] for code, text in LOSSES.items()]


def test_every_format_is_on_the_page() -> None:
    """
    The first table has every format, and the default.
    """
    head = TEXT.split("## What comes in")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", head, re.MULTILINE) == [*FORMATS, PARTS]
