"""What the engine says of the past, and what it does when the store cannot be read."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fastpaca.context.ops import Compact, Purge
from fastpaca.errors import ContextNotFound, Unavailable
from fastpaca.store.base import CompactionRow, PageBounds, ReadFailed, Snapshot
from tests.engine.world import World, started
from tests.kit.messages import counted, user
from tests.kit.stores import ScriptedStore


class UnreadableStore(ScriptedStore):
    """A store whose past cannot be read."""

    async def load_at(self, context_id: str, version: int) -> Snapshot | None:
        raise ReadFailed(f"{context_id} at {version}")

    async def compactions(
        self, context_id: str, after_version: int, to_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        raise ReadFailed(f"{context_id} {after_version} {to_version} {bounds}")

    async def compactions_before(
        self, context_id: str, before_version: int, bounds: PageBounds
    ) -> list[CompactionRow]:
        raise ReadFailed(f"{context_id} {before_version} {bounds}")


async def test_the_past_keeps_what_is_of_now(world: World) -> None:
    """Window, version, end of the log and moment are those of then, all else is of now."""
    await world.put("c", 1000)
    then = (await world.append("c", "one")).context
    await world.write("c", Compact((counted(user("so far")),)))
    now = (await world.put("c", 500)).context
    past = await world.engine.pages.at_version(now, 1)
    assert list(past.window) == list(then.window)
    assert (past.version, past.last_seq) == (then.version, then.last_seq)
    assert past.spoken_at_us == then.spoken_at_us
    kept = replace(
        past,
        version=now.version,
        last_seq=now.last_seq,
        spoken_at_us=now.spoken_at_us,
        window=now.window,
    )
    assert kept == now


async def test_the_present_is_read_from_memory() -> None:
    """The current version is what the engine holds already; the store is not asked."""
    async with started(World(UnreadableStore())) as world:
        await world.put("c")
        now = (await world.append("c", "one")).context
        assert await world.engine.pages.at_version(now, 1) is now


async def test_the_past_does_not_become_the_present(world: World) -> None:
    """Reading an earlier version leaves the state in memory as it is."""
    await world.put("c")
    await world.append("c", "one", "two")
    now = await world.engine.read("c")
    await world.engine.pages.at_version(now, 1)
    assert await world.engine.read("c") is now


async def test_a_purge_takes_the_past_from_readers_under_way(world: World) -> None:
    """Who asks for an earlier version of what was purged meanwhile is told that it is gone."""
    await world.put("c")
    now = (await world.append("c", "one")).context
    await world.write("c", Purge())
    with pytest.raises(ContextNotFound):
        await world.engine.pages.at_version(now, 0)
    with pytest.raises(ContextNotFound):
        await world.engine.pages.compactions(now, 0, 9)
    with pytest.raises(ContextNotFound):
        await world.engine.pages.compactions_before(now, 9, 9)


async def test_compactions_that_are_not_published_are_not_read(world: World) -> None:
    """The history goes as far as the state that its reader has."""
    await world.put("c")
    await world.write("c", Compact(()))
    before = await world.engine.read("c")
    await world.write("c", Compact(()))
    after = await world.engine.read("c")
    assert [row.version for row in await world.engine.pages.compactions(before, 0, 9)] == [1]
    assert [row.version for row in await world.engine.pages.compactions(after, 0, 9)] == [1, 2]
    assert [row.version for row in await world.engine.pages.compactions(after, 1, 9)] == [2]


async def test_unreadable_past_is_unavailable() -> None:
    """A store that cannot be read is told as such, and nothing is lost by it."""
    async with started(World(UnreadableStore())) as world:
        await world.put("c")
        await world.append("c", "one", "two")
        now = await world.engine.read("c")
        with pytest.raises(Unavailable, match="cannot be read"):
            await world.engine.pages.at_version(now, 1)
        with pytest.raises(Unavailable, match="cannot be read"):
            await world.engine.pages.compactions(now, 1, 9)
        with pytest.raises(Unavailable, match="cannot be read"):
            await world.engine.pages.compactions_before(now, 1, 9)
        assert await world.engine.read("c") is now
