"""What callers of the engine are promised: durability, order, isolation, and answers that hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fastpaca.context.ops import Delete, Purge
from fastpaca.engine import Health, Written
from fastpaca.engine.cache import CONTEXT_BYTES
from fastpaca.errors import (
    ContextNotFound,
    FastpacaError,
    IdempotencyConflict,
    OutcomeUnknown,
    Purged,
    RateLimited,
    Tombstoned,
    Unavailable,
    VersionConflict,
)
from fastpaca.store.base import Change, CommitBlocked, CommitFailed, CommitUnknown, ReadFailed
from tests.engine.world import World, started
from tests.kit.stores import settle


async def test_answer_comes_after_the_commit(world: World) -> None:
    """No write is answered, and nothing of it can be read, before its commit is durable."""
    await world.put("a")
    world.store.gate.clear()
    append = asyncio.create_task(world.append("a", "hello"))
    await settle()
    assert not append.done()
    assert (await world.engine.read("a")).version == 0
    world.store.gate.set()
    assert (await append).context.version == 1
    assert (await world.engine.read("a")).version == 1


async def test_batches_come_from_load(world: World) -> None:
    """While a commit is under way, all that arrives becomes one commit."""
    await asyncio.gather(*(world.put(f"c{n}") for n in range(5)))
    assert len(world.store.commits) == 1
    world.store.gate.clear()
    first = asyncio.create_task(world.append("c0", "one"))
    await settle()
    rest = [asyncio.create_task(world.append(f"c{n % 5}", "more")) for n in range(20)]
    await settle()
    world.store.gate.set()
    await asyncio.gather(first, *rest)
    assert len(world.store.commits) == 3
    assert len(world.store.commits[-1]) == 5


async def test_ops_on_one_context_are_applied_in_order(world: World) -> None:
    """Concurrent appends get seqs in the order in which they came, without holes."""
    await world.put("a")
    written = await asyncio.gather(*(world.append("a", f"m{n}", "x") for n in range(50)))
    assert [w.context.version for w in written] == list(range(2, 102, 2))
    rows = await world.engine.pages.messages(await world.engine.read("a"), 1, 100, 1000)
    assert [row.seq for row in rows] == list(range(1, 101))


async def test_if_version_sees_the_ops_before_it_in_its_batch(world: World) -> None:
    """Of two appends with the same if_version, in one batch or not, exactly one is taken."""
    await world.put("a")
    outcomes = await asyncio.gather(
        world.append("a", "one", if_version=0),
        world.append("a", "two", if_version=0),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Written)
    assert isinstance(outcomes[1], VersionConflict)
    assert (outcomes[1].expected, outcomes[1].found) == (0, 1)
    assert (await world.engine.read("a")).last_seq == 1


async def test_refusal_that_rests_on_a_failed_commit_is_not_given(world: World) -> None:
    """A conflict with an op that then is not committed is answered as unavailable, not as 409."""
    await world.put("a")
    world.store.commit_error = CommitFailed("disk full")
    outcomes = await asyncio.gather(
        world.append("a", "one", if_version=0),
        world.append("a", "two", if_version=0),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    world.store.commit_error = None
    assert (await world.append("a", "one", if_version=0)).context.version == 1


async def test_failed_commit_changes_nothing(world: World) -> None:
    """After a commit that failed memory is as before, and the next write goes on from there."""
    await world.put("a", token_budget=100)
    await world.append("a", "x" * 30)
    before = await world.engine.read("a")
    world.store.commit_error = CommitFailed("disk full")
    with pytest.raises(Unavailable, match="nothing was changed"):
        await world.append("a", "y" * 60)
    assert await world.engine.read("a") is before
    world.store.commit_error = None
    after = (await world.append("a", "z")).context
    assert after.last_seq == 2
    assert [entry.seq for entry in after.window] == [1, 2]


async def test_one_bad_context_does_not_fail_its_neighbours(world: World) -> None:
    """If a commit is refused, its contexts are tried one by one."""
    await asyncio.gather(*(world.put(name) for name in "abc"))

    def refuses(changes: Sequence[Change]) -> Exception | None:
        bad = any(change.row.id == "b" for change in changes)
        return CommitFailed("constraint") if bad else None

    world.store.refuses = refuses
    outcomes = await asyncio.gather(
        *(world.append(name, "hi") for name in "abc"), return_exceptions=True
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Written, Unavailable, Written]


async def test_contexts_are_not_tried_one_by_one_where_all_would_wait(world: World) -> None:
    """Behind another program's lock a batch is refused as a whole, after one wait."""
    await asyncio.gather(*(world.put(name) for name in "abc"))
    tried = len(world.store.commits)
    world.store.commit_error = CommitBlocked("locked")
    outcomes = await asyncio.gather(
        *(world.append(name, "hi") for name in "abc"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
    assert len(world.store.commits) == tried + 1


async def test_unknown_outcome_is_said_and_forgotten(world: World) -> None:
    """After a commit of unknown outcome the caller is told so, and the state is read anew."""
    await world.put("a")
    commit = world.store.commit

    async def lands_without_an_answer(changes: Sequence[Change]) -> None:
        await commit(changes)
        raise CommitUnknown("connection lost", fatal=False)

    world.store.commit = lands_without_an_answer  # type: ignore[method-assign]  # a scripted store
    with pytest.raises(OutcomeUnknown):
        await world.append("a", "hello")
    world.store.commit = commit  # type: ignore[method-assign]  # as it was
    assert (await world.engine.read("a")).version == 1
    assert world.fatal == []


async def test_only_contexts_in_doubt_are_told_of_an_unknown_outcome(world: World) -> None:
    """What was certainly written is answered as usual, and its state is published."""
    await asyncio.gather(world.put("a"), world.put("b"))
    commit = world.store.commit

    async def leaves_one_in_doubt(changes: Sequence[Change]) -> None:
        await commit(changes)
        assert len(changes) == 2
        raise CommitUnknown("not erased", fatal=False, context_ids=["a"])

    world.store.commit = leaves_one_in_doubt  # type: ignore[method-assign]  # a scripted store
    appends = (world.append("a", "hello"), world.append("b", "hello"))
    doubtful, certain = await asyncio.gather(*appends, return_exceptions=True)
    assert isinstance(doubtful, OutcomeUnknown)
    assert not isinstance(certain, BaseException)
    world.store.loads.clear()
    assert (await world.engine.read("b")).version == 1
    assert world.store.loads == []
    assert (await world.engine.read("a")).version == 1
    assert world.store.loads == ["a"]


async def test_fatal_error_stops_writes_and_is_reported(world: World) -> None:
    """A failed fsync ends writing for good; reads that can go on do."""
    await world.put("a")
    await world.put("b")
    world.store.commit_error = CommitUnknown("fsync failed", fatal=True)
    with pytest.raises(OutcomeUnknown):
        await world.append("a", "hello")
    with pytest.raises(Unavailable):
        await world.append("b", "hello")
    assert world.fatal == ["fsync failed"]
    assert world.engine.health == Health("degraded", "fsync failed", False, False)
    assert (await world.engine.read("b")).version == 0


async def test_same_key_is_answered_again(world: World) -> None:
    """The same key with the same request gives the same answer, from any batch, once written."""
    await world.put("a")
    first, twin = await asyncio.gather(
        world.append("a", "hello", key="k"), world.append("a", "hello", key="k")
    )
    later = await world.append("a", "hello", key="k")
    assert (first.replayed, twin.replayed, later.replayed) == (False, True, True)
    assert first.response == twin.response == later.response == b"1"
    assert (await world.engine.read("a")).last_seq == 1


async def test_key_survives_a_restart_and_a_tombstone() -> None:
    """A stored answer is given again by a new engine, also after the context was deleted."""
    async with started(World()) as before:
        await before.put("a")
        await before.append("a", "hello", key="k")
        await before.write("a", Delete())
    async with started(World(before.store)) as after:
        again = await after.append("a", "hello", key="k")
        assert (again.replayed, again.response) == (True, b"1")
        with pytest.raises(Tombstoned):
            await after.append("a", "other")


async def test_key_of_another_request_conflicts(world: World) -> None:
    """A key that came with another request before is refused, and nothing is written."""
    await world.put("a")
    await world.put("b")
    await world.append("a", "hello", key="k")
    with pytest.raises(IdempotencyConflict):
        await world.append("a", "other", key="k")
    with pytest.raises(IdempotencyConflict):
        await world.append("b", "hello", key="k")
    assert (await world.engine.read("b")).version == 0


async def test_key_of_a_refused_request_is_free(world: World) -> None:
    """Only a success is kept under a key."""
    await world.put("a")
    with pytest.raises(VersionConflict):
        await world.append("a", "hello", if_version=9, key="k")
    world.store.commit_error = CommitFailed("disk full")
    with pytest.raises(Unavailable):
        await world.append("a", "hello", key="k")
    world.store.commit_error = None
    assert not (await world.append("a", "hello", key="k")).replayed


async def test_key_older_than_memory_is_looked_up_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was committed while its twin waited is found, also when memory forgot it."""
    monkeypatch.setattr("fastpaca.engine.idempotency.RECENT_MAX", 2)
    await world.put("a")
    world.store.gate.clear()
    first = asyncio.create_task(world.append("a", "hello", key="k"))
    await settle()
    twin = asyncio.create_task(world.append("a", "hello", key="k"))
    others = [asyncio.create_task(world.append("a", str(n), key=f"o{n}")) for n in range(9)]
    await settle()
    world.store.gate.set()
    await asyncio.gather(first, *others)
    assert (await twin).replayed
    assert (await world.engine.read("a")).last_seq == 10


async def test_missing_context_is_not_found(world: World) -> None:
    """Reads of and writes to an id that was never put are refused, and only PUT makes it."""
    with pytest.raises(ContextNotFound):
        await world.engine.read("a")
    outcomes = await asyncio.gather(
        world.append("a", "x"), world.put("a"), world.append("a", "y"), return_exceptions=True
    )
    assert isinstance(outcomes[0], ContextNotFound)
    assert isinstance(outcomes[1], Written)
    assert isinstance(outcomes[2], Written)


async def test_purged_context_is_gone_for_good(world: World) -> None:
    """After a purge reads find nothing and writes are refused, from memory and from the store."""
    await world.put("a")
    await world.append("a", "secret", key="k")
    await world.write("a", Purge())
    for _ in range(2):
        with pytest.raises(ContextNotFound):
            await world.engine.read("a")
        with pytest.raises(Purged):
            await world.append("a", "secret", key="k")
        with pytest.raises(Purged):
            await world.put("a")
        assert (await world.write("a", Purge())).events == ()
        world.engine.cache.drop("a")


async def test_load_is_done_once_for_all_who_ask(world: World) -> None:
    """A stampede on a cold context reads it once, and a reader who leaves disturbs nobody."""
    await world.put("a")
    world.engine.cache.drop("a")
    world.store.loads.clear()
    world.store.load_gate.clear()
    readers = [asyncio.create_task(world.engine.read("a")) for _ in range(500)]
    writer = asyncio.create_task(world.append("a", "hello"))
    await settle()
    readers[0].cancel()
    await settle()
    world.store.load_gate.set()
    found = await asyncio.gather(*readers[1:])
    assert {context.version for context in found} == {0}
    assert (await writer).context.version == 1
    assert world.store.loads == ["a"]


async def test_cold_context_does_not_hold_up_others(world: World) -> None:
    """Ops on a context that is being loaded wait, in order; ops on others go on."""
    await world.put("a")
    await world.put("b")
    world.engine.cache.drop("a")
    world.store.load_gate.clear()
    cold = [asyncio.create_task(world.append("a", f"m{n}")) for n in range(5)]
    await settle()
    assert (await world.append("b", "hello")).context.version == 1
    assert not any(task.done() for task in cold)
    world.store.load_gate.set()
    written = await asyncio.gather(*cold)
    assert [w.context.version for w in written] == [1, 2, 3, 4, 5]


async def test_unreadable_store_is_unavailable(world: World) -> None:
    """A load that fails refuses the ops that wait for it, and the next try may succeed."""
    await world.put("a")
    world.engine.cache.drop("a")
    world.store.load_error = ReadFailed("I/O error")
    with pytest.raises(Unavailable):
        await world.engine.read("a")
    with pytest.raises(Unavailable):
        await world.append("a", "hello")
    world.store.load_error = None
    assert (await world.append("a", "hello")).context.version == 1
    assert world.engine._queue.ops == 0


async def test_queue_is_bounded() -> None:
    """More ops than the queue holds are refused at once, and none that was taken is lost."""
    async with started(World(queue_ops_max=10)) as world:
        await world.put("a")
        world.store.gate.clear()
        tasks = [asyncio.create_task(world.append("a", str(n))) for n in range(30)]
        await settle()
        world.store.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Written] * 10 + [RateLimited] * 20
        assert (await world.append("a", "again")).context.version == 11


async def test_caller_who_leaves_does_not_stop_the_write(world: World) -> None:
    """An op that was taken is committed, whoever still waits for it."""
    await world.put("a")
    world.store.gate.clear()
    gone = asyncio.create_task(world.append("a", "one"))
    await settle()
    gone.cancel()
    stays = asyncio.create_task(world.append("a", "two"))
    await settle()
    world.store.gate.set()
    assert (await stays).context.version == 2
    assert world.engine._queue.ops == 0


async def test_stop_commits_what_was_taken(world: World) -> None:
    """Stopping refuses new writes, and finishes those under way."""
    await world.put("a")
    world.store.gate.clear()
    taken = [asyncio.create_task(world.append("a", str(n))) for n in range(5)]
    await settle()
    stop = asyncio.create_task(world.engine.stop())
    await settle()
    assert not stop.done()
    with pytest.raises(Unavailable):
        await world.append("a", "late")
    world.store.gate.set()
    await stop
    assert [(await task).context.version for task in taken] == [1, 2, 3, 4, 5]


async def test_hot_contexts_are_bounded_in_bytes() -> None:
    """Contexts leave memory, least recently used first, and come back equal."""
    async with started(World(hot_bytes=10 * CONTEXT_BYTES)) as world:
        views = {}
        for n in range(50):
            await world.put(f"c{n}")
            views[n] = (await world.append(f"c{n}", f"hello {n}")).context.view()
            assert world.engine.cache.bytes <= 10 * CONTEXT_BYTES
        assert "c0" not in world.engine.cache
        assert "c49" in world.engine.cache
        for n in range(50):
            again = (await world.engine.read(f"c{n}")).view()
            assert [e.body for e in again.entries] == [e.body for e in views[n].entries]


async def test_context_with_waiting_ops_stays_in_memory() -> None:
    """With room for no context at all, every op still finds its context, and all are committed."""
    async with started(World(hot_bytes=0)) as world:
        await asyncio.gather(*(world.put(f"c{n}") for n in range(5)))
        written = await asyncio.gather(
            *(world.append(f"c{n % 5}", f"m{n}") for n in range(50)), return_exceptions=True
        )
        assert not [w for w in written if isinstance(w, FastpacaError)]
        for n in range(5):
            assert (await world.engine.read(f"c{n}")).last_seq == 10


async def test_defect_in_one_op_harms_nobody_else(world: World) -> None:
    """An op that fails in an unforeseen way fails alone, and leaves nothing behind."""
    await world.put("a")

    def broken(context: object, events: object) -> bytes:
        raise ZeroDivisionError

    outcomes = await asyncio.gather(
        world.append("a", "one"),
        world.engine.write("a", Delete(), broken),
        world.append("a", "two"),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], ZeroDivisionError)
    context = await world.engine.read("a")
    assert (context.version, context.status) == (2, "active")


async def test_late_load_does_not_bring_back_an_older_state(world: World) -> None:
    """A read of a context that does not exist yet may end after it was made and written to."""
    world.store.load_gate.clear()
    making = asyncio.create_task(world.put("a"))
    await settle()
    world.store.load_gate.set()
    # When it ends, nobody knows yet that there is none.
    while "a" in world.engine._contexts._loads:  # noqa: ASYNC110  # the engine has no event for it
        await asyncio.sleep(0)
    world.store.keeps_next_load = True
    reading = asyncio.create_task(world.engine.read("a"))
    await making
    await world.append("a", "one")
    world.engine.cache.drop("a")
    world.store.release.set()
    assert (await reading).version == 1
    assert (await world.engine.read("a")).version == 1
    assert (await world.append("a", "two")).context.version == 2


async def test_state_that_was_overtaken_is_read_anew(world: World) -> None:
    """A context whose state in memory is not the store's is refused once, and then goes on."""
    await world.put("a")
    other = World(world.store)
    await other.engine.start()
    await other.append("a", "from elsewhere")
    with pytest.raises(Unavailable):
        await world.append("a", "here")
    assert (await world.append("a", "here")).context.version == 2
