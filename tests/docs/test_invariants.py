"""The page of invariants names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_named_test_exists() -> None:
    """
    Each test that an invariant rests on stands in the file that the page names.
    """
    page = (ROOT / "docs" / "invariants.md").read_text()
    named = NAMED.findall(page)
    assert len(named) >= 24
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"


def test_every_rule_names_a_test() -> None:
    """
    The twelve rules are all there, and none rests on words alone.
    """
    page = (ROOT / "docs" / "invariants.md").read_text()
    rules = re.split(r"^## (?=\d)|^## Known", page, flags=re.MULTILINE)[1:-1]
    assert [rule.partition(".")[0] for rule in rules] == [str(number) for number in range(1, 13)]
    for rule in rules:
        assert NAMED.search(rule), rule.splitlines()[0]
