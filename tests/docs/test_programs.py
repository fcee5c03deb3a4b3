"""The programs that pages show: they are what the tests run, short, and counted as it is said."""

from __future__ import annotations

import ast
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import ROOT, Page, page, pages

LOOPS: Final = ROOT / "examples" / "loops"

BY_HAND: Final = sorted((LOOPS / "python").glob("*_by_hand.py"))

PYTHON: Final = [path.with_name(path.name.replace("_by_hand", "")) for path in BY_HAND]

TYPESCRIPT: Final = [
    path for path in sorted((LOOPS / "node").glob("*.ts")) if path.name != "tools.ts"
]

LINES_MAX, OURS_MAX = 25, 5
"""The most lines that a loop has, and of these the most that use fastpaca."""


@pytest.mark.parametrize("found", pages(), ids=repr)
def test_shown_programs_are_those_that_run(found: Page) -> None:
    """
    A page that shows a program of `examples` shows the file; `make fix` writes it there.
    """
    with_programs = runpy.run_path(str(ROOT / "scripts/programs.py"))["with_programs"]
    assert with_programs(found.text) == found.text


def test_every_loop_is_shown() -> None:
    """
    The pages about providers show each loop.
    """
    shown = {
        path for found in pages() for path in re.findall(r"<!-- program (\S+) -->", found.text)
    }
    assert {str(path.relative_to(ROOT)) for path in PYTHON + TYPESCRIPT} <= shown


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_python_loops_are_short(path: Path) -> None:
    """
    The function that answers has at most 25 lines, of which at most five use fastpaca.
    """
    text = path.read_text(encoding="utf-8")
    (loop,) = [
        one
        for one in ast.parse(text).body
        if isinstance(one, ast.FunctionDef) and one.name == "answer"
    ]
    check_short(text.splitlines()[loop.lineno - 1 : loop.end_lineno])


@pytest.mark.parametrize("path", TYPESCRIPT, ids=lambda path: path.stem)
def test_typescript_loops_are_short(path: Path) -> None:
    """
    The function that answers has at most 25 lines, of which at most five use fastpaca.
    """
    loop = re.search(
        r"^export async function answer.*?^}$", path.read_text(), re.DOTALL | re.MULTILINE
    )
    assert loop
    check_short(loop[0].splitlines())


def check_short(lines: list[str]) -> None:
    ours = [line for line in lines if re.search(r"\b(?:chat|view)\.", line)]
    assert len(lines) <= LINES_MAX
    assert 3 <= len(ours) <= OURS_MAX, ours


def test_glue_is_counted_as_the_page_says() -> None:
    """
    The table has, for each program, the lines that only the version with fastpaca has, and those
    that only the version without has; blank lines, comments and docstrings aside.
    """
    rows = {row[0].strip("`"): (int(row[1]), int(row[2])) for row in page("examples").rows("Glue")}
    counted = {}
    for path, other in zip(PYTHON, BY_HAND, strict=True):
        ours, by_hand = code(path), code(other)
        counted[path.stem] = ((ours - by_hand).total(), (by_hand - ours).total())
    assert rows == counted


def code(path: Path) -> Counter[str]:
    """Count the lines of code of a program, each as it is written."""
    text = path.read_text(encoding="utf-8")
    prose = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node)
        for number in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    return Counter(
        line.strip()
        for number, line in enumerate(text.splitlines(), 1)
        if number not in prose and line.strip() and not line.strip().startswith("#")
    )
