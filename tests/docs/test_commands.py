"""What a reader pastes into a terminal works, and is answered as the page shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import Page, pages

SHOWN_NODE = "http://127.0.0.1:4000"
TIMES = ("created_at", "updated_at", "inserted_at", "at")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Command(NamedTuple):
    """Commands to paste, and the answer that the page shows below them, if it shows one."""

    page: str
    line: int
    script: str
    answer: str | None


def commands(page: Page) -> list[Command]:
    """Give the blocks of *page* that speak to a node with curl."""
    found = []
    for block, after in zip_longest(page.blocks, page.blocks[1:]):
        if block.language == "sh" and block.text.startswith("curl "):
            shown = after is not None and after.language in {"json", "text"}
            answer = after.text if shown and after is not None else None
            found.append(Command(page.name, block.line, block.text, answer))
    return found


WITH_COMMANDS = [page for page in pages() if commands(page)]


def test_the_first_pages_have_commands() -> None:
    """
    The pages that a reader starts with can be followed in a terminal.
    """
    names = {page.name for page in WITH_COMMANDS}
    assert {"docs/quickstart.md", "docs/getting-started.md", "docs/shorten-and-delete.md"} <= names


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=repr)
def test_commands_are_answered_as_shown(page: Page, fresh_node: str, tmp_path: Path) -> None:
    """
    Pasted in their order into a terminal beside a new node, the commands of a page are answered
    with what stands below them, times aside.
    """
    for command in commands(page):
        answer = _pasted(command.script, fresh_node, tmp_path)
        where = f"{command.page}:{command.line}"
        if command.answer is None:
            assert '"error"' not in answer, f"{where} is answered with {answer}"
        elif command.answer.startswith("HTTP/"):
            assert answer.splitlines()[0].strip() == command.answer, where
        else:
            assert _timeless(answer) == _timeless(command.answer), where


def _pasted(script: str, node: str, home: Path) -> str:
    """Run *script* in a shell, against *node*, and give what it prints."""
    done = subprocess.run(
        ["sh", "-eu", "-c", script.replace(SHOWN_NODE, node)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        # Nothing of the machine's own curl: no .curlrc, no proxy.
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin", "HOME": str(home)},
    )
    return done.stdout


def _timeless(text: str) -> object:
    """Read JSON with a mark in place of each time, once it looks like one."""

    def marked(found: dict[str, object]) -> dict[str, object]:
        for key in TIMES:
            if key in found:
                assert TIME.fullmatch(str(found[key])), f"{key}: {found[key]}"
                found[key] = "a time"
        return found

    return json.loads(text, object_hook=marked)
