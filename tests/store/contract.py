"""
The meaning of a store: what `fastpaca.store.base.Store` promises, as tests that every store runs.

A store's own test file derives a class from `StoreContract` and gives it the fixture `make_store`,
which makes stores that are not open yet. What only one store does is tested in its own file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from fastpaca.context import ContextState
from fastpaca.context.persisted import Persisted, Run
from fastpaca.context.window import segments
from fastpaca.engine import rows
from fastpaca.ranges import Range, contains
from fastpaca.store.base import (
    Change,
    ChangesPage,
    CommitFailed,
    ContextRow,
    Have,
    MessageRow,
    PageBounds,
    Store,
    message_id_hash,
)
from fastpaca.store.pages import bounded
from tests.context.conversation import image
from tests.context.telling import Told, tell
from tests.kit.author import (
    ALL,
    BEGINNING_US,
    ORIGINS,
    TOTALS,
    USAGES,
    Author,
    answer,
    body,
    create,
)
from tests.kit.stores import opened

MakeStore = Callable[[], Store]

MIB = 1024 * 1024


def on_store(
    test: Callable[[Any, Store], Awaitable[None]],
) -> Callable[[Any, MakeStore], None]:
    """Let an async test of an open store run as a plain test."""

    def run(self: object, make_store: MakeStore) -> None:
        asyncio.run(_run(self, make_store()))

    async def _run(self: object, store: Store) -> None:
        async with opened(store):
            await test(self, store)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def listed(store: Store, prefix: str = "", after: str = "", limit: int = ALL) -> list[str]:
    """List ids."""
    return [row.id for row in await store.contexts(prefix, after, limit)]


async def loaded_row(store: Store, context_id: str) -> ContextRow:
    """Load the row of a context that exists."""
    snapshot = await store.load(context_id)
    assert snapshot is not None
    return snapshot.row


async def refused(store: Store, *changes: Change) -> None:
    """Commit what must be refused."""
    with pytest.raises(CommitFailed):
        await store.commit(changes)


class LifeContract:
    """How a store begins and ends."""

    def test_close_without_open(self, make_store: MakeStore) -> None:
        """A store that never opened can be closed."""
        asyncio.run(make_store().close())

    @on_store
    async def test_close_twice(self, store: Store) -> None:
        """Closing twice is closing once."""
        await store.close()

    def test_name_is_for_people(self, make_store: MakeStore) -> None:
        """A store has a name before it is open."""
        assert make_store().name

    @on_store
    async def test_a_new_store_is_empty(self, store: Store) -> None:
        """Nothing is in a new store, and asking for it is no error."""
        assert await store.load("nobody") is None
        assert await store.contexts("", "", 10) == []
        assert await store.messages("nobody", 1, 10, PageBounds(10, ALL)) == []
        assert await store.messages_before("nobody", 10, PageBounds(10, ALL)) == []
        assert await store.path("nobody", [(1, 9)], 1, 9, PageBounds(10, ALL)) == []
        assert await store.places_of_id("nobody", message_id_hash("m"), [(1, 9)], 9) == []
        assert await store.revisions_of("nobody", [(1, 9)]) == []
        assert await store.idempotency_records(["nothing"]) == {}
        assert await store.load_at("nobody", 0) is None
        assert await store.load_since("nobody", Have(0, 0, [], frozenset())) is None
        assert await store.changes("nobody", 3, 9, PageBounds(9, ALL)) == ([], [], 3)
        assert await store.compactions("nobody", 0, 9, PageBounds(9, ALL)) == []


class LoadContract:
    """What a snapshot holds."""

    @on_store
    async def test_row_comes_back_as_committed(self, store: Store) -> None:
        """Every value of a row comes back exactly."""
        author = Author("c")
        change = author.create(
            token_budget=2**53 - 1,
            trigger_ratio=0.1 + 0.2,
            policy=b'{"strategy":"skip_parts","config":{"skip_kinds":["\xc3\xa9"]}}',
            metadata=b'{"a":1.0,"b":"\\u0000"}',
            commit_id=bytes(range(16)),
            created_at_us=1,
            updated_at_us=2**53 - 1,
            spoken_at_us=0,
        )
        await store.commit([change])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.row == change.row
        assert type(snapshot.row.trigger_ratio) is float
        assert (snapshot.window, snapshot.messages, snapshot.synthetics) == (None, [], [])

    @on_store
    async def test_revisions_are_those_of_the_rows(self, store: Store) -> None:
        """Of many ids asked for at once, those that exist are answered with their revisions."""
        one, _, gone = await create(store, "one", "two", "gone")
        await store.commit([one.append(count=1), gone.purge()])
        found = await store.revisions(["one", "nobody", "two", "gone"])
        assert found.pop("gone") > 0
        assert found == {"one": 2, "two": 1}
        assert await store.revisions([]) == {}

    @on_store
    async def test_whole_ratio_stays_a_float(self, store: Store) -> None:
        """A trigger ratio of 1.0 is not turned into the integer."""
        await store.commit([Author("c").create(trigger_ratio=1.0)])
        assert repr((await loaded_row(store, "c")).trigger_ratio) == "1.0"

    @on_store
    async def test_messages_come_back_byte_for_byte(self, store: Store) -> None:
        """Bodies and counts are kept as they are: escapes, scripts, the empty and the huge."""
        (author,) = await create(store, "c")
        bodies = [
            b"{}",
            b'{"text":"\\u0000 \\ud83d\\ude00"}',
            '{"text":"中文 עברית 😀 \uffff"}'.encode(),
            b'{"n":1.0,"big":1180591620717411303424}',
            b'{"text":"%s"}' % (b"m" * MIB),
            b"",
        ]
        await store.commit([author.append(*bodies)])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.messages == author.log
        assert [row.body for row in snapshot.messages] == bodies

    @on_store
    async def test_reports_come_back_with_their_messages(self, store: Store) -> None:
        """A report is part of the row of its message, and the sums are part of the context's."""
        (author,) = await create(store, "c")
        assert (await store.contexts("", "", 1))[0].usage == b"[]"
        await store.commit([author.append(count=3)])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.row == author.row
        assert snapshot.row.usage == TOTALS
        assert {row.usage for row in snapshot.messages} == set(USAGES)
        await store.commit([author.describe(b'{"a":1}')])
        assert await store.contexts("", "", 1) == [author.row]
        bounds = PageBounds(ALL, ALL)
        assert (await store.changes("c", 0, 3, bounds)).messages == author.log
        assert await store.messages("c", 1, 3, bounds) == author.log

    @on_store
    async def test_messages_come_back_with_their_origins(self, store: Store) -> None:
        """How each message came is part of its row, wherever the row is read."""
        (author,) = await create(store, "c")
        summaries = author.compact([Run(0, 0, replacement=1, first=0, last=3)], [b"{}"] * 4)
        await store.commit([summaries])
        await store.commit([author.append(count=4)])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert {row.origin for row in snapshot.messages} == set(ORIGINS)
        assert [row.origin for row in snapshot.synthetics] == list(ORIGINS)
        bounds = PageBounds(ALL, ALL)
        assert await store.messages("c", 1, 4, bounds) == author.log
        assert await store.messages_before("c", 5, bounds) == author.log
        assert (await store.changes("c", 1, 5, bounds)).messages == author.log
        diff = await store.load_since("c", Have(1, 0, [], frozenset()))
        assert diff is not None
        assert diff.messages == author.log

    @on_store
    async def test_without_compaction_the_window_needs_the_whole_log(self, store: Store) -> None:
        """A window that was never rewritten is rebuilt from all messages, also of many commits."""
        (author,) = await create(store, "c")
        for _ in range(5):
            await store.commit([author.append(count=3)])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.window is None
        assert snapshot.messages == author.log

    @on_store
    async def test_snapshot_holds_what_the_window_needs(self, store: Store) -> None:
        """Messages that the window does not refer to are left out; what came after it is in."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=20)])
        change = author.compact([Run(2, 3), Run(4, 4, without=((4, 0, 0),)), Run(9, 9)])
        await store.commit([change])
        await store.commit([author.append(count=2)])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.window == change.compactions[0].window
        assert [row.seq for row in snapshot.messages] == [2, 3, 4, 9, 21, 22]
        assert snapshot.messages == [author.log[seq - 1] for seq in (2, 3, 4, 9, 21, 22)]

    @on_store
    async def test_snapshot_holds_the_synthetics_of_the_window(self, store: Store) -> None:
        """Of all replacements ever made, those come that the window refers to, in order."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        first = author.compact([Run(1, 3, replacement=4)], [b"a0", b"a1", b"a2"])
        await store.commit([first])
        second = author.compact(
            [
                Run(1, 2, replacement=5, first=0, last=0),
                Run(1, 2, replacement=4, first=1, last=2),
            ],
            [b"b0", b"b1"],
        )
        await store.commit([second])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.synthetics == [*first.synthetics[1:], second.synthetics[0]]
        assert snapshot.messages == []

    @on_store
    async def test_last_compaction_of_a_commit_is_current(self, store: Store) -> None:
        """Of several compactions in one commit, the window of the last one counts."""
        (author,) = await create(store, "c")
        change = author.append(count=3)
        compactions = [author.compaction(version, [Run(version, version)]) for version in (1, 2, 3)]
        await store.commit([replace(change, compactions=compactions)])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.window == compactions[-1].window
        assert [row.seq for row in snapshot.messages] == [3]

    @on_store
    async def test_empty_window_needs_nothing(self, store: Store) -> None:
        """After a compaction to nothing, nothing is read until something new is appended."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        await store.commit([author.compact([])])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.messages == []

    @on_store
    async def test_configuration_and_metadata_change_apart(self, store: Store) -> None:
        """A new configuration leaves the metadata as they are, and the other way round."""
        (author,) = await create(store, "c")
        for number in range(5):
            configured = author.configure(token_budget=number + 1, policy=b"%d" % number)
            await store.commit([configured])
            assert await loaded_row(store, "c") == configured.row
            described = author.describe(b'{"n":"%s"}' % (b"x" * number * 3000))
            await store.commit([described])
            assert await loaded_row(store, "c") == described.row

    @on_store
    async def test_a_tombstoned_context_stays_readable(self, store: Store) -> None:
        """A tombstone changes the status and takes nothing away."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=2, records=[answer("k")])])
        await store.commit([author.tombstone()])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.row == author.row
        assert snapshot.row.status == "tombstoned"
        assert snapshot.messages == author.log
        assert await store.messages("c", 1, 2, PageBounds(10, ALL)) == author.log
        assert await listed(store) == ["c"]
        assert await store.idempotency_records(["k"]) == {"k": answer("k")}


