"""Followers at one node are told what other nodes have written."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec.structs import replace

from fastpaca.context import create
from fastpaca.context.ops import Compact, Put
from fastpaca.engine import Engine, feed, rows
from fastpaca.engine.doorbell import QUERY_CONTEXTS_MAX, pause
from fastpaca.store.base import Diff, MessageRow
from fastpaca.stream.follower import Follower
from tests.engine.nodes import nodes
from tests.engine.world import versions as shape
from tests.kit.messages import append

ENOUGH_SECONDS = 20


def encode(frame: object) -> bytes:
    """Write what kind of frame it is, and of which version."""
    return json.dumps([type(frame).__name__, getattr(frame, "version", None)]).encode()


async def told(follower: Follower, count: int) -> list[int]:
    """Wait until a follower was sent so many messages; their versions."""
    versions: list[int] = []
    async with asyncio.timeout(ENOUGH_SECONDS):
        while len(versions) < count:
            frames = [json.loads(text) for text in await follower.next()]
            versions += [version for kind, version in frames if kind == "MessageFrame"]
    return versions


async def test_followers_hear_of_other_nodes() -> None:
    """What one node appends, those who follow at another are sent, once and in order."""
    async with nodes() as (_, (left, right)):
        await left.write("c", Put(), shape)
        follower = await right.hub.follow("c", 0, encode)
        writing = asyncio.create_task(_write_many(left, 30))
        assert await told(follower, 30) == list(range(1, 31))
        await writing
        follower.close()


async def _write_many(engine: Engine, count: int) -> None:
    for _ in range(count):
        await engine.write("c", append("m"), shape)
        await asyncio.sleep(0)


async def test_what_was_caught_up_with_is_not_read_again() -> None:
    """The messages that brought a node up to date are what its followers are sent."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(), shape)
        await left.write("c", append("1"), shape)
        follower = await right.hub.follow("c", 1, encode)
        await left.write("c", append("2", "3"), shape)
        assert await told(follower, 2) == [2, 3]
        await left.write("c", append("4"), shape)
        assert await told(follower, 1) == [4]
        assert store.pages == 0
        follower.close()


async def test_changes_that_did_not_come_with_the_state_are_read() -> None:
    """A rewritten window does not tell what led to it."""
    async with nodes() as (store, (left, right)):
        await left.write("c", Put(), shape)
        follower = await right.hub.follow("c", 0, encode)
        await left.write("c", append("1", "2"), shape)
        await left.write("c", Compact(()), shape)
        await left.write("c", append("3"), shape)
        assert await told(follower, 3) == [1, 2, 4]
        assert store.pages > 0
        follower.close()


def test_only_what_is_whole_counts_as_all_changes() -> None:
    """Rows that are missing make a hole, and what has a hole is read from the store."""
    context, _ = create("c", Put(), 1)
    row = replace(rows.context_row(context, b""), version=2, last_seq=2)
    log = [MessageRow(seq, seq, b'{"role":"user"}', b"\x94\x01\x01\x90\x90", 1) for seq in (1, 2)]
    whole = feed.changes_since(context, Diff(row, None, log, []))
    assert [change.version for change in whole] == [1, 2]
    for delta in (Diff(row, None, log[1:], []), Diff(row, b"{}", log, [])):
        assert feed.changes_since(context, delta) == []


async def test_many_contexts_are_asked_about_in_pieces() -> None:
    """No query is longer than what the event loop can bear, and all contexts are asked about."""
    names = [f"c{number}" for number in range(QUERY_CONTEXTS_MAX + 10)]
    async with nodes() as (store, (left, right)):
        for name in names:
            await left.write(name, Put(), shape)
        followers = {name: await right.hub.follow(name, 0, encode) for name in names}
        for name in (names[0], names[-1]):
            await left.write(name, append("1"), shape)
            assert await told(followers[name], 1) == [1]
        assert store.asked == QUERY_CONTEXTS_MAX
        for follower in followers.values():
            follower.close()


@pytest.mark.parametrize(("followed", "expected"), [(0, 0.025), (1000, 0.025), (10_000, 0.15)])
def test_looking_takes_a_bounded_part_of_the_time(followed: int, expected: float) -> None:
    """The more there is to look at, the rarer it is done."""
    assert pause(0.025, followed) == pytest.approx(expected)
