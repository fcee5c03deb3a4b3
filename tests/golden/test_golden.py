"""
What a release has written stays readable for ever, to the byte, and goes on as it would have.

Every folder beside this file is the work of one release; `make.py` says how it comes to be.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fastpaca.api.views import VIEW_RULES
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite.files import DATABASE_NAME
from fastpaca.store.sqlite.store import SqliteStore
from tests.golden import make, story
from tests.golden.exchange import Ask, Exchange, read

FOLDERS = sorted(path.parent for path in make.HERE.glob("*/about.json"))
BYTES_MAX = 250_000


class Golden(NamedTuple):
    """
    What a release has written, and a copy of its database that a test may work with.

    Attributes:
        folder: What is never touched.
        directory: Where the copy is.
    """

    folder: Path
    directory: Path

    @property
    def about(self) -> dict[str, Any]:
        """Which release it was, and the rules by which it made views."""
        found: dict[str, Any] = json.loads((self.folder / "about.json").read_text())
        return found

    def told(self, part: str) -> list[Exchange]:
        """Give a part of the story, with the answers that the release gave."""
        return read(self.folder / f"{part}.jsonl.gz")

    def answered(self, *parts: str) -> list[Exchange]:
        """Give what today's code answers to *parts* of the story, from the copy."""
        return lived(SqliteStore(self.directory), self.asks(*parts))

    def asks(self, *parts: str) -> list[Ask]:
        return [exchange.ask for part in parts for exchange in self.told(part)]

    def check(self, found: list[Exchange], *parts: str) -> None:
        """Hold what was *found* against what the release answered, as far as it was promised."""
        expected = [exchange for part in parts for exchange in self.told(part)]
        assert len(found) == len(expected)
        for now, then in zip(found, expected, strict=True):
            assert promised(now) == promised(then)
            # A tag names the rules that made the view, so that it changes with them, and only so.
            is_same = now.headers.get("etag") == then.headers.get("etag")
            assert is_same == (self.about["view_rules"] == VIEW_RULES or "etag" not in now.headers)


def lived(store: SqliteStore | MemoryStore, asks: list[Ask]) -> list[Exchange]:
    return asyncio.run(make.live(store, asks))


def promised(exchange: Exchange) -> Exchange:
    """Leave out what a release may change: the tags of views, and the sentences of errors."""
    headers = {name: value for name, value in exchange.headers.items() if name != "etag"}
    answer = exchange.answer
    if exchange.status >= 400:
        error = json.loads(answer)
        assert error.pop("message")
        answer = json.dumps(error)
    return exchange._replace(headers=headers, answer=answer)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Golden]:
    """Give what a release has written, and see that nobody touches it."""
    before = digests(request.param)
    shutil.copyfile(request.param / DATABASE_NAME, tmp_path / DATABASE_NAME)
    yield Golden(request.param, tmp_path)
    assert digests(request.param) == before


# --- what is there ----------------------------------------------------------------------------


def test_there_is_a_golden_database() -> None:
    """
    There is at least one, and each is named for the release that wrote it.
    """
    assert FOLDERS
    for folder in FOLDERS:
        assert json.loads((folder / "about.json").read_text())["release"] == folder.name


def test_golden_database_is_small_and_whole(golden: Golden) -> None:
    """
    The file stands alone, without a log, and is small; no table but the archive's is empty.
    """
    names = {"about.json", DATABASE_NAME, "life.jsonl.gz", "reads.jsonl.gz", "sequel.jsonl.gz"}
    assert set(digests(golden.folder)) == names
    empty = make.empty_tables(golden.folder / DATABASE_NAME)
    assert [name for name in empty if not name.startswith("archive_")] == []
    assert sum(path.stat().st_size for path in golden.folder.iterdir()) < BYTES_MAX


