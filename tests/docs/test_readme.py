"""What the README promises: numbers with a proof, and a program that is understood at a glance."""

from __future__ import annotations

import json
import re

import pytest

from fastpaca import __version__
from tests.docs.pages import ROOT, Page

README = Page(ROOT / "README.md")

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
WORDS = re.compile(r"\b(?:fifteen times|a thousand times)\b")


@pytest.mark.parametrize("row", README.rows("What it promises"), ids=lambda row: row[0][:20])
def test_number_of_a_promise_stands_on_the_page_that_proves_it(row: list[str]) -> None:
    """
    Each promise has a number, and the page that it links to has the same number.
    """
    _, number, proof = row
    link = re.search(r"\]\((docs/[\w-]+\.md)", proof)
    assert link
    text = Page(ROOT / link[1]).text
    named = NUMBER.findall(re.sub("`[^`]*`", "", number)) + WORDS.findall(number)
    assert named
    assert [one for one in named if one not in text] == []


def test_readme_is_read_in_two_minutes() -> None:
    """
    The README has at most 100 lines, and its program at most forty, as it is in its file.
    """
    assert README.text.count("\n") <= 100
    (program,) = (block.text for block in README.blocks if block.language == "python")
    assert len(program.splitlines()) <= 40


def test_pictures_of_the_readme_exist() -> None:
    """
    Each picture that the README shows is in the source tree.
    """
    named = re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', README.text)
    paths = [first or second for first, second in named]
    assert len(paths) > 2
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_versions_are_the_same() -> None:
    """
    The package, the SDK of TypeScript and the README are of one version.
    """
    sdk = json.loads((ROOT / "sdk/typescript/package.json").read_text(encoding="utf-8"))
    assert sdk["version"] == __version__
    assert f"This is version {__version__}" in README.text
