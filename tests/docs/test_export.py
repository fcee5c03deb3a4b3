"""The format of an export is described as it is, and the way to another store works as shown."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.transfer import format as export
from fastpaca.transfer.format import FORMAT, Line
from tests.docs.pages import page
from tests.transfer.world import everything, live

KINDS = {kind.__struct_config__.tag: kind for kind in Line.__args__}


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_those_of_lines(kind: str) -> None:
    """
    The page names each field of each kind of line, and no other.
    """
    section = page("export").section(kind)
    rows = [row[0] for row in page("export").rows(kind)]
    named = set(re.findall(r"`([a-z_]+)`", " ".join(rows) if rows else section))
    if not rows:
        named -= {"context", "whole"}  # kinds of lines that the prose speaks of
    assert named == set(KINDS[kind].__struct_fields__)


def test_the_page_describes_this_format() -> None:
    """
    The version on the page is the one that is written.
    """
    rows = {row[0]: row[1] for row in page("export").rows("header")}
    assert rows["`format`"] == f"the version of the format: {FORMAT}"
    assert set(KINDS) == set(page("export").headings) & set(KINDS)
    assert export.FORMAT == 1


async def test_the_way_to_another_store_works_as_it_stands(tmp_path: Path) -> None:
    """
    The commands of the page, with another directory for the database, move everything.
    """
    lived = SqliteStore(tmp_path / "lived")
    await live(lived, Random(3))
    (script,) = (b.text for b in page("export").blocks if b.text.startswith("fastpaca export"))
    *commands, serve = script.splitlines()
    assert serve.startswith("fastpaca serve ")
    for command in commands:
        _run(command, tmp_path)
    assert await everything(SqliteStore(tmp_path / "moved")) == await everything(lived)


def _run(command: str, directory: Path) -> None:
    for shown, used in (
        ("--data-dir /var/lib/fastpaca", "--data-dir lived"),
        ("--store postgresql://fastpaca@db/fastpaca", "--data-dir moved"),
        ("fastpaca ", f"{shlex.quote(sys.executable)} -m fastpaca "),
    ):
        command = command.replace(shown, used, 1)
    subprocess.run(["sh", "-eu", "-c", command], check=True, timeout=60, cwd=directory)