class CommitContract:
    """All of a commit lands, or nothing."""

    @on_store
    async def test_nothing_to_commit(self, store: Store) -> None:
        """An empty commit is no error."""
        await store.commit([])

    @on_store
    async def test_many_contexts_in_one_commit(self, store: Store) -> None:
        """New and old contexts are written together."""
        authors = await create(store, *(f"old-{n}" for n in range(100)))
        news = [Author(f"new-{n}") for n in range(100)]
        await store.commit(
            [author.append(count=n % 3) for n, author in enumerate(authors)]
            + [author.create() for author in news]
        )
        for author in [*authors, *news]:
            assert await loaded_row(store, author.row.id) == author.row
            assert await store.messages(author.row.id, 1, ALL, PageBounds(10, ALL)) == author.log

    @on_store
    async def test_all_kinds_of_rows_in_one_change(self, store: Store) -> None:
        """A change may create, append, compact and keep answers at once."""
        author = Author("c")
        created = author.create()
        appended = author.append(count=3, records=[answer("a"), answer("b")])
        compacted = author.compact(
            [Run(1, 2, replacement=4), Run(3, 3)], [b"summary"], [answer("c")]
        )
        change = replace(
            compacted,
            expected_revision=created.expected_revision,
            row=replace(compacted.row, revision=1),
            config_changed=True,
            metadata_changed=True,
            messages=appended.messages,
            records=[*appended.records, *compacted.records],
        )
        await store.commit([change])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert snapshot.row == change.row
        assert [row.seq for row in snapshot.messages] == [3]
        assert snapshot.synthetics == change.synthetics
        assert await store.idempotency_records(["a", "b", "c"]) == {
            key: answer(key) for key in "abc"
        }

    @on_store
    async def test_another_revision_fails_the_whole_commit(self, store: Store) -> None:
        """A change decided on another revision takes its neighbours down with it."""
        good, bad = await create(store, "good", "bad")
        before = await store.load("good"), await store.load("bad")
        for wrong in (2, 3, 7):
            stale = replace(bad.append(count=1), expected_revision=wrong)
            changes = [Author("new").create(), stale, good.append(count=1, records=[answer("k")])]
            await refused(store, *changes)
            good, bad = Author("good"), Author("bad")
            good.create()
            bad.create()
        assert (await store.load("good"), await store.load("bad")) == before
        assert await store.load("new") is None
        assert await store.messages("good", 1, 9, PageBounds(9, ALL)) == []
        assert await store.idempotency_records(["k"]) == {}

    @on_store
    async def test_new_context_that_exists_is_refused(self, store: Store) -> None:
        """An id is given once; what is under it stays as it was."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=1)])
        await refused(store, Author("c").create(metadata=b'{"x":1}'))
        assert await loaded_row(store, "c") == author.row
        assert await store.messages("c", 1, 9, PageBounds(9, ALL)) == author.log

    @on_store
    async def test_change_of_what_does_not_exist_is_refused(self, store: Store) -> None:
        """A change of a context that is not there fails, and does not make it."""
        ghost = Author("ghost")
        ghost.create()
        await refused(store, ghost.append(count=1))
        await refused(store, ghost.purge())
        assert await store.load("ghost") is None

    @on_store
    async def test_a_key_is_used_once(self, store: Store) -> None:
        """An answer under a key that is taken fails the whole commit."""
        one, two = await create(store, "one", "two")
        await store.commit([one.append(count=1, records=[answer("k")])])
        before = await store.load("two")
        await refused(store, two.append(count=1, records=[answer("k", 7)]))
        assert await store.load("two") == before
        assert await store.idempotency_records(["k"]) == {"k": answer("k")}

    @on_store
    async def test_a_refused_commit_leaves_the_store_usable(self, store: Store) -> None:
        """After a refusal the same context can be written as if nothing had been."""
        (author,) = await create(store, "c")
        await refused(store, Author("c").create())
        await store.commit([author.append(count=2)])
        assert await store.messages("c", 1, 9, PageBounds(9, ALL)) == author.log

    @on_store
    async def test_concurrent_commits_and_reads(self, store: Store) -> None:
        """Commits and reads that are called at once do not disturb each other."""

        async def write(name: str) -> Author:
            (author,) = await create(store, name)
            for _ in range(5):
                await store.commit([author.append(count=3)])
                page = await store.messages(name, 1, ALL, PageBounds(100, ALL))
                assert page == author.log
            return author

        authors = await asyncio.gather(*(write(f"c{n}") for n in range(20)))
        for author in authors:
            assert await loaded_row(store, author.row.id) == author.row


class LogContract:
    """Pages of the log."""

    @on_store
    async def test_forward_page_is_inclusive(self, store: Store) -> None:
        """A page runs from its first to its last seq, both in, as far as there are messages."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=10)])
        for from_seq, to_seq in [(1, 10), (3, 5), (4, 4), (8, 99), (10, 10), (-5, 2), (0, 1)]:
            expected = [row for row in author.log if from_seq <= row.seq <= to_seq]
            assert await store.messages("c", from_seq, to_seq, PageBounds(100, ALL)) == expected
        for from_seq, to_seq in [(11, 20), (5, 4), (-9, 0)]:
            assert await store.messages("c", from_seq, to_seq, PageBounds(100, ALL)) == []

    @on_store
    async def test_forward_page_ends_at_its_limit(self, store: Store) -> None:
        """A page holds no more messages than asked for, the first ones."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=10)])
        assert await store.messages("c", 2, 9, PageBounds(3, ALL)) == author.log[1:4]
        assert await store.messages("c", 2, 9, PageBounds(0, ALL)) == []

    @on_store
    async def test_forward_page_ends_at_its_size(self, store: Store) -> None:
        """A page ends before the message that makes it too big, but never before the first."""
        (author,) = await create(store, "c")
        await store.commit([author.append(b"aaaa", b"bbbb", b"cc", b"dddddddd", b"")])
        sizes = {0: 1, 3: 1, 4: 1, 7: 1, 8: 2, 9: 2, 10: 3, 17: 3, 18: 5, ALL: 5}
        for bytes_max, count in sizes.items():
            assert (
                await store.messages("c", 1, 5, PageBounds(9, bytes_max)) == author.log[:count]
            ), bytes_max
        assert await store.messages("c", 4, 5, PageBounds(9, 1)) == author.log[3:4]

    @on_store
    async def test_backward_page_is_ascending(self, store: Store) -> None:
        """The newest messages below a seq come in the order of the log."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=10)])
        assert await store.messages_before("c", 11, PageBounds(3, ALL)) == author.log[7:]
        assert await store.messages_before("c", 5, PageBounds(3, ALL)) == author.log[1:4]
        assert await store.messages_before("c", 99, PageBounds(3, ALL)) == author.log[7:]
        assert await store.messages_before("c", 3, PageBounds(99, ALL)) == author.log[:2]
        for nothing in (1, 0, -4):
            assert await store.messages_before("c", nothing, PageBounds(3, ALL)) == []
        assert await store.messages_before("c", 5, PageBounds(0, ALL)) == []

    @on_store
    async def test_backward_page_ends_at_its_size(self, store: Store) -> None:
        """The size counts from the newest, which is in whatever its size."""
        (author,) = await create(store, "c")
        await store.commit([author.append(b"", b"dddddddd", b"cc", b"bbbb", b"aaaa")])
        sizes = {0: 1, 4: 1, 7: 1, 8: 2, 10: 3, 17: 3, 18: 5, ALL: 5}
        for bytes_max, count in sizes.items():
            assert (
                await store.messages_before("c", 6, PageBounds(9, bytes_max))
                == author.log[5 - count :]
            )

    @on_store
    async def test_pages_do_not_mix_contexts(self, store: Store) -> None:
        """Logs that were written alternately are read apart."""
        authors = await create(store, *(f"c{n}" for n in range(5)))
        for _ in range(4):
            await store.commit(
                [author.append(body(n), body(n)) for n, author in enumerate(authors)]
            )
        for author in authors:
            assert await store.messages(author.row.id, 1, ALL, PageBounds(100, ALL)) == author.log
            assert (
                await store.messages_before(author.row.id, 9, PageBounds(3, ALL)) == author.log[5:]
            )

    @on_store
    async def test_big_pages(self, store: Store) -> None:
        """Thousands of messages, and bodies of many MiB, come in one page if that is asked for."""
        many, big = await create(store, "many", "big")
        await store.commit([many.append(count=5000)])
        await store.commit([big.append(count=6, size=2 * MIB)])
        assert await store.messages("many", 1, ALL, PageBounds(5000, ALL)) == many.log
        assert await store.messages("big", 1, ALL, PageBounds(10, 5 * MIB)) == big.log[:2]
        assert await store.messages_before("big", 7, PageBounds(10, 5 * MIB)) == big.log[4:]


