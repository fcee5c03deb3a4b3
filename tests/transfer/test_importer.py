"""Imports that are interrupted, that find something else, or that others get in the way of."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from fastpaca.engine.rows import rebuilt
from fastpaca.store.base import Change, CommitFailed, PageBounds, Snapshot, Store
from fastpaca.store.memory import MemoryStore
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import ManualClock, composed, running
from fastpaca.transfer.history import PAGE, row_of
from fastpaca.transfer.importer import ImportRefused
from tests.kit.messages import HELLO, assistant
from tests.kit.stores import opened
from tests.transfer.killed import BOUNDS
from tests.transfer.world import differences, exported, imported, live, save

SEEDS = 2

ROOT = Path(__file__).parents[2]


def test_killed_imports_go_on(tmp_path: Path, seed: int) -> None:
    """
    However often an import is killed, what it leaves is what contexts once were, closed for
    writing or whole, and the next one goes on from there until all is the same.
    """
    rng = Random(seed)
    lived = SqliteStore(tmp_path / "lived")
    asyncio.run(live(lived, rng, steps=30))
    path = tmp_path / "contexts.jsonl"
    path.write_bytes(asyncio.run(exported(lived)))
    target = tmp_path / "moved"
    kills = halves = 0
    while _killed(path, target, rng):
        kills += 1
        halves += asyncio.run(_halves(SqliteStore(target), lived))
    assert kills > 2
    assert halves > 0
    assert asyncio.run(exported(SqliteStore(target))) == path.read_bytes()


def _killed(path: Path, target: Path, rng: Random) -> bool:
    """Import for some commits; tell whether that was not enough."""
    when = rng.choice(("before", "after"))
    command = [sys.executable, "-m", "tests.transfer.killed", str(path), str(target)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [*command, str(rng.randint(2, 8)), when], env=environment, cwd=ROOT, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


async def _halves(target: Store, lived: Store) -> int:
    """Hold each context of *target* to what it was in *lived* at that version; count halves."""
    halves = 0
    async with opened(target), opened(lived):
        for row in await target.contexts("", "", 100):
            now = await lived.load(row.id)
            here = await target.load(row.id)
            assert now is not None
            assert here is not None
            if row.version < now.row.version:
                halves += 1
                assert row.status == "tombstoned"
            then = await lived.load_at(row.id, row.version)
            assert then is not None
            assert rebuilt(here).window.entries == rebuilt(then).window.entries
            assert (row.last_seq, row.spoken_at_us) == (then.row.last_seq, then.row.spoken_at_us)
    return halves


class Failing(SqliteStore):
    """A store that takes so many commits and no more."""

    commits_left = 0

    async def commit(self, changes: Sequence[Change]) -> None:
        if self.commits_left == 0:
            raise CommitFailed("the disk is full")
        self.commits_left -= 1
        await super().commit(changes)


async def _file(path: Path, *messages: int) -> MemoryStore:
    """Write an export of contexts `c0`, `c1` … with so many messages each; give its store."""
    store = MemoryStore()
    async with running(composed(store)) as client:
        for number, count in enumerate(messages):
            await client.put(f"/v1/contexts/c{number}", json={"metadata": {"n": number}})
            for _ in range(count):
                await client.post(f"/v1/contexts/c{number}/messages", json={"message": HELLO})
    save(path, await exported(store))
    return store


async def _interrupted(store: Failing, path: Path, commits: int) -> None:
    """Import into *store* until its disk is full, after so many commits; then there is room."""
    store.commits_left = commits
    async with opened(store):
        with pytest.raises(CommitFailed):
            await imported(store, path, BOUNDS)
    store.commits_left = 100


async def test_half_a_context_takes_no_writes(tmp_path: Path) -> None:
    """
    What an import has not finished can be read and not be written, and is open once it is whole.
    """
    path = tmp_path / "f"
    await _file(path, 9)
    store = Failing(tmp_path / "data")
    await _interrupted(store, path, 2)
    async with running(composed(store)) as client:
        assert (await client.get("/v1/contexts/c0")).json()["version"] == 6
        refused = await client.post("/v1/contexts/c0/messages", json={"message": HELLO})
        assert refused.json()["error"] == "tombstoned"
    async with opened(store):
        await imported(store, path, BOUNDS)
    async with running(composed(store)) as client:
        taken = await client.post("/v1/contexts/c0/messages", json={"message": HELLO})
        assert taken.json()["seq"] == 10


async def test_every_commit_leaves_what_once_was(tmp_path: Path) -> None:
    """
    After each commit of an import the context is as it was at that version, also where whole pages
    of its history are compactions.
    """
    path = tmp_path / "f"
    clock = ManualClock()
    lived = MemoryStore()
    async with running(composed(lived, clock=clock)) as client:
        await client.put("/v1/contexts/c0")
        for step in range(16):
            clock.advance(1)
            if 4 <= step < 12:
                body: object = {"replacement": [HELLO] * (step % 3)}
                await client.post("/v1/contexts/c0/compact", json=body)
            else:
                await client.post("/v1/contexts/c0/messages", json={"message": HELLO})
    save(path, await exported(lived))
    store = Failing(tmp_path / "data")
    for _ in range(5):
        await _interrupted(store, path, 1)
        assert await _halves(store, lived) == 1
    async with opened(store):
        await imported(store, path, BOUNDS)
        assert await differences(store, path) == []


async def test_half_a_context_is_finished_from_a_later_export(tmp_path: Path) -> None:
    """
    A context that went on, and was configured anew, after its first export was interrupted in the
    other store is finished there as it is now.
    """
    first, later = tmp_path / "first", tmp_path / "later"
    lived = await _file(first, 9)
    store = Failing(tmp_path / "data")
    await _interrupted(store, first, 1)
    async with running(composed(lived)) as client:
        await client.put("/v1/contexts/c0", json={"token_budget": 17, "metadata": {"new": 1}})
        await client.post("/v1/contexts/c0/messages", json={"message": HELLO})
    save(later, await exported(lived))
    async with opened(store):
        await imported(store, later, BOUNDS)
        assert await differences(store, later) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("PUT", "", {"token_budget": 9}, "its token_budget is 9, and 8000 in the file"),
        ("PATCH", "/metadata", {"metadata": {"x": 1}}, "its metadata is "),
        ("POST", "/messages", {"message": HELLO}, "its version is 5, and 4 in the file"),
        ("DELETE", "", None, "its status is 'tombstoned', and 'active' in the file"),
    ],
)
async def test_another_context_is_left_alone(
    tmp_path: Path, method: str, path: str, body: object, told: str
) -> None:
    """
    A context that has gone another way since it was imported is named with what differs, and stays
    as it is; so is it by a comparison.
    """
    file = tmp_path / "f"
    await _file(file, 2, 4)
    store = MemoryStore()
    await imported(store, file)
    clock = ManualClock()
    async with running(composed(store, clock=clock)) as client:
        answer = await client.request(method, f"/v1/contexts/c1{path}", json=body)
        assert answer.is_success
    before = await exported(store)
    with pytest.raises(ImportRefused, match=told):
        await imported(store, file)
    assert await exported(store) == before
    (difference,) = await differences(store, file)
    assert difference.startswith("context 'c1': ")
    assert told in difference


@pytest.mark.parametrize("versions", [1, 2, 9])
async def test_another_history_is_left_alone(tmp_path: Path, versions: int) -> None:
    """
    A context that looks the same and has another message in its log is not taken for the same.
    """
    file, other = tmp_path / "f", tmp_path / "g"
    await _file(file, 5)
    lines = file.read_bytes().splitlines(keepends=True)
    store = MemoryStore()
    await imported(store, file)
    # Of two nodes with the same clock, one was told something else.
    held = store._contexts["c0"]
    held.messages[3] = held.messages[3]._replace(body=held.messages[3].body.replace(b"H", b"J"))
    save(other, await exported(store))
    assert other.read_bytes().splitlines(keepends=True)[:5] == lines[:5]
    with pytest.raises(ImportRefused, match="the message of version 4 differs in body"):
        await imported(store, file, PageBounds(versions, PAGE.bytes))
    (difference,) = await differences(store, file)
    assert difference == "context 'c0': the message of version 4 differs in body"


async def test_a_purged_id_is_not_used_again(tmp_path: Path) -> None:
    """
    A context that the store has purged is refused, and the comparison misses it.
    """
    file = tmp_path / "f"
    await _file(file, 1)
    store = MemoryStore()
    await imported(store, file)
    async with running(composed(store)) as client:
        await client.delete("/v1/contexts/c0?purge=true")
    with pytest.raises(ImportRefused, match="has purged the context 'c0'"):
        await imported(store, file)
    assert await differences(store, file) == ["context 'c0': the store does not have it"]


async def test_a_lost_message_of_a_replacement_is_noticed(tmp_path: Path) -> None:
    """
    A window that the store makes of other rows than the file has is named.
    """
    file = tmp_path / "f"
    lived = await _file(file, 2)
    async with running(composed(lived)) as client:
        summary = assistant("In short.")
        await client.post("/v1/contexts/c0/compact", json={"replacement": [summary]})
    save(file, await exported(lived))
    store = MemoryStore()
    await imported(store, file)
    held = store._contexts["c0"]
    (row,) = held.synthetics.values()
    held.synthetics[3, 0] = row._replace(body=row.body.replace(b"short", b"fine"))
    (difference,) = await differences(store, file)
    assert "the message of a replacement of version 3 differs in body" in difference


class Forgetful(MemoryStore):
    """A store that loses the beginning of windows that it loads."""

    async def load(self, context_id: str) -> Snapshot | None:
        found = await super().load(context_id)
        return None if found is None else found._replace(messages=found.messages[1:])


async def test_another_window_is_noticed(tmp_path: Path) -> None:
    """
    Where all rows are the same, and a node would make another window of them, that is named.
    """
    file = tmp_path / "f"
    await _file(file, 3)
    store = Forgetful()
    await imported(store, file)
    assert await differences(store, file) == ["context 'c0': its window differs"]


async def test_a_tombstone_of_its_own_is_not_taken_for_half(tmp_path: Path) -> None:
    """
    A context that was imported whole and then deleted stays deleted, though its source went on.
    """
    first, later = tmp_path / "first", tmp_path / "later"
    lived = await _file(first, 3)
    store = MemoryStore()
    await imported(store, first, BOUNDS)
    async with running(composed(store)) as client:
        await client.delete("/v1/contexts/c0")
    async with running(composed(lived)) as client:
        await client.post("/v1/contexts/c0/messages", json={"message": HELLO})
    save(later, await exported(lived))
    with pytest.raises(ImportRefused, match="its status is 'tombstoned'"):
        await imported(store, later, BOUNDS)


class Overtaking(MemoryStore):
    """A store into which somebody else is always faster."""

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        await super().commit(changes)


async def test_somebody_else_at_the_same_time_is_named(tmp_path: Path) -> None:
    """
    Where another writer is faster, the import says so instead of mixing with what is there.
    """
    file = tmp_path / "f"
    await _file(file, 1)
    with pytest.raises(ImportRefused, match="another writer changed the context 'c0'"):
        await imported(Overtaking(), file)


async def test_rows_are_found_without_their_windows() -> None:
    """
    The row of an id is that of the very id, not of one that begins with it.
    """
    store = MemoryStore()
    async with running(composed(store)) as client:
        await client.put("/v1/contexts/ab")
    assert await row_of(store, "a") is None
    assert (await row_of(store, "ab")) is not None
