"""Channels and their followers, over a source that can be slow, unreadable, or ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from fastpaca.context import create
from fastpaca.context.config import LastN, Manual
from fastpaca.context.context import ContextState
from fastpaca.context.ops import Compact, Delete, Op, Purge, Put
from fastpaca.engine.feed import changes_of
from fastpaca.engine.rows import with_revision
from fastpaca.errors import ContextNotFound, Unavailable
from fastpaca.stream.follower import Follower, Stopping
from fastpaca.stream.hub import Hub
from fastpaca.stream.recent import PAGE_BYTES_MAX, PAGE_CHANGES, PAGE_HEADS
from fastpaca.stream.subscription import (
    ContextFrame,
    Frame,
    MessageFrame,
    Page,
    PingFrame,
    VersionChange,
)
from tests.kit.http import until
from tests.kit.messages import append, counted, user
from tests.kit.stores import settle

AT_ONCE = 0.001
"""Seconds that stand for those of a real hub."""


def encode(frame: Frame | PingFrame) -> bytes:
    """Write the kind of *frame* and where the cursor is then."""
    return b"%s %d" % (type(frame).__name__.removesuffix("Frame").lower().encode(), frame.cursor)


class Story:
    """
    One context with its store, and a hub.

    Attributes:
        context: As it is committed.
        rows: All changes, by version.
        reads: The pages that were read, as `(after, through)`.
        bodies: Whether each was read with the bodies of its messages.
        gate: Reads wait while it is closed.
        unreadable: Whether reads fail.
    """

    def __init__(self, op: Put | None = None, ping_seconds: float = 1000) -> None:
        self.context, _ = create("c", op or Put(), 0)
        self.rows: dict[int, VersionChange] = {}
        self.reads: list[tuple[int, int]] = []
        self.bodies: list[bool] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.unreadable = False
        self.hub = Hub(self, ping_seconds, retry_seconds=AT_ONCE)

    async def read(self, context_id: str) -> ContextState:
        await asyncio.sleep(0)
        if self.unreadable:
            raise Unavailable
        if self.context.status == "purged" or context_id != "c":
            raise ContextNotFound
        return self.context

    async def changes(
        self, context_id: str, after: int, through: int, *, with_bodies: bool
    ) -> Page:
        self.reads.append((after, through))
        self.bodies.append(with_bodies)
        found = [self.rows[version] for version in range(after + 1, through + 1)]
        await self.gate.wait()
        if self.unreadable:
            raise Unavailable
        return Page(after, found, found[-1].version)

    def commit(self, op: Op, *, told: bool = True) -> None:
        """Commit *op*, and tell the hub of it."""
        context, events = self.context.apply(op, 0)
        self.context = with_revision(context, self.context.revision + 1)
        changes = changes_of(events)
        self.rows |= {change.version: change for change in changes}
        if told:
            self.hub.publish(self.context, changes)

    def append(self, *texts: str, told: bool = True) -> None:
        self.commit(append(*texts), told=told)

    async def follow(
        self,
        cursor: int | None = None,
        encode: Callable[[Frame | PingFrame], bytes] = encode,
        *,
        wants_messages: bool = True,
    ) -> Follower:
        return await self.hub.follow("c", cursor, encode, wants_messages=wants_messages)


async def taken(follower: Follower, count: int) -> list[str]:
    """Take so many frames, and no more."""
    found: list[str] = []
    while len(found) < count:
        async with asyncio.timeout(30):
            found += [text.decode() for text in await follower.next()]
    assert len(found) == count, found
    return found


async def test_live_changes_come_from_memory() -> None:
    """
    Who is live is told of a commit without anything being read.
    """
    story = Story()
    follower = await story.follow()
    assert await taken(follower, 1) == ["context 0"]
    story.append("one", "two")
    assert await taken(follower, 3) == ["message 1", "message 1", "context 2"]
    assert story.reads == []


async def test_who_wants_no_messages_is_sent_none_and_none_are_read() -> None:
    """
    A replay reads what there is without the bodies, in longer pages, and tells what is left.
    """
    story = Story(Put(policy=Manual()))
    story.append(*map(str, range(PAGE_HEADS + 5)), told=False)
    version = PAGE_HEADS + 5
    follower = await story.follow(0, wants_messages=False)
    assert await taken(follower, 1) == [f"context {version}"]
    assert story.reads == [(0, PAGE_HEADS), (PAGE_HEADS, version)]
    assert story.bodies == [False, False]
    story.append("one more")
    assert await taken(follower, 1) == [f"context {version + 1}"]
    assert len(story.reads) == 2


async def test_a_ping_tells_where_a_silent_replay_has_come() -> None:
    """
    Versions without a frame are passed all the same, and a reader that is cut off goes on there.
    """
    story = Story(Put(policy=Manual()))
    story.append(*map(str, range(PAGE_HEADS + 5)), told=False)
    follower = await story.follow(0, wants_messages=False)
    story.gate.clear()
    first = asyncio.create_task(follower.next())
    await until(lambda: len(story.reads) == 1)
    follower.ping()
    story.gate.set()
    assert await first == [b"ping %d" % PAGE_HEADS]
    assert await taken(follower, 1) == [f"context {PAGE_HEADS + 5}"]


async def test_followers_with_and_without_messages_share_no_page() -> None:
    """
    A page without bodies is nothing for one who wants them; each kind is read once for all.
    """
    story = Story()
    story.append("one", told=False)
    followers = [await story.follow(0, wants_messages=wants) for wants in (True, False, True)]
    story.gate.clear()
    takes = [asyncio.create_task(taken(f, n)) for f, n in zip(followers, (2, 1, 2), strict=True)]
    await until(lambda: len(story.reads) == 2)
    story.gate.set()
    both = ["message 0", "context 1"]
    assert await asyncio.gather(*takes) == [both, ["context 1"], both]
    assert sorted(story.bodies) == [False, True]


async def test_lost_news_is_made_up_for() -> None:
    """
    A commit that nobody told of is found when somebody rings, or with the next one.
    """
    story = Story()
    follower = await story.follow()
    await taken(follower, 1)
    story.append("one", told=False)
    story.hub.ring("c")
    assert await taken(follower, 2) == ["message 0", "context 1"]
    story.append("two")
    await taken(follower, 2)
    story.append("three", told=False)
    story.append("four")
    assert await taken(follower, 3) == ["message 3", "message 3", "context 4"]
    assert story.reads == [(0, 1), (2, 4)]


async def test_ring_for_nobody_does_nothing() -> None:
    """
    What happens to a context that nobody follows is nobody's news.
    """
    story = Story()
    story.append("one")
    story.hub.ring("c")
    story.hub.publish(story.context, ())
    assert not story.hub.channels


async def test_followers_keep_their_own_pace() -> None:
    """
    Followers at many cursors each are given all that comes behind their own.
    """
    story = Story()
    story.append(*"x" * 500)
    followers = [await story.follow(cursor) for cursor in range(0, 500, 50)]
    quick = await story.follow()
    await taken(quick, 1)
    for _ in range(20):
        story.append("y")
        assert len(await taken(quick, 2)) == 2
    for number, follower in enumerate(followers):
        found = await taken(follower, 520 - 50 * number + 1)
        cursors = [int(text.split()[1]) for text in found]
        assert cursors == [*range(50 * number + 1, 520), 519, 520]
    assert all(through - after <= PAGE_CHANGES for after, through in story.reads)


async def test_page_is_read_once_for_all() -> None:
    """
    Those who want the same page at the same time cause one read.
    """
    story = Story()
    story.append(*"x" * 1000)
    followers = [await story.follow(0) for _ in range(30)]
    found = await asyncio.gather(*(taken(follower, 1001) for follower in followers))
    assert len({tuple(texts) for texts in found}) == 1
    assert story.reads == [(after, after + PAGE_CHANGES) for after in range(0, 1000, PAGE_CHANGES)]


async def test_frame_is_encoded_once_for_all() -> None:
    """
    Followers of one context share the bytes of what they are sent, those of each form.
    """
    encoded: list[Frame | PingFrame] = []

    def counted(frame: Frame | PingFrame) -> bytes:
        encoded.append(frame)
        return encode(frame)

    story = Story()
    others = [await story.follow() for _ in range(3)]
    followers = [await story.follow(encode=counted) for _ in range(20)]
    for follower in (*others, *followers):
        await taken(follower, 1)
    encoded.clear()
    story.append("one")
    texts = [await follower.next() for follower in followers]
    assert [type(frame) for frame in encoded] == [MessageFrame, ContextFrame]
    assert all(
        text is first for found in texts for text, first in zip(found, texts[0], strict=True)
    )


async def test_unreadable_store_is_asked_again() -> None:
    """
    While nothing can be read nothing comes, pings aside, and afterwards all of it.
    """
    story = Story()
    story.append("one", "two")
    follower = await story.follow(0)
    story.unreadable = True
    next_frames = asyncio.create_task(follower.next())
    await until(lambda: len(story.reads) >= 3)
    follower.ping()
    assert await next_frames == [b"ping 0"]
    with pytest.raises(Unavailable):
        await story.follow()
    story.append("three", told=False)
    story.hub.ring("c")
    await settle()
    story.unreadable = False
    found: list[bytes] = []
    while found[-1:] != [b"context 3"]:
        found += await follower.next()
    messages = [text for text in found if text.startswith(b"message")]
    assert len(messages) == 3


async def test_broken_follower_breaks_nobody_else() -> None:
    """
    What cannot be written for one follower fails for it alone.
    """

    def fails(frame: Frame | PingFrame) -> bytes:
        raise ValueError("a defect")

    story = Story()
    good, broken, other = (
        await story.follow(),
        await story.follow(encode=fails),
        await story.follow(),
    )
    with pytest.raises(ValueError, match="a defect"):
        await broken.next()
    broken.close()
    for follower in (good, other):
        await taken(follower, 1)
    story.append("one")
    for follower in (good, other):
        assert await taken(follower, 2) == ["message 0", "context 1"]


async def test_many_are_woken_a_few_at_a_time() -> None:
    """
    Between one group of followers and the next, others get their turn.
    """
    story = Story()
    followers = [await story.follow() for _ in range(200)]
    for follower in followers:
        await taken(follower, 1)
    tasks = [asyncio.create_task(follower.next()) for follower in followers]
    await settle()
    story.append("one")
    done = [0]
    while done[-1] < len(tasks):
        await asyncio.sleep(0)
        done.append(sum(task.done() for task in tasks))
    assert max(after - before for before, after in pairwise(done)) <= 50


async def test_silence_is_broken_by_pings() -> None:
    """
    A follower that is given nothing for a while is given a ping, again and again.
    """
    story = Story(ping_seconds=0.03)
    follower = await story.follow()
    assert await taken(follower, 3) == ["context 0", "ping 0", "ping 0"]


async def test_no_ping_comes_behind_something_else() -> None:
    """
    Who was just given something needs no ping.
    """
    story = Story()
    follower = await story.follow()
    await taken(follower, 1)
    follower.ping()
    story.append("one")
    assert await taken(follower, 2) == ["message 0", "context 1"]
    story.append("two")
    assert await taken(follower, 2) == ["message 1", "context 2"]


async def test_cursor_is_held_against_what_is_newest() -> None:
    """
    A follower with a version that the channel was not told of yet is no follower of the past.
    """
    story = Story()
    first = await story.follow()
    await taken(first, 1)
    story.append("one", told=False)
    second = await story.follow(1)
    assert await taken(second, 1) == ["context 1"]
    assert await taken(first, 2) == ["message 0", "context 1"]


async def test_old_news_changes_nothing() -> None:
    """
    What was committed before the newest that is known is told to nobody.
    """
    story = Story()
    follower = await story.follow()
    await taken(follower, 1)
    story.append("one", told=False)
    old = story.context
    story.append("two")
    assert await taken(follower, 3) == ["message 1", "message 1", "context 2"]
    story.hub.publish(old, ())
    state = story.hub.channels["c"].state
    assert state is not None
    assert state.version == 2
    next_frames = asyncio.create_task(follower.next())
    await settle()
    assert not next_frames.done()
    follower.close()
    assert await next_frames == []


async def test_erased_content_is_not_given_any_more() -> None:
    """
    A page that was read before a purge and comes behind it is thrown away.
    """
    story = Story()
    story.append("one", "two")
    follower = await story.follow(0)
    story.gate.clear()
    next_frames = asyncio.create_task(follower.next())
    await settle()
    assert story.reads == [(0, 2)]
    story.commit(Purge())
    story.gate.set()
    assert await next_frames == [b"tombstoned 0"]
    assert follower.is_erased
    assert follower.has_ended
    assert await follower.next() == []


async def test_erased_changes_are_not_in_memory_any_more() -> None:
    """
    Also what was published just before a purge is not given behind it.
    """
    story = Story()
    follower = await story.follow()
    await taken(follower, 1)
    story.append("one")
    story.commit(Purge())
    assert await taken(follower, 1) == ["tombstoned 0"]


async def test_purge_is_found_when_nobody_told_of_it() -> None:
    """
    Whoever looks for a context that is gone is told that it is.
    """
    story = Story()
    follower = await story.follow()
    await taken(follower, 1)
    story.commit(Purge(), told=False)
    story.hub.ring("c")
    assert await taken(follower, 1) == ["tombstoned 0"]


async def test_deletion_ends_it() -> None:
    """
    Behind the last change comes the end, and then nothing.
    """
    story = Story()
    follower = await story.follow()
    await taken(follower, 1)
    story.append("one")
    story.commit(Delete())
    assert await taken(follower, 2) == ["message 1", "tombstoned 1"]
    assert await follower.next() == []


async def test_follower_that_leaves_while_it_reads_just_ends() -> None:
    """
    Closing ends a wait without an error, whatever it is that is waited for.
    """
    story = Story()
    story.append("one")
    follower = await story.follow(0)
    story.gate.clear()
    next_frames = asyncio.create_task(follower.next())
    await settle()
    follower.close()
    await settle()
    story.gate.set()
    await next_frames
    assert not next_frames.cancelled()
    assert await follower.next() == []


async def test_nothing_is_left_of_those_who_leave() -> None:
    """
    With its last follower a channel goes, and with the last channel the pings.
    """
    story = Story(ping_seconds=0.03)
    before = asyncio.all_tasks()
    followers = [await story.follow() for _ in range(3)]
    story.unreadable = True
    story.hub.ring("c")
    with pytest.raises(Unavailable):
        await story.follow()
    with pytest.raises(Unavailable):
        await story.hub.follow("d", None, encode)
    assert story.hub.followers == 3
    assert list(story.hub.channels) == ["c"]
    for follower in followers:
        follower.close()
        follower.close()
    await settle()
    assert not story.hub.channels
    assert story.hub.followers == 0
    assert asyncio.all_tasks() == before
    story.unreadable = False
    with pytest.raises(ContextNotFound):
        await story.hub.follow("d", None, encode)
    assert not story.hub.channels


async def test_end_of_a_node_is_told_to_all() -> None:
    """
    Followers that wait and followers that have something to take are told of the end.
    """
    story = Story()
    waiting, behind = await story.follow(), await story.follow()
    await taken(waiting, 1)
    next_frames = asyncio.create_task(waiting.next())
    await settle()
    story.hub.stop()
    with pytest.raises(Stopping):
        await next_frames
    with pytest.raises(Stopping):
        await behind.next()
    with pytest.raises(Unavailable):
        await story.follow()


async def test_large_window_is_fitted_aside() -> None:
    """
    Where it takes long to see what a reader is given, the news comes a little later, and is right.
    """
    story = Story(Put(token_budget=1_000_000, policy=LastN(limit=5000)))
    follower = await story.follow()
    await taken(follower, 1)
    story.append(*"x" * 1500)
    assert (await taken(follower, 1501))[-1] == "context 1500"
    told: list[ContextFrame] = []

    def noted(frame: Frame | PingFrame) -> bytes:
        if isinstance(frame, ContextFrame):
            told.append(frame)
        return encode(frame)

    other = await story.follow(encode=noted)
    await taken(other, 1)
    story.commit(Put(token_budget=2000))
    assert story.context.window.tokens > 2000
    assert await taken(other, 1) == ["context 1500"]
    assert told[-1].used_tokens == story.context.view().used_tokens


async def test_compaction_is_told() -> None:
    """
    A compact call is a version of its own, without a message.
    """
    story = Story(Put(policy=Manual()))
    follower = await story.follow()
    await taken(follower, 1)
    story.commit(Compact((counted(user("summary")),)))
    assert await taken(follower, 2) == ["compaction 0", "context 1"]


async def test_pages_are_bounded_in_bytes() -> None:
    """
    Who is behind is given no more at once than a page, from memory as from the store.
    """
    story = Story(Put(token_budget=10**9))
    follower = await story.follow(encode=lambda f: f.body if isinstance(f, MessageFrame) else b"")
    await follower.next()
    story.append(*("x" * 20_000 for _ in range(100)))
    sizes: list[int] = []
    while sum(sizes) < 2_000_000:
        sizes.append(sum(map(len, await follower.next())))
    assert story.reads == []
    assert max(sizes) <= PAGE_BYTES_MAX
    story.append("x" * 2 * PAGE_BYTES_MAX)
    assert sum(map(len, await follower.next())) > 2 * PAGE_BYTES_MAX