def test_golden_story_went_as_it_was_meant(golden: Golden) -> None:
    """
    Nothing was refused while the file was written, and the reads met every outcome.
    """
    assert {exchange.status for exchange in golden.told("life")} == {200, 201, 204}
    told = golden.told("reads")
    assert {exchange.status for exchange in told} == {200, 201, 404, 409}
    fits = {json.loads(exchange.answer).get("fit") for exchange in told}
    assert fits >= {"whole", "dropped", "cut", "empty"}
    codes = {json.loads(exchange.answer).get("error") for exchange in told}
    assert codes >= {"purged", "tombstoned", "idempotency_conflict", "not_found"}
    assert sum("idempotent-replayed" in exchange.headers for exchange in told) == len(story.KEYED)


# --- what it says -----------------------------------------------------------------------------


def test_every_read_is_answered_as_it_was(golden: Golden) -> None:
    """
    Today's code reads from the file, to the byte, what the release that wrote it knew.
    """
    golden.check(golden.answered("reads"), "reads")


def test_reading_changes_nothing(golden: Golden) -> None:
    """
    Opened, migrated, read and closed, the file is read the same a second time.
    """
    golden.answered("reads")
    golden.check(golden.answered("reads"), "reads")


def test_life_goes_on_as_it_would_have(golden: Golden) -> None:
    """
    Appends that trim, late results, replacements: all come to what they came to in the memory of
    the release that wrote the file, which had never let go of it; and so after one more restart.
    """
    golden.check(golden.answered("sequel"), "sequel")
    again = [ask for ask in golden.asks("sequel") if ask.method == "GET"]
    last = {exchange.ask: exchange for exchange in golden.told("sequel")}
    for exchange in lived(SqliteStore(golden.directory), again):
        assert promised(exchange) == promised(last[exchange.ask])


def test_every_step_alone_goes_on_as_it_would_have(golden: Golden) -> None:
    """
    The same, with a restart before every step: each builds its window anew from what is stored.
    """
    steps = [exchange for exchange in golden.told("sequel") if exchange.ask.method != "GET"]
    for step in steps:
        (now,) = lived(SqliteStore(golden.directory), [step.ask])
        assert promised(now) == promised(step)
    reads = [exchange for exchange in golden.told("sequel") if exchange.ask.method == "GET"]
    found = lived(SqliteStore(golden.directory), [exchange.ask for exchange in reads])
    assert [*map(promised, found)] == [*map(promised, reads)]


def test_memory_comes_to_the_same(golden: Golden) -> None:
    """
    Today's code, told the whole story in memory, comes to what is in the file and to its sequel.
    """
    parts = ("life", "reads", "sequel")
    golden.check(lived(MemoryStore(), golden.asks(*parts)), *parts)


def test_sequel_trims(golden: Golden) -> None:
    """
    The messages of the sequel do make windows smaller, under every policy that trims.
    """
    for name in story.TRIMMED:
        before, after = (window(golden, part, name) for part in ("reads", "sequel"))
        assert before - after, name


def window(golden: Golden, part: str, name: str) -> set[str]:
    """Give the messages of a window as they are read in a *part* of the story."""
    asked = f"{story.target(name)}/context"
    (answer,) = [one.answer for one in golden.told(part) if one.ask.target == asked]
    return {json.dumps(message) for message in json.loads(answer)["messages"]}


def test_unfinished_erasure_is_finished(golden: Golden) -> None:
    """
    What a purge had left when its process ended is gone from the file once it was opened again.
    """
    database = golden.directory / DATABASE_NAME
    assert story.SECRET.encode() in database.read_bytes()
    golden.answered("reads")
    assert story.SECRET.encode() not in database.read_bytes()
    assert "erasures" in make.empty_tables(database)


# --- how it comes to be -----------------------------------------------------------------------


def test_making_it_twice_makes_the_same(tmp_path: Path) -> None:
    """
    The same code writes the same bytes.
    """
    for name in ("first", "second"):
        make.make(tmp_path / name)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_what_is_released_is_not_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A release has one golden database: the second time, the script refuses and touches nothing.
    """
    assert make.main(tmp_path) == 0
    (folder,) = tmp_path.iterdir()
    before = digests(folder)
    assert make.main(tmp_path) == 1
    assert "never changes" in capsys.readouterr().err
    assert digests(folder) == before
