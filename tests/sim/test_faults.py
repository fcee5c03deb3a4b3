"""
Whatever fails of a disk, nothing acknowledged is lost, and no failure is taken for a success.

The engine and the SQLite store live a random life while writes, syncs, truncations or reads fail,
once or from then on. Afterwards the files are opened again without faults: there is every commit
that was confirmed, none that was said to have failed, and of those whose outcome nobody knew each
is there as a whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from fastpaca.store.base import CommitFailed
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.faulty import sqlite_error
from tests.kit.stores import opened
from tests.sim.disk import Disk
from tests.sim.story import Story, all_keys, check_batches, content, content_after

BURSTS = 25

ERRORS: dict[str, list[tuple[type[apsw.Error], int]]] = {
    "write": [(apsw.FullError, apsw.SQLITE_FULL), (apsw.IOError, apsw.SQLITE_IOERR_WRITE)],
    "sync": [(apsw.IOError, apsw.SQLITE_IOERR_FSYNC)],
    "truncate": [(apsw.IOError, apsw.SQLITE_IOERR_TRUNCATE)],
    "read": [(apsw.IOError, apsw.SQLITE_IOERR_READ), (apsw.CorruptError, apsw.SQLITE_CORRUPT)],
}


async def fail_once(folder: Path, seed: int) -> str:
    """Live through one kind of failure; gives what failed and what became of it."""
    rng = random.Random(seed)
    what = rng.choice(sorted(ERRORS))
    kind, code = rng.choice(ERRORS[what])
    first, length = rng.randint(1, 80), rng.choice([1, 1, 3, 10**9])
    numbers = itertools.count()

    def fault(done: str, name: str) -> None:
        if done == what and first <= next(numbers) < first + length:
            raise sqlite_error(kind, code)

    disk = Disk(rng=random.Random(rng.random()))
    store = SqliteStore(folder, vfs=disk.name)
    story = Story(rng, store)
    await story.engine.start()
    disk.fault = fault
    await story.play_on(BURSTS)
    disk.fault = None
    await story.engine.stop()
    disk.eject()
    await _check_found(folder, story)
    if not story.store.failed and not story.store.unknown:
        check_batches(story.done)
    fate = "unknown" if story.store.unknown else "failed" if story.store.failed else "unharmed"
    return f"{what} {fate}"


async def _check_found(folder: Path, story: Story) -> None:
    recorder = story.store
    keys = all_keys(recorder.commits)
    async with opened(SqliteStore(folder)) as store:
        found = await content(store, keys)
    for landed in _subsets(recorder.unknown):
        numbers = sorted([*recorder.succeeded, *landed])
        with contextlib.suppress(CommitFailed):  # what came later rests on one that must be there
            if found == await content_after([recorder.commits[n] for n in numbers], keys):
                return
    raise AssertionError(
        f"what is there are not the {recorder.confirmed} confirmed commits, with or without "
        f"some of the {len(recorder.unknown)} of unknown outcome"
    )


def _subsets(numbers: list[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(numbers), -1, -1):
        yield from itertools.combinations(numbers, size)


def test_failures_are_told_as_they_are(tmp_path: Path, sim_seeds: range) -> None:
    """What was confirmed is there, what failed is not, and each kind of failure was met."""
    fates = set()
    for seed in sim_seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            fates.add(asyncio.run(fail_once(folder, seed)))
        except Exception as error:
            raise AssertionError(f"make sim SEED={seed}: {error}") from error
    if len(sim_seeds) >= 60:
        assert {"write failed", "sync unknown"} <= fates


@pytest.mark.parametrize("what", ["write", "sync"])
async def test_node_says_what_happened(tmp_path: Path, what: str) -> None:
    """A write that fails is unavailable and harmless; a sync that fails ends all writing."""
    kind, code = ERRORS[what][0]
    disk = Disk(rng=random.Random(1))
    story = Story(random.Random(1), SqliteStore(tmp_path, vfs=disk.name))
    await story.engine.start()
    await story.put("c0")

    def fault(done: str, name: str) -> None:
        if done == what and name.endswith("-wal"):
            raise sqlite_error(kind, code)

    disk.fault = fault
    refused = await story.append_code("c0")
    disk.fault = None
    assert refused == {"write": "unavailable", "sync": "outcome_unknown"}[what]
    assert story.engine.health[0] == {"write": "ok", "sync": "degraded"}[what]
    again = await story.append_code("c0")
    assert again == {"write": "201", "sync": "unavailable"}[what]
    await story.engine.stop()
    disk.eject()
