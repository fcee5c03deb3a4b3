"""What the pages say of the source tree: its rooms, which way imports point, and its pages."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import Any

import pytest

from fastpaca.http.states import READS, WRITES, ReadState, WriteState
from tests.docs.pages import DOCS, ROOT, Page

CONTRIBUTING = Page(ROOT / "CONTRIBUTING.md")
ARCHITECTURE = Page(DOCS / "architecture.md")
PACKAGE = ROOT / "src" / "fastpaca"


def _contracts() -> dict[str, dict[str, Any]]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract for contract in contracts}


def _rooms() -> set[str]:
    """Give the modules and packages of the package, as pages name them."""
    found = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    return {name for name in found if not name.startswith("__")}


@pytest.mark.parametrize("page", [CONTRIBUTING, ARCHITECTURE], ids=repr)
def test_imports_point_the_way_that_is_checked(page: Page) -> None:
    """
    The chain of rooms on a page is that of the contract by which imports are checked.
    """
    layers = " > ".join(re.sub(r"[()]", "", layer) for layer in _contracts()["layers"]["layers"])
    chains = [line.strip() for line in page.text.splitlines() if line.count(" > ") > 3]
    assert chains == [layers]


def test_every_room_has_its_line() -> None:
    """
    Whoever looks for a room finds on both pages what it holds; and no room that is not there.
    """
    named = re.findall(r"^    src/fastpaca/(\S+)", CONTRIBUTING.text, re.MULTILINE)
    small = {
        "errors.py",
        "files.py",
        "ids.py",
        "ranges.py",
        "telemetry/",
        "clock.py",
        "testing.py",
    }
    assert set(named) == _rooms() - small
    rows = [name for row in ARCHITECTURE.rows("The rooms") for name in row[0].split(", ")]
    assert sorted(name.strip("`") for name in rows) == sorted(_rooms())


def test_modules_that_the_architecture_names_exist() -> None:
    """
    A module named by its room is there.
    """
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", ARCHITECTURE.text))
    assert len(named) > 5
    missing = {name for name in named if not any((r / name).exists() for r in (PACKAGE, ROOT))}
    assert not missing


def test_states_of_a_connection_are_those_of_the_code() -> None:
    """
    The page has every state of a connection, and every step between them.
    """
    rows = [[cell.strip("`") for cell in row] for row in ARCHITECTURE.rows("The HTTP server")]
    states = [(state, "reading") for state in ReadState] + [
        (state, "writing") for state in WriteState
    ]
    steps = [
        [before, step, after]
        for table in (READS, WRITES)
        for before, row in table.items()
        for step, after in row.items()
    ]
    assert [(row[0], row[1]) for row in rows[: len(states)]] == states
    assert [row for row in rows[len(states) :] if row[0] != "from"] == steps


def _files(text: str) -> list[str]:
    """Return the paths that *text* names; the name of a test may follow one."""
    spans = re.findall(r"`([^`\s]+)`", text)
    return [span for span in spans if re.search(r"/|\.(py|md|json|yaml|ts)$", span)]


def _missing(named: list[str]) -> set[str]:
    return {name for name in named if not any((r / name).exists() for r in (PACKAGE, ROOT))}


def test_walk_through_the_code_leads_to_files() -> None:
    """
    The walk has nine steps; each begins with the file to read, and every file that it names exists.
    """
    steps = re.findall(
        r"^\d+\. (.+)$", ARCHITECTURE.section("Where to start reading"), re.MULTILINE
    )
    assert len(steps) == 9
    for step in steps:
        assert _files(step), step
        assert step.startswith(f"`{_files(step)[0]}`")
        assert not _missing(_files(step)), step


def test_each_kind_of_change_leads_to_files() -> None:
    """
    The table of changes has a row for each kind, with files and tests, and all of them exist.
    """
    rows = ARCHITECTURE.rows("Where does it go")
    kinds = ["route", "policy", "shape of a provider", "store", "setting", "metric", "error"]
    assert [row[0] for row in rows if row[0] in kinds] == kinds
    for kind, change, tests, generated in rows:
        assert len(_files(change)) > 1, kind
        assert _files(tests), kind
        assert not _missing(_files(change + tests + generated)), kind


def test_every_page_is_named_where_readers_begin() -> None:
    """
    The first page leads to all others, and the README leads to it.
    """
    links = {link.partition("#")[0] for _, link in Page(DOCS / "index.md").links}
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} <= links
    assert "docs/index.md" in {link for _, link in Page(ROOT / "README.md").links}


def test_no_merge_is_left_half_done() -> None:
    """
    No file of the tree holds the marks that git leaves where it could not merge.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no clone")
    marks = r"^(<{7} |={7}$|>{7} )"
    found = subprocess.run(
        ["git", "grep", "-lIE", marks], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
    assert found.returncode == 1, found.stderr