def standing(author: Author, ranges: Sequence[Range]) -> list[MessageRow]:
    """Give the rows that stand on a path, in the order of places."""
    there: dict[int, MessageRow] = {}
    for row in author.log:
        if contains(ranges, row.seq) and (row.revises is None or row.revises in there):
            there[row.place] = row
    return list(there.values())


async def revised(store: Store, rng: Random, name: str, changes: int) -> Author:
    """Commit messages, and revisions of the newest or any, and drop all from the window."""
    (author,) = await create(store, name)
    await store.commit([author.append(count=2)])
    for _ in range(changes):
        places = [row.seq for row in author.log if row.revises is None]
        if rng.random() < 0.4:
            await store.commit([author.append(count=rng.randint(1, 4), size=rng.randint(0, 50))])
        elif rng.random() < 0.5:
            await store.commit([author.revise(*[places[-1]] * rng.randint(1, 3))])
        else:
            await store.commit([author.revise(rng.choice(places), size=rng.randint(0, 50))])
    await store.commit([author.compact([])])
    return author


def drawn_ranges(rng: Random, last_seq: int) -> list[Range]:
    """Draw ranges with gaps between them."""
    ends = sorted(rng.sample(range(1, last_seq + 1), 2 * rng.randint(1, min(6, last_seq // 2))))
    listed = list(zip(ends[::2], ends[1::2], strict=True))
    return [(1, last_seq)] if rng.random() < 0.2 else listed


class PathContract:
    """The path: rows that take the places of others, and the ids by which messages are found."""

    @on_store
    async def test_what_a_row_revises_is_part_of_it(self, store: Store) -> None:
        """Wherever a row is read, it says which place it takes, if it takes one."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        await store.commit([author.revise(2, 1)])
        await store.commit([author.append(count=3, revises=[None, 4])])
        assert [row.revises for row in author.log] == [None, None, None, 2, 1, None, 4, None]
        bounds = PageBounds(ALL, ALL)
        for _ in range(2):
            assert await store.messages("c", 1, ALL, bounds) == author.log
            assert await store.messages_before("c", ALL, bounds) == author.log
            assert (await store.changes("c", 0, 8, bounds)).messages == author.log
            heads = (await store.changes("c", 0, 8, bounds, with_bodies=False)).messages
            assert [row._replace(body=b"", counts=b"") for row in author.log] == heads
            past = await store.load_at("c", 5)
            assert past is not None
            assert past.messages == author.log[:5]
            snapshot = await store.load("c")
            assert snapshot is not None
            if author.compactions:
                assert snapshot.messages == [author.log[seq - 1] for seq in (3, 4, 5)]
            else:
                assert snapshot.messages == author.log
                diff = await store.load_since("c", Have(3, 3, [(1, 3)], frozenset()))
                assert diff is not None
                assert diff.messages == author.log[3:]
                await store.commit([author.compact([Run(3, 5)])])

    @on_store
    async def test_a_path_without_revisions_is_the_log(self, store: Store) -> None:
        """Where nothing was revised, a page of the path is one of the log, in both directions."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=9)])
        await store.commit([author.compact([])])
        whole_log, bounds = [(1, 9)], PageBounds(ALL, ALL)
        assert await store.path("c", whole_log, 1, ALL, bounds) == author.log
        assert await store.path("c", whole_log, 3, 5, bounds) == author.log[2:5]
        assert await store.path("c", whole_log, -5, 2, bounds) == author.log[:2]
        assert await store.path("c", whole_log, 6, 5, bounds) == []
        assert await store.path("c", whole_log, 10, ALL, bounds) == []
        assert await store.path("c", [], 1, ALL, bounds) == []
        backward = await store.path("c", whole_log, 2, 8, PageBounds(3, ALL), newest_first=True)
        assert backward == author.log[7:4:-1]

    @on_store
    async def test_the_newest_revision_stands_in_the_place(self, store: Store) -> None:
        """Of several revisions of one message the newest on the path counts, and only that."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        await store.commit([author.revise(2)])
        await store.commit([author.append(count=1)])
        await store.commit([author.revise(2, 5, 2)])
        await store.commit([author.compact([])])

        async def seqs(*ranges: Range) -> list[int]:
            found = await store.path("c", ranges, 1, ALL, PageBounds(ALL, ALL))
            assert found == standing(author, ranges)
            back = await store.path("c", ranges, 1, ALL, PageBounds(ALL, ALL), newest_first=True)
            assert back == found[::-1]
            return [row.seq for row in found]

        assert await seqs((1, 8)) == [1, 8, 3, 7]
        assert await seqs((1, 7)) == [1, 6, 3, 7]
        assert await seqs((1, 4)) == [1, 4, 3]
        assert await seqs((1, 3), (5, 5)) == [1, 2, 3, 5]
        assert await seqs((1, 3), (5, 5), (8, 8)) == [1, 8, 3, 5]
        assert await seqs((1, 1), (3, 8)) == [1, 3, 7]
        assert await seqs((4, 4), (6, 6), (8, 8)) == []

    @on_store
    async def test_any_page_of_any_path(self, store: Store) -> None:
        """Pages end in the order of reading, by rows or by bytes, whatever was revised."""
        rng = Random(7)
        authors = [await revised(store, rng, name, 30) for name in ("a", "b")]
        for author in authors * 25:
            name = author.row.id
            ranges = drawn_ranges(rng, author.row.last_seq)
            first, last = sorted(rng.sample(range(author.row.last_seq + 3), 2))
            wanted = [row for row in standing(author, ranges) if first <= row.place <= last]
            for newest_first in (False, True):
                rows = wanted[::-1] if newest_first else wanted
                bounds = PageBounds(rng.randint(1, 20), rng.choice([1, 300, 900, ALL]))
                skip = rng.choice([0, 0, 1, 7])
                page = await store.path(
                    name, ranges, first, last, bounds, skip=skip, newest_first=newest_first
                )
                left = rows[skip : skip + bounds.rows]
                assert page == bounded(left, bounds.bytes), (ranges, bounds, skip)

    @on_store
    async def test_a_page_of_the_path_ends_at_its_size(self, store: Store) -> None:
        """Bodies decide where a page ends, but the first row always comes."""
        (author,) = await create(store, "c")
        await store.commit([author.append(b"a" * 10, b"b" * 10, b"c" * 10)])
        await store.commit([author.append(b"d" * 40, b"e" * 10, revises=[2, 3])])
        a, d, e = author.log[0], author.log[3], author.log[4]
        for _ in range(2):

            async def page(bytes_max: int, *, back: bool = False) -> list[MessageRow]:
                bounds = PageBounds(9, bytes_max)
                return await store.path("c", [(1, 5)], 1, ALL, bounds, newest_first=back)

            assert await page(60) == [a, d, e]
            assert await page(59) == [a, d]
            assert await page(49) == [a]
            assert await page(0) == [a]
            assert await page(50, back=True) == [e, d]
            assert await page(49, back=True) == [e]
            assert await page(0, back=True) == [e]
            assert await store.path("c", [(1, 5)], 2, 3, PageBounds(9, 5)) == [d]
            await store.commit([author.compact([])])

    @on_store
    async def test_a_message_that_was_revised_thousands_of_times(self, store: Store) -> None:
        """The page after it is found behind all of its revisions."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=2)])
        await store.commit([author.revise(*[2] * 3000)])
        await store.commit([author.append(count=2)])
        await store.commit([author.revise(*[1] * 1000)])
        last = author.row.last_seq
        bounds = PageBounds(3, ALL)
        log = author.log
        page = await store.path("c", [(1, last)], 1, ALL, bounds)
        assert page == [log[last - 1], log[3001], log[3002]]
        page = await store.path("c", [(1, 3004)], 1, ALL, bounds, newest_first=True)
        assert page == [log[3003], log[3002], log[3001]]
        odd = [(1, 2), *((seq, seq) for seq in range(3, 1000, 2)), (3003, 3004)]
        page = await store.path("c", odd, 1, ALL, bounds)
        assert page == [log[0], log[998], log[3002]]

    @on_store
    async def test_ids_lead_to_places(self, store: Store) -> None:
        """Of the messages with an id those in the ranges are found, newest first."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=4, ids=["a", "", "b", "a"])])
        await store.commit([author.revise(4)])
        await store.commit([author.append(count=3, ids=["a", "é" * 256, "b"])])
        other = Author("d")
        await store.commit([other.create()])
        await store.commit([other.append(count=1, ids=["a"])])
        await store.commit([author.compact([])])

        async def places(
            name: str, ranges: Sequence[Range] = ((1, 8),), limit: int = 9
        ) -> list[int]:
            return await store.places_of_id("c", message_id_hash(name), ranges, limit)

        assert await places("a") == [6, 4, 1]
        assert await places("b") == [8, 3]
        assert await places("é" * 256) == [7]
        assert await places("c") == []
        assert await places("") == []
        assert await places("a", limit=2) == [6, 4]
        assert await places("a", limit=0) == []
        assert await places("a", [(1, 3), (5, 5), (7, 8)]) == [1]
        assert await places("a", [(2, 3), (5, 5), (7, 8)]) == []
        assert await places("a", [(2, 5)]) == [4]
        assert await places("a", [(1, 2), (4, 4), (6, 99)], 2) == [6, 4]
        assert await places("a", []) == []
        assert await store.places_of_id("d", message_id_hash("a"), [(1, 9)], 9) == [1]

    @on_store
    async def test_revisions_of_places(self, store: Store) -> None:
        """Which rows revise a place is known for any places, by place and seq."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=5)])
        await store.commit([author.revise(4, 2, 4)])
        await store.commit([author.append(count=2)])
        await store.commit([author.revise(2, 10)])
        await store.commit([author.compact([])])
        assert await store.revisions_of("c", [(1, ALL)]) == [
            (2, 7),
            (2, 11),
            (4, 6),
            (4, 8),
            (10, 12),
        ]
        assert await store.revisions_of("c", [(1, 3)]) == [(2, 7), (2, 11)]
        assert await store.revisions_of("c", [(1, 1), (3, 4), (10, 10)]) == [
            (4, 6),
            (4, 8),
            (10, 12),
        ]
        assert await store.revisions_of("c", [(5, 9)]) == []
        assert await store.revisions_of("c", []) == []

    @on_store
    async def test_a_purge_takes_the_path_with_it(self, store: Store) -> None:
        """Nothing of revisions and ids is found after a purge, and the neighbours keep theirs."""
        authors = await create(store, "gone", "stays")
        for author in authors:
            await store.commit([author.append(count=3, ids=["a", "b", "a"])])
            await store.commit([author.revise(1, 1)])
        gone, stays = authors
        await store.commit([gone.purge()])
        ranges, bounds, hashed = [(1, 9)], PageBounds(9, ALL), message_id_hash("a")
        assert await store.path("gone", ranges, 1, 9, bounds) == []
        assert await store.places_of_id("gone", hashed, ranges, 9) == []
        assert await store.revisions_of("gone", ranges) == []
        assert await store.path("stays", ranges, 1, 9, bounds) == standing(stays, ranges)
        assert await store.places_of_id("stays", hashed, ranges, 9) == [3, 1]
        assert await store.revisions_of("stays", ranges) == [(1, 4), (1, 5)]

    @on_store
    async def test_refused_commit_leaves_no_path(self, store: Store) -> None:
        """Neither ids nor revisions of a commit that was refused are there."""
        author, other = await create(store, "c", "d")
        await store.commit([author.append(count=2, ids=["a"])])
        stale = replace(author.append(count=2, ids=["b"], revises=[None, 1]), expected_revision=1)
        await refused(store, stale, other.append(count=1, ids=["b"]))
        assert await store.places_of_id("c", message_id_hash("b"), [(1, 9)], 9) == []
        assert await store.places_of_id("d", message_id_hash("b"), [(1, 9)], 9) == []
        assert await store.revisions_of("c", [(1, 9)]) == []
        assert await store.path("c", [(1, 9)], 1, 9, PageBounds(9, ALL)) == author.log[:2]


async def told(store: Store) -> Author:
    """
    Commit a story of 14 versions: appends, batches with trims, and compact calls.

    The versions 4, 5, 10 and 14 are compactions; the first two of 6 to 9 are trimmed as well.
    """
    (author,) = await create(store, "c")
    await store.commit([author.append(count=3)])
    await store.commit([author.compact([Run(1, 3, replacement=4)], [b"summary"])])
    await store.commit([author.compact([Run(2, 3)])])
    trims = {1: [Run(3, 4)], 2: [Run(4, 5)]}
    await store.commit([author.append(count=4, trims=trims)])
    await store.commit([author.compact([])])
    await store.commit([author.append(count=3)])
    await store.commit([author.compact([Run(9, 10), Run(10, 10, replacement=14)], [b"new"])])
    assert author.row.version == 14
    return author


def happened(author: Author, after: int, through: int, lost: Collection[int] = ()) -> ChangesPage:
    """Give the page of all changes between two versions, but for those that were *lost*."""
    there = set(range(after + 1, through + 1)).difference(lost)
    return ChangesPage(
        [row for row in author.log if row.version in there],
        [row for row in author.compactions if row.version in there],
        through,
    )


async def walked(store: Store, limit: int, bytes_max: int = ALL) -> list[ChangesPage]:
    """Read all changes of a context, page by page."""
    pages = [ChangesPage([], [], 0)]
    while pages[-1].through < (await loaded_row(store, "c")).version:
        pages.append(await store.changes("c", pages[-1].through, ALL, PageBounds(limit, bytes_max)))
        assert pages[-1].through > pages[-2].through
    return pages


def together(pages: list[ChangesPage]) -> ChangesPage:
    """Put pages together."""
    return ChangesPage(
        [row for page in pages for row in page.messages],
        [row for page in pages for row in page.compactions],
        pages[-1].through,
    )


class ChangesContract:
    """Changes by version."""

    @on_store
    async def test_changes_between_two_versions(self, store: Store) -> None:
        """A page begins behind the one version and ends with the other, wherever they are."""
        author = await told(store)
        for after in range(14):
            for to in range(after + 1, 15):
                page = await store.changes("c", after, to, PageBounds(99, ALL))
                assert page == happened(author, after, to), (after, to)

    @on_store
    async def test_what_is_still_to_come_is_not_read(self, store: Store) -> None:
        """A page goes no further than the versions that there are."""
        author = await told(store)
        assert await store.changes("c", 12, 99, PageBounds(99, ALL)) == happened(author, 12, 14)
        for after, to in [(14, 14), (14, 99), (20, 99), (5, 5), (7, 3)]:
            assert await store.changes("c", after, to, PageBounds(99, ALL)) == ([], [], after)

    @on_store
    async def test_changes_end_at_their_limit(self, store: Store) -> None:
        """A page holds no more versions than asked for, whole ones, and at least one."""
        author = await told(store)
        for limit in (0, 1, 2, 3, 5):
            pages = await walked(store, limit)
            assert together(pages) == happened(author, 0, 14)
            for before, page in pairwise(pages):
                expected = min(before.through + max(limit, 1), 14)
                assert page == happened(author, before.through, expected)

    @on_store
    async def test_changes_end_at_their_size(self, store: Store) -> None:
        """Bodies and windows count, and a message is never parted from the trim that it caused."""
        (author,) = await create(store, "c")
        await store.commit([author.append(b"a" * 10, b"b" * 10, b"c" * 10, trims={2: []})])
        await store.commit([author.compact([])])
        window = len(author.compactions[0].window)
        sizes = [10, 20 + window, 30 + window, 30 + 2 * window]
        assert len(author.compactions[1].window) == window
        for through, size in enumerate(sizes, 1):
            assert await store.changes("c", 0, 4, PageBounds(9, size)) == happened(
                author, 0, through
            )
            below = max(through - 1, 1)
            assert await store.changes("c", 0, 4, PageBounds(9, size - 1)) == happened(
                author, 0, below
            )
        assert together(await walked(store, 99, 0)) == happened(author, 0, 4)
        assert len(await walked(store, 99, 0)) == 5

    @on_store
    async def test_changes_may_be_read_without_bodies(self, store: Store) -> None:
        """Messages are there by their numbers and times, and count for nothing in a page's size."""
        author = await told(store)
        heads = [row._replace(body=b"", counts=b"") for row in author.log]
        for after in range(14):
            for limit in (1, 3, 99):
                page = await store.changes(
                    "c", after, ALL, PageBounds(limit, ALL), with_bodies=False
                )
                whole = happened(author, after, min(after + limit, 14))
                there = {row.seq for row in whole.messages}
                assert page == whole._replace(messages=[row for row in heads if row.seq in there])
        (author,) = await create(store, "d")
        await store.commit([author.append(b"a" * 1000, b"b" * 1000)])
        page = await store.changes("d", 0, 2, PageBounds(9, 10), with_bodies=False)
        assert [row.seq for row in page.messages] == [1, 2]

    @on_store
    async def test_changes_go_on_behind_what_is_lost(self, store: Store) -> None:
        """Rows that are gone for ever are not there, and no page stops for them."""
        (author,) = await create(store, "c")
        lost = {1, 4, 5, 6, 9, 14, 15}
        for _ in range(5):
            change = author.append(count=3, trims={3: [Run(1, 1)]})
            left = [row for row in change.messages if row.version not in lost]
            await store.commit([replace(change, messages=left)])
        author.log = [row for row in author.log if row.version not in lost]
        for after in range(15):
            for to in range(after + 1, 16):
                page = await store.changes("c", after, to, PageBounds(99, ALL))
                assert page == happened(author, after, to), (after, to)
        for limit in (1, 2, 3):
            assert together(await walked(store, limit)) == happened(author, 0, 15)
        assert await store.changes("c", 0, 15, PageBounds(1, ALL)) == happened(author, 0, 2)
        assert await store.changes("c", 3, 15, PageBounds(1, ALL)) == happened(author, 3, 6)
        assert await store.changes("c", 3, 5, PageBounds(1, ALL)) == ([], [], 5)
        assert await store.messages("c", 1, 99, PageBounds(99, ALL)) == author.log
        assert await store.messages_before("c", 7, PageBounds(2, ALL)) == author.log[:2]

    @on_store
    async def test_changes_of_many_contexts_do_not_mix(self, store: Store) -> None:
        """Contexts that were written together are read apart."""
        authors = await create(store, *(f"c{n}" for n in range(5)))
        for number in range(4):
            await store.commit(
                [author.append(body(n), trims={1: []}) for n, author in enumerate(authors)]
            )
            await store.commit([author.compact([]) for author in authors[: number + 1]])
        for author in authors:
            page = await store.changes(author.row.id, 0, ALL, PageBounds(99, ALL))
            assert page == happened(author, 0, author.row.version)

    @on_store
    async def test_thousands_of_changes(self, store: Store) -> None:
        """A long story is read in few pages or in many, from anywhere."""
        (author,) = await create(store, "c")
        for _ in range(4):
            await store.commit(
                [author.append(count=1000, trims={n: [Run(1, 1)] for n in range(7, 1000, 7)})]
            )
        assert await store.changes("c", 0, ALL, PageBounds(9999, ALL)) == happened(author, 0, 4000)
        assert await store.changes("c", 3210, ALL, PageBounds(50, ALL)) == happened(
            author, 3210, 3260
        )
        assert await store.changes("c", 3000, 3100, PageBounds(200, ALL)) == happened(
            author, 3000, 3100
        )

    @on_store
    async def test_changes_of_a_deleted_context(self, store: Store) -> None:
        """A tombstone takes no change away, a purge takes all of them."""
        author = await told(store)
        await store.commit([author.tombstone()])
        assert await store.changes("c", 0, 99, PageBounds(99, ALL)) == happened(author, 0, 14)
        await store.commit([author.purge()])
        assert await store.changes("c", 0, 99, PageBounds(99, ALL)) == ([], [], 0)
        assert await store.changes("c", 5, 99, PageBounds(99, ALL)) == ([], [], 5)


class CompactionsContract:
    """The history of compactions."""

    @on_store
    async def test_compactions_between_two_versions(self, store: Store) -> None:
        """They come oldest first, behind the one version and up to the other."""
        author = await told(store)
        assert [row.version for row in author.compactions] == [4, 5, 6, 7, 10, 14]
        for after in range(-1, 16):
            for to in range(16):
                expected = [row for row in author.compactions if after < row.version <= to]
                assert await store.compactions("c", after, to, PageBounds(99, ALL)) == expected

    @on_store
    async def test_compactions_end_at_their_limit(self, store: Store) -> None:
        """A page holds no more than asked for, the oldest ones."""
        author = await told(store)
        assert await store.compactions("c", 4, 99, PageBounds(2, ALL)) == author.compactions[1:3]
        assert await store.compactions("c", 4, 99, PageBounds(0, ALL)) == []

    @on_store
    async def test_compactions_end_at_their_size(self, store: Store) -> None:
        """Windows count, and the first is there whatever its size."""
        author = await told(store)
        sizes = [len(row.window) for row in author.compactions]
        for count in range(1, 7):
            size = sum(sizes[:count])
            assert (
                await store.compactions("c", 0, 99, PageBounds(99, size))
                == author.compactions[:count]
            )
            page = await store.compactions("c", 0, 99, PageBounds(99, size - 1))
            assert page == author.compactions[: max(count - 1, 1)]

    @on_store
    async def test_compactions_backward(self, store: Store) -> None:
        """They come newest first, from before a version on, as many and as large as asked for."""
        author = await told(store)
        backward = author.compactions[::-1]
        for before in range(16):
            below = [row for row in backward if row.version < before]
            assert await store.compactions_before("c", before, PageBounds(99, ALL)) == below
            assert await store.compactions_before("c", before, PageBounds(2, ALL)) == below[:2]
        for count in range(1, 7):
            size = sum(len(row.window) for row in backward[:count])
            assert await store.compactions_before("c", 99, PageBounds(99, size)) == backward[:count]
            page = await store.compactions_before("c", 99, PageBounds(99, size - 1))
            assert page == backward[: max(count - 1, 1)]
        assert await store.compactions_before("c", 99, PageBounds(0, ALL)) == []
        assert await store.compactions_before("nobody", 99, PageBounds(9, ALL)) == []

    @on_store
    async def test_compactions_of_a_deleted_context(self, store: Store) -> None:
        """A tombstone takes none away, a purge takes all of them."""
        author = await told(store)
        await store.commit([author.tombstone()])
        assert await store.compactions("c", 0, 99, PageBounds(99, ALL)) == author.compactions
        assert (
            await store.compactions_before("c", 99, PageBounds(99, ALL)) == author.compactions[::-1]
        )
        await store.commit([author.purge()])
        assert await store.compactions_before("c", 99, PageBounds(99, ALL)) == []
        assert await store.compactions("c", 0, 99, PageBounds(99, ALL)) == []


class PastContract:
    """What a context was."""

    @on_store
    async def test_row_of_the_past(self, store: Store) -> None:
        """Version, end of the log and moment are those of then, all else is of now."""
        author = Author("c")
        await store.commit([author.create()])
        then = [author.row]
        for change in (
            author.append(count=1),
            author.append(count=1, trims={1: [Run(2, 2)]}),
            author.compact([Run(1, 2, replacement=3)], [b"summary"]),
            author.compact([]),
            author.append(count=1),
        ):
            await store.commit([change])
            then.append(change.row)
        await store.commit([author.configure(token_budget=7)])
        await store.commit([author.describe(b'{"x":1}')])
        await store.commit([author.tombstone()])
        for version, row in enumerate(then):
            snapshot = await store.load_at("c", version)
            assert snapshot is not None
            assert snapshot.row == replace(
                author.row,
                version=version,
                last_seq=row.last_seq,
                spoken_at_us=row.spoken_at_us,
            )

    @on_store
    async def test_snapshot_of_the_past_holds_what_its_window_needs(self, store: Store) -> None:
        """The window is that of the newest compaction up to then, with what came behind it."""
        author = await told(store)
        expected: dict[int, tuple[int | None, list[int], list[bytes]]] = {
            0: (None, [], []),
            1: (None, [1], []),
            3: (None, [1, 2, 3], []),
            4: (4, [], [b"summary"]),
            5: (5, [2, 3], []),
            6: (6, [3, 4], []),
            7: (7, [4, 5], []),
            8: (7, [4, 5, 6], []),
            9: (7, [4, 5, 6, 7], []),
            10: (10, [], []),
            13: (10, [8, 9, 10], []),
            14: (14, [9, 10], [b"new"]),
        }
        windows = {row.version: row.window for row in author.compactions}
        for version, (compaction, seqs, bodies) in expected.items():
            snapshot = await store.load_at("c", version)
            assert snapshot is not None
            assert snapshot.window == (None if compaction is None else windows[compaction])
            assert snapshot.messages == [author.log[seq - 1] for seq in seqs], version
            assert [row.body for row in snapshot.synthetics] == bodies
        assert await store.load_at("c", 14) == await store.load("c")

    @on_store
    async def test_the_past_of_what_is_lost(self, store: Store) -> None:
        """Messages that are gone for ever are not there; all else is where it was."""
        (author,) = await create(store, "c")
        change = author.append(count=6)
        await store.commit([replace(change, messages=change.messages[::2])])
        snapshot = await store.load_at("c", 4)
        assert snapshot is not None
        assert [row.seq for row in snapshot.messages] == [1, 3]
        assert (snapshot.row.last_seq, snapshot.row.version) == (4, 4)

    @on_store
    async def test_versions_that_there_are_not(self, store: Store) -> None:
        """Before the first and behind the newest version there is nothing, nor after a purge."""
        author = await told(store)
        for version in (-1, 15, 10**9):
            assert await store.load_at("c", version) is None
        assert await store.load_at("C", 0) is None
        await store.commit([author.purge()])
        for version in (0, 5, 14):
            assert await store.load_at("c", version) is None

    @on_store
    async def test_every_window_of_a_story_can_be_made_again(self, store: Store) -> None:
        """Whatever happened, in whatever batches, each version's window is rebuilt as it was."""
        rewrites = 0
        for seed in range(4):
            told = await committed(store, Random(seed), f"story-{seed}")
            log = told.conversation.log
            assert len(told.windows) == told.context.version + 1
            for version, window in told.windows.items():
                snapshot = await store.load_at(f"story-{seed}", version)
                assert snapshot is not None
                past = rows.rebuilt(snapshot)
                assert image(past.window) == image(window), (seed, version)
                assert past.last_seq == sum(row.version <= version for row in log)
                assert past.version == version
            found = await store.compactions(f"story-{seed}", 0, ALL, PageBounds(ALL, ALL))
            rewrites += len(found)
            for row in found:
                stored = Persisted.decode(row.window)
                assert stored.segments == segments(told.windows[row.version])
        assert rewrites >= 44, "at least 11 a story"


class SinceContract:
    """What is new of a context."""

    @on_store
    async def test_only_new_messages_come(self, store: Store) -> None:
        """Of a window that was not rewritten, only what was appended behind the known is read."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3)])
        known = Have(3, 3, [(1, 3)], frozenset())
        assert await store.load_since("c", known) == (author.row, None, [], [])
        await store.commit([author.append(count=2)])
        await store.commit([author.describe(b'{"x":"%s"}' % (b"y" * 5000))])
        await store.commit([author.append(count=1)])
        assert await store.load_since("c", known) == (author.row, None, author.log[3:], [])
        await store.commit([author.compact([Run(4, 6)])])
        await store.commit([author.append(count=2)])
        known = Have(7, 6, [(4, 6)], frozenset())
        assert await store.load_since("c", known) == (author.row, None, author.log[6:], [])

    @on_store
    async def test_of_a_rewritten_window_only_what_is_missing_comes(self, store: Store) -> None:
        """Neither what is known nor what the window does not refer to is read."""
        author = await told(store)
        window = author.compactions[-1].window
        expected: list[tuple[Have, list[int], list[bytes]]] = [
            (Have(13, 10, [(8, 10)], frozenset()), [], [b"new"]),
            (Have(12, 9, [(8, 9)], frozenset({(4, 0)})), [10], [b"new"]),
            (Have(12, 9, [(1, 7), (9, 9)], frozenset({(13, 0), (14, 1)})), [10], [b"new"]),
            (Have(11, 8, [(1, 8)], frozenset({(14, 0)})), [9, 10], []),
            (Have(0, 0, [], frozenset()), [9, 10], [b"new"]),
        ]
        for known, seqs, bodies in expected:
            delta = await store.load_since("c", known)
            assert delta is not None
            assert (delta.row, delta.window) == (author.row, window)
            assert [row.seq for row in delta.messages] == seqs, known
            assert [row.body for row in delta.synthetics] == bodies

    @on_store
    async def test_holes_of_what_is_known_are_filled(self, store: Store) -> None:
        """Of each range that the window needs, exactly the unknown parts come, in order."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=40)])
        runs = [Run(1, 9), Run(12, 12), Run(20, 29), Run(31, 40)]
        await store.commit([author.compact(runs)])
        log = [(2, 3), (5, 5), (8, 21), (25, 25), (28, 33), (36, 39)]
        delta = await store.load_since("c", Have(40, 40, log, frozenset()))
        assert delta is not None
        expected = [1, 4, 6, 7, 22, 23, 24, 26, 27, 34, 35, 40]
        assert [row.seq for row in delta.messages] == expected
        replaced = author.compact(
            [Run(1, 9, replacement=42, last=4)], [b"%d" % n for n in range(5)]
        )
        await store.commit([replaced])
        known = Have(41, 40, log, frozenset({(42, 0), (42, 3), (41, 1)}))
        delta = await store.load_since("c", known)
        assert delta is not None
        assert [row.position for row in delta.synthetics] == [1, 2, 4]

    @on_store
    async def test_nothing_is_new_of_what_there_is_not(self, store: Store) -> None:
        """A context that never was has no news, and of a purged one it is that it was purged."""
        author = await told(store)
        known = Have(3, 3, [(1, 3)], frozenset())
        assert await store.load_since("nobody", known) is None
        await store.commit([author.purge()])
        delta = await store.load_since("c", known)
        assert delta is not None
        assert (delta.row.id, delta.row.status) == ("c", "purged")
        assert (delta.window, delta.messages, delta.synthetics) == (None, [], [])

    @on_store
    async def test_an_earlier_state_and_the_news_make_the_present(self, store: Store) -> None:
        """Whatever happened since, it comes to the same as reading everything."""
        for seed in range(4):
            rng, name = Random(seed), f"story-{seed}"
            earlier: list[ContextState] = []
            for _, change in story(rng, name):
                await store.commit([change])
                snapshot = await store.load(name)
                assert snapshot is not None
                present = rows.rebuilt(snapshot)
                for context in rng.sample(earlier, min(len(earlier), 3)):
                    delta = await store.load_since(name, rows.have(context))
                    assert delta is not None
                    caught_up = rows.updated(context, delta)
                    assert whole(caught_up) == whole(present), (seed, context.version)
                    assert len(delta.messages) <= len(snapshot.messages)
                earlier.append(present)


def whole(context: ContextState) -> tuple[Any, ...]:
    """All that there is to know of a context, to compare."""
    values = [getattr(context, name) for name in context.__struct_fields__ if name != "window"]
    policy = type(context.config.policy)
    window = context.window
    return *values, policy, image(window), window.pinned, window.through


def story(rng: Random, context_id: str) -> Iterator[tuple[Told, Change]]:
    """Tell a random story, and give the changes that commit it in batches of any size."""
    done = revision = 0
    for told in tell(rng, 60):
        if revision and rng.random() < 0.5:
            continue
        revision += 1
        yield told, _written(told, context_id, revision, done)
        done = len(told.conversation.events)
    if done < len(told.conversation.events):
        yield told, _written(told, context_id, revision + 1, done)


def _written(told: Told, context_id: str, revision: int, done: int) -> Change:
    context = replace(told.context, id=context_id, revision=revision)
    commit_id = revision.to_bytes(16, "big")
    return rows.change(context, told.conversation.events[done:], [], commit_id)


async def committed(store: Store, rng: Random, context_id: str) -> Told:
    """Tell a random story and commit it."""
    stages = list(story(rng, context_id))
    for _, change in stages:
        await store.commit([change])
    return stages[-1][0]


IDS_IN_ORDER = (
    "\x01",
    " ",
    "%",
    "%a",
    "*",
    "A",
    "[a]",
    "\\",
    "_",
    "a",
    "a ",
    "a%",
    "a_",
    "aa",
    "a" * 127,
    "a" * 128,
    "a" * 128 + "\x01",
    "a" * 129,
    "a" * 512,
    "aé",
    "b",
    "é" * 64,
    "é" * 64 + "z",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\uffff\uffff",
    "😀",
    "😀" * 32,
    "😀" * 128,
    "\U0010ffff",
    "\U0010ffff\U0010ffff",
)


class ListContract:
    """Lists of contexts."""

    def test_ids_in_order_are_in_byte_order(self) -> None:
        """The list that the other tests compare with is right itself."""
        assert sorted(IDS_IN_ORDER, key=str.encode) == list(IDS_IN_ORDER)
        assert max(len(name.encode()) for name in IDS_IN_ORDER) == 512

    @on_store
    async def test_ids_come_in_byte_order(self, store: Store) -> None:
        """Order is that of the bytes, whatever script, case and length."""
        for name in (*IDS_IN_ORDER[::2], *IDS_IN_ORDER[1::2]):
            await create(store, name)
        assert await listed(store) == list(IDS_IN_ORDER)

    @on_store
    async def test_every_id_can_be_loaded(self, store: Store) -> None:
        """Ids that look alike are different contexts."""
        authors = await create(store, *IDS_IN_ORDER)
        for number, author in enumerate(authors):
            await store.commit([author.append(body(number))])
        for author in authors:
            assert await loaded_row(store, author.row.id) == author.row
            assert await store.messages(author.row.id, 1, 9, PageBounds(9, ALL)) == author.log
        for missing in ("", "aaa", "a" * 130, "A" * 512, "\U0010fffe"):
            assert await store.load(missing) is None

    @on_store
    async def test_list_goes_on_behind_any_string(self, store: Store) -> None:
        """`after` is exclusive, and need not be the id of a context."""
        await create(store, *IDS_IN_ORDER)
        for after in (*IDS_IN_ORDER, "", "aaa", "a" * 126, "a" * 300, "zzz", "\U0010ffff" * 9):
            expected = [name for name in IDS_IN_ORDER if name.encode() > after.encode()]
            assert await listed(store, after=after) == expected, after

    @on_store
    async def test_prefix_is_taken_literally(self, store: Store) -> None:
        """No character of a prefix has a special meaning, and case counts."""
        await create(store, *IDS_IN_ORDER)
        for prefix in (*IDS_IN_ORDER, "", "a" * 100, "é", "?", "a%b", "\U0010ffff"):
            expected = [name for name in IDS_IN_ORDER if name.startswith(prefix)]
            assert await listed(store, prefix) == expected, prefix
            for after in ("a", "a" * 128, "😀"):
                rest = [name for name in expected if name.encode() > after.encode()]
                assert await listed(store, prefix, after) == rest, (prefix, after)

    @on_store
    async def test_paging_meets_every_context_once(self, store: Store) -> None:
        """Going on behind the last id of a page loses and repeats none."""
        await create(store, *IDS_IN_ORDER)
        for limit in (1, 3, 100):
            found: list[str] = []
            while page := await listed(store, after=found[-1] if found else "", limit=limit):
                assert len(page) <= limit
                found += page
            assert found == list(IDS_IN_ORDER)

    @on_store
    async def test_list_gives_whole_rows(self, store: Store) -> None:
        """A listed row is the row that loading gives."""
        one, two = await create(store, "one", "two")
        changes = [one.configure(trigger_ratio=1.0), two.describe(b'{"a":[1,2]}')]
        await store.commit(changes)
        await store.commit([one.append(count=2), two.tombstone()])
        assert await store.contexts("", "", 10) == [one.row, two.row]

    @on_store
    async def test_tombstoned_are_listed_and_purged_are_not(self, store: Store) -> None:
        """A limit counts the contexts that are listed, not those that are gone."""
        one, _, three, _ = await create(store, "1", "2", "3", "4")
        await store.commit([one.purge(), three.tombstone()])
        assert await listed(store, limit=2) == ["2", "3"]
        assert await listed(store) == ["2", "3", "4"]


class AnswersContract:
    """Answers kept under idempotency keys."""

    @on_store
    async def test_answers_are_found_by_key(self, store: Store) -> None:
        """Of many keys asked for, those that are there are answered, exactly as kept."""
        one, two = await create(store, "one", "two")
        keys = ["k", "K", "k ", "%", "~" * 255, "ключ"]
        rows = {key: answer(key, BEGINNING_US + n) for n, key in enumerate(keys)}
        await store.commit(
            [
                one.append(count=3, records=[rows[key] for key in keys[:3]]),
                two.append(count=3, records=[rows[key] for key in keys[3:]]),
            ]
        )
        assert await store.idempotency_records(keys) == rows
        assert await store.idempotency_records(["k", "other", "k", "kk"]) == {"k": rows["k"]}
        assert await store.idempotency_records([]) == {}

    @on_store
    async def test_many_keys_at_once(self, store: Store) -> None:
        """Thousands of keys can be looked up in one call."""
        (author,) = await create(store, "c")
        rows = {f"key-{n}": answer(f"key-{n}") for n in range(2000)}
        await store.commit([author.append(count=2000, records=list(rows.values()))])
        assert await store.idempotency_records([*rows, *(f"no-{n}" for n in range(2000))]) == rows

    @on_store
    async def test_compactions_have_answers_too(self, store: Store) -> None:
        """An answer may belong to a compaction."""
        (author,) = await create(store, "c")
        await store.commit([author.compact([], records=[answer("k")])])
        assert await store.idempotency_records(["k"]) == {"k": answer("k")}

    @on_store
    async def test_old_answers_are_forgotten(self, store: Store) -> None:
        """All that are older than the given moment go, thousands too; others stay."""
        authors = await create(store, *(f"c{n}" for n in range(4)))
        for number in range(1, 5):
            rows = [answer(f"{number}-{n}", number * 100) for n in range(700)]
            author = authors[number - 1]
            await store.commit([author.append(count=700, records=rows)])
        await store.forget_idempotency_records(100)
        assert len(await store.idempotency_records(["1-0", "2-0", "3-0", "4-0"])) == 4
        await store.forget_idempotency_records(399)
        for number, count in {1: 0, 2: 0, 3: 0, 4: 700}.items():
            keys = [f"{number}-{n}" for n in range(700)]
            assert len(await store.idempotency_records(keys)) == count
        assert await store.messages_before("c0", 701, PageBounds(1, ALL)) == authors[0].log[-1:]

    @on_store
    async def test_a_forgotten_key_is_free(self, store: Store) -> None:
        """A key whose answer was forgotten can be used again, also by another context."""
        one, two = await create(store, "one", "two")
        await store.commit([one.append(count=1, records=[answer("k", 1)])])
        await store.forget_idempotency_records(2)
        await store.commit([two.append(count=1, records=[answer("k", 3)])])
        assert await store.idempotency_records(["k"]) == {"k": answer("k", 3)}
        await store.commit([one.purge()])
        assert await store.idempotency_records(["k"]) == {"k": answer("k", 3)}


class PurgeContract:
    """What a purge takes and what it leaves."""

    @on_store
    async def test_a_purge_leaves_the_status(self, store: Store) -> None:
        """Of a purged context nothing is found but that it was purged."""
        (author,) = await create(store, "c")
        await store.commit([author.append(count=3, records=[answer("a")])])
        change = author.compact([Run(1, 3, replacement=4)], [b"summary"], [answer("b")])
        await store.commit([change])
        await store.commit([author.purge()])
        snapshot = await store.load("c")
        assert snapshot is not None
        assert (snapshot.row.id, snapshot.row.status) == ("c", "purged")
        assert (snapshot.window, snapshot.messages, snapshot.synthetics) == (None, [], [])
        assert await store.messages("c", 1, 9, PageBounds(9, ALL)) == []
        assert await store.messages_before("c", 9, PageBounds(9, ALL)) == []
        assert await store.contexts("", "", 9) == []
        assert await store.idempotency_records(["a", "b"]) == {}

    @on_store
    async def test_a_purged_id_is_never_used_again(self, store: Store) -> None:
        """Neither a new context nor a change of the old one is taken."""
        for name in ("short", "long" * 128):
            (author,) = await create(store, name)
            await store.commit([author.purge()])
            await refused(store, Author(name).create())
            await refused(store, author.append(count=1))
            await refused(store, author.purge())
            snapshot = await store.load(name)
            assert snapshot is not None
            assert snapshot.row.status == "purged"
        assert await listed(store) == []

    @on_store
    async def test_a_purge_leaves_the_neighbours(self, store: Store) -> None:
        """Contexts that were written together with a purged one are as they were."""
        authors = await create(store, *(f"c{n}" for n in range(6)))
        for number in range(30):
            await store.commit(
                [
                    author.append(count=1, size=200, records=[answer(f"{author.row.id}-{number}")])
                    for author in authors
                ]
            )
        await store.commit([author.purge() for author in authors[::2]])
        for author in authors[1::2]:
            name = author.row.id
            snapshot = await store.load(name)
            assert snapshot is not None
            assert (snapshot.row, snapshot.messages) == (author.row, author.log)
            keys = [f"{name}-{number}" for number in range(30)]
            assert len(await store.idempotency_records(keys)) == 30
        assert await listed(store) == ["c1", "c3", "c5"]

    @on_store
    async def test_a_big_context_is_purged(self, store: Store) -> None:
        """Thousands of messages and many MiB go like one."""
        many, big = await create(store, "many", "big")
        await store.commit([many.append(count=3500, size=50), big.append(count=12, size=MIB)])
        await store.commit([many.purge(), big.purge()])
        for name in ("many", "big"):
            assert await store.messages(name, 1, ALL, PageBounds(10, ALL)) == []
            assert (await loaded_row(store, name)).status == "purged"

    @on_store
    async def test_a_purge_goes_with_other_changes(self, store: Store) -> None:
        """A purge lands together with the rest of its commit, or not at all."""
        gone, stays = await create(store, "gone", "stays")
        await store.commit([gone.append(count=1, records=[answer("k")])])
        await refused(store, gone.purge(), Author("stays").create())
        assert (await loaded_row(store, "gone")).status == "active"
        assert await store.idempotency_records(["k"]) == {"k": answer("k")}
        gone.row = await loaded_row(store, "gone")
        purge = replace(
            gone.purge(), messages=Author("x").append(count=2).messages, records=[answer("lost")]
        )
        await store.commit([stays.append(count=1, records=[answer("k", 5)]), purge])
        assert (await loaded_row(store, "gone")).status == "purged"
        assert await store.idempotency_records(["k", "lost"]) == {"k": answer("k", 5)}
        assert await store.messages("stays", 1, 9, PageBounds(9, ALL)) == stays.log

    @on_store
    async def test_a_context_can_be_purged_as_it_begins(self, store: Store) -> None:
        """An id can be made unusable without ever having been used, unless it is in use."""
        await store.commit([Author("c").purge()])
        assert (await loaded_row(store, "c")).status == "purged"
        (author,) = await create(store, "d")
        await refused(store, Author("d").purge())
        assert await loaded_row(store, "d") == author.row


class ForkContract:
    """Contexts that are forming: copied in pieces, and erased if that is not finished."""

    @on_store
    async def test_a_fork_is_there_when_it_is_whole(self, store: Store) -> None:
        """Until then it is listed nowhere, and its state is told without messages."""
        await create(store, "a", "z")
        for name in ("fork", "long fork" * 56):
            author = Author(name)
            await store.commit([author.fork()])
            assert await loaded_row(store, name) == author.row
            await store.commit([author.append(count=3, ids=["m"])])
            await store.commit([author.append(count=2)])
            assert await listed(store) == ["a", "z"]
            assert await listed(store, after="a", limit=1) == ["z"]
            assert await store.revisions([name, "z"]) == {name: 3, "z": 1}
            snapshot = await store.load(name)
            assert snapshot is not None
            assert (snapshot.row, snapshot.messages) == (author.row, [])
            activation = author.append(count=1)
            author.row = replace(author.row, status="active")
            await store.commit([replace(activation, row=author.row, activates=True)])
            snapshot = await store.load(name)
            assert snapshot is not None
            assert (snapshot.row, snapshot.messages) == (author.row, author.log)
            assert await listed(store) == ["a", name, "z"]
            assert await store.places_of_id(name, message_id_hash("m"), [(1, 9)], 9) == [1]
            await store.commit([author.purge()])
        assert await store.abandoned(ALL**2) == []

    @on_store
    async def test_where_a_fork_comes_from_stays(self, store: Store) -> None:
        """Whatever is configured later, it is kept, up to a purge."""
        author = Author("fork")
        await store.commit([author.fork(), Author("plain").create()])
        await store.commit([author.activate()])
        changes: tuple[Callable[[], Change], ...] = (
            lambda: author.configure(token_budget=5),
            lambda: author.describe(b'{"a":1}'),
            lambda: author.append(count=1),
            lambda: author.configure(policy=b"{}"),
            author.tombstone,
        )
        for change in changes:
            await store.commit([change()])
            row = await loaded_row(store, "fork")
            assert (row, row.forked_from) == (author.row, b'["source",9]')
        assert (await store.contexts("", "", 1))[0] == author.row
        assert (await loaded_row(store, "plain")).forked_from == b""
        await store.commit([author.purge()])
        assert (await loaded_row(store, "fork")).forked_from == b""

    @on_store
    async def test_a_fork_is_dropped(self, store: Store) -> None:
        """Nothing is left of it, its id is free, and its neighbours are as they were."""
        (other,) = await create(store, "other")
        for name in ("fork", "long fork" * 56):
            author = Author(name)
            await store.commit([author.fork(), other.append(count=1)])
            for _ in range(2):
                copied = author.append(count=1100, ids=["m", "n"])
                await store.commit([copied, other.append(count=1)])
            summary = author.compact([Run(1, 9, replacement=2201)], [b"summary"])
            await store.commit([summary])
            revision = author.row.revision
            for another in (0, 1, revision - 1, revision + 1):
                await store.drop(name, another)
            assert await loaded_row(store, name) == author.row
            for _ in range(2):
                await store.drop(name, revision)
                await self._is_gone(store, name)
            await refused(store, author.append(count=1))
            assert (await loaded_row(store, "other")) == other.row
            assert await store.messages("other", 1, ALL, PageBounds(ALL, ALL)) == other.log
            again = Author(name)
            await store.commit([again.create()])
            await store.commit([again.append(count=2, ids=["n"])])
            snapshot = await store.load(name)
            assert snapshot is not None
            assert (snapshot.row, snapshot.messages) == (again.row, again.log)
            assert await store.places_of_id(name, message_id_hash("m"), [(1, ALL)], 9) == []

    async def _is_gone(self, store: Store, name: str) -> None:
        everything = PageBounds(ALL, ALL)
        assert await store.load(name) is None
        assert await store.revisions([name]) == {}
        assert name not in await listed(store)
        assert await store.abandoned(ALL**2) == []
        assert await store.messages(name, 1, ALL, everything) == []
        assert await store.path(name, [(1, ALL)], 1, ALL, everything) == []
        assert await store.places_of_id(name, message_id_hash("m"), [(1, ALL)], 9) == []
        assert await store.compactions(name, 0, ALL, everything) == []
        assert await store.load_at(name, 1) is None

    @on_store
    async def test_only_what_is_forming_is_dropped(self, store: Store) -> None:
        """A context that is there, or was purged, or never was, stays as it is."""
        active, tombstoned, purged = await create(store, "active", "tombstoned", "purged")
        await store.commit([active.append(count=1), tombstoned.tombstone(), purged.purge()])
        for name in ("active", "tombstoned", "purged", "nobody"):
            before = await store.load(name)
            for revision in range(4):
                await store.drop(name, revision)
            assert await store.load(name) == before

    @on_store
    async def test_what_is_abandoned(self, store: Store) -> None:
        """It is what is forming, and was last touched before a time."""
        early, late, made = Author("early"), Author("late"), Author("made")
        await store.commit([early.fork(updated_at_us=5), late.fork(), made.fork(updated_at_us=5)])
        await store.commit([late.append(count=1), made.activate(updated_at_us=5)])
        await create(store, "plain")
        assert await store.abandoned(5) == []
        assert await store.abandoned(6) == ["early"]
        assert await store.abandoned(late.row.updated_at_us) == ["early"]
        assert sorted(await store.abandoned(late.row.updated_at_us + 1)) == ["early", "late"]

    @on_store
    async def test_an_earlier_fork_is_not_continued(self, store: Store) -> None:
        """Of an id that was free, revisions come again: a change of what was before is refused."""
        for successor in ("fork", "create"):
            earlier = Author(f"c {successor}")
            name = earlier.row.id
            await store.commit([earlier.fork()])
            await store.commit([earlier.append(count=1)])
            await store.drop(name, earlier.row.revision)
            later = Author(name)
            created_at_us = earlier.row.created_at_us + 1
            await store.commit([getattr(later, successor)(created_at_us=created_at_us)])
            await store.commit([later.describe(b'{"a":1}')])
            assert later.row.revision == earlier.row.revision
            await refused(store, earlier.append(count=1))
            assert await loaded_row(store, name) == later.row
            assert await store.messages(name, 1, 9, PageBounds(9, ALL)) == []

    @on_store
    async def test_taken_over(self, store: Store) -> None:
        """The time at which a fork was created can grow, which tells its old owner."""
        author = Author("fork")
        await store.commit([author.fork()])
        await store.commit([author.describe(b'{"a":1}')])
        stale = author.row
        created_at_us = stale.created_at_us + 7
        await store.commit([author._change({"created_at_us": created_at_us})])
        assert (await loaded_row(store, "fork")).created_at_us == created_at_us
        author.row = stale
        await refused(store, author.append(count=1))


class StoreContract(
    LifeContract,
    LoadContract,
    CommitContract,
    LogContract,
    PathContract,
    ChangesContract,
    CompactionsContract,
    PastContract,
    SinceContract,
    ListContract,
    AnswersContract,
    PurgeContract,
    ForkContract,
):
    """All of it."""
