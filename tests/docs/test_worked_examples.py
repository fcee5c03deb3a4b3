"""The numbers of the pages on policies are those that a node gives."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.docs.pages import DOCS, page

SCRIPT = DOCS / "worked_examples.py"
COMMAND = re.compile(r"python3 docs/worked_examples\.py (\w+)")


class Example(NamedTuple):
    """A worked example: its name, and what the page shows of it."""

    name: str
    shown: str


def examples() -> list[Example]:
    """Return the worked examples that the pages show: a command, and what it prints below."""
    names = ("context-management", "agents", "policies", "what-is-kept")
    return [example for name in names for example in _examples_of(name)]


def _examples_of(name: str) -> list[Example]:
    found = []
    blocks = page(name).blocks
    for place, block in enumerate(blocks):
        command = COMMAND.fullmatch(block.text)
        if command:
            shown = next(b.text for b in blocks[place + 1 :] if b.language == "text")
            found.append(Example(command[1], shown))
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_numbers_are_those_of_a_node(example: Example, node: str) -> None:
    """
    The command above a block of numbers prints exactly these numbers.
    """
    done = subprocess.run(
        [sys.executable, "-X", "utf8", str(SCRIPT), example.name, "--url", node],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    assert done.stdout.rstrip("\n") == example.shown


def test_the_page_shows_all_examples() -> None:
    """
    The script has no example that the page does not show.
    """
    defined = re.findall(
        r"^def (\w+)\(node: Node\)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(defined) == sorted(example.name for example in examples())
