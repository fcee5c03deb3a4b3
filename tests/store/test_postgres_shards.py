"""
A database of several servers ends a transaction on one after the other.

What a lost commit has left is read from all of them, and nothing is told before all agree.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import asyncpg
import pytest

from fastpaca.store.base import Change, CommitUnknown, PageBounds
from fastpaca.store.postgres.rows import PostgresBatch, hashed
from fastpaca.store.postgres.session import Session
from fastpaca.store.postgres.statements import COMMIT_IDS_KEPT
from fastpaca.store.postgres.writes import OutcomeOpen, find_out, write
from tests.kit.author import ALL, Author
from tests.kit.postgres import Server, run_sql, until_waiting
from tests.store.contract import loaded_row
from tests.store.test_postgres_outcome import COMMIT, World, world

SECONDS = 10

LANDED, NOT_LANDED, FORGOTTEN = True, False, None


async def prepared(dsn: str, change: Change) -> None:
    """Write *change* in a transaction that holds its rows, and that nobody can see yet."""
    connection = await asyncpg.connect(dsn, connection_class=Session)
    await write(connection, PostgresBatch([change]), SECONDS)
    await connection.execute("PREPARE TRANSACTION 'late'")
    await connection.close()


async def in_halves(it: World, dsn: str, second: Author) -> asyncio.Task[None]:
    """
    Begin a commit whose answer is lost, and which has ended for the first of two contexts only.

    The store itself can reach the database when this returns.
    """
    changes = [it.old.append(count=2), second.append(count=2)]
    it.proxy.cut(COMMIT, "before", accepts=False)
    task = asyncio.create_task(it.store.commit(changes))
    await it.proxy.held.wait()
    await it.other.commit(changes[:1])
    await prepared(dsn, changes[1])
    it.proxy.accepts = True
    return task


def after(name: str) -> str:
    """Find an id whose row stands behind that of the context *name*."""
    return next(n for n in map(str, range(99)) if hashed(n) > hashed(name))


@pytest.mark.parametrize("kind", ["existing", "new"])
async def test_nothing_is_acknowledged_before_all_can_see_it(
    safe_server: Server, safe_dsn: str, kind: str
) -> None:
    """A commit that has landed on one server is not told while another only has it prepared."""
    async with world(safe_server, safe_dsn) as it:
        second = Author(after("old"))
        if kind == "existing":
            await it.other.commit([second.create()])
        task = await in_halves(it, safe_dsn, second)
        await until_waiting(safe_dsn)
        assert not task.done()
        assert await it.other.messages(second.row.id, 1, ALL, PageBounds(9, ALL)) == []
        await run_sql(safe_dsn, "COMMIT PREPARED 'late'")
        await task
        for author in (it.old, second):
            assert await loaded_row(it.store, author.row.id) == author.row
            assert await it.store.messages(author.row.id, 1, ALL, PageBounds(9, ALL)) == author.log


@pytest.mark.parametrize("end", ["ROLLBACK PREPARED 'late'", None])
async def test_half_a_commit_is_no_outcome(
    safe_server: Server, safe_dsn: str, end: str | None
) -> None:
    """If not all servers come to the same end in time, neither success nor failure is told."""
    async with world(safe_server, safe_dsn, resolve_seconds=1) as it:
        second = Author(after("old"))
        await it.other.commit([second.create()])
        task = await in_halves(it, safe_dsn, second)
        if end is not None:
            await run_sql(safe_dsn, end)
        with pytest.raises(CommitUnknown):
            await task
        if end is None:
            await run_sql(safe_dsn, "ROLLBACK PREPARED 'late'")


class Shards:
    """
    A connection to a database that answers about each context what a test says.

    Attributes:
        states: What each context says: its revision and the ids of its commits, or an error.
        ended: How the transaction ended.
        asked: The contexts that were asked.
    """

    begin = "BEGIN"

    def __init__(self, states: dict[bytes, tuple[int, bytes] | Exception]) -> None:
        self.states = states
        self.ended = ""
        self.asked: list[bytes] = []

    async def execute(self, sql: str, *_: object, **_options: object) -> str:
        if sql != "BEGIN":
            self.ended = sql
        return sql

    async def fetch(self, sql: str, ids: list[bytes], *_: object, **_options: object) -> list[Any]:
        await asyncio.sleep(0)
        assert sql.split()[:2] == ["UPDATE", "fastpaca.contexts"]
        self.asked += ids
        found = []
        for context_id in ids:
            state = self.states[context_id]
            if isinstance(state, Exception):
                raise state
            found.append((context_id, *state))
        return found

    def add_log_listener(self, _: object) -> None:
        """Take who wants to hear of warnings; there are none."""

    def remove_log_listener(self, _: object) -> None:
        """Forget who wanted to hear of warnings."""


def asked_of(*testimonies: bool | None) -> tuple[Shards, PostgresBatch]:
    """Make a commit of as many contexts, and a database that has it or not, context by context."""
    changes, states = [], {}
    for number, told in enumerate(testimonies):
        author = Author(f"c{number}")
        author.create()
        changes.append(author.append(count=1))
        mine, filler = author.row.commit_id, b"\xff" * 16
        states[hashed(author.row.id)] = {
            LANDED: (2, mine + filler),
            NOT_LANDED: (1, filler),
            FORGOTTEN: (2 + COMMIT_IDS_KEPT, filler * COMMIT_IDS_KEPT),
        }[told]
    return Shards({**states}), PostgresBatch(changes)


@pytest.mark.parametrize(
    ("testimonies", "landed"),
    [
        ((LANDED, LANDED, LANDED), LANDED),
        ((LANDED, FORGOTTEN, LANDED), LANDED),
        ((NOT_LANDED, NOT_LANDED), NOT_LANDED),
        ((FORGOTTEN, NOT_LANDED), NOT_LANDED),
        ((FORGOTTEN, FORGOTTEN), FORGOTTEN),
    ],
)
async def test_all_contexts_are_asked(
    testimonies: tuple[bool | None, ...], landed: bool | None
) -> None:
    """The answer is that of all who know, and what was only visible is made safe."""
    shards, batch = asked_of(*testimonies)
    assert await find_out(shards, batch, SECONDS) is landed
    assert sorted(shards.asked) == sorted(batch.ids)
    assert shards.ended == ("COMMIT" if landed else "ROLLBACK")


@pytest.mark.parametrize("first", [LANDED, NOT_LANDED])
async def test_contexts_that_disagree_tell_nothing(first: Literal[True, False]) -> None:
    """Some have the commit and some have not: whoever asks has to ask again."""
    shards, batch = asked_of(first, not first, first)
    with pytest.raises(OutcomeOpen):
        await find_out(shards, batch, SECONDS)
    assert shards.ended == "ROLLBACK"


async def test_a_context_that_does_not_answer_leaves_it_open() -> None:
    """Of a server that is away nothing is concluded from what the others say."""
    shards, batch = asked_of(LANDED, LANDED)
    shards.states[hashed("c1")] = asyncpg.QueryCanceledError(
        "statement timeout"
    )  # it is the test's own
    with pytest.raises(asyncpg.QueryCanceledError):
        await find_out(shards, batch, SECONDS)
