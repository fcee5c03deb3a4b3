"""
Each rule of a subscription by an example.

Frames are compared as short texts: the kind, the version, and behind the @ the cursor.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from fastpaca.stream.subscription import (
    AppendedMessage,
    CompactionFrame,
    ContextFrame,
    Frame,
    GapFrame,
    LatestState,
    MessageFrame,
    Page,
    ResetFrame,
    Subscription,
    TombstonedFrame,
    VersionChange,
    WindowRewrite,
)

TRIM = WindowRewrite("last_n", 1, 4, 90, 40)
CALL = WindowRewrite("manual", 1, 9, 80, 10)


def state(version: int, revision: int | None = None, **changes: object) -> LatestState:
    """Make the state of a context that has had nothing but appends, or another one by *changes*."""
    plain = LatestState(
        version=version,
        revision=version + 1 if revision is None else revision,
        is_tombstoned=False,
        is_gone=False,
        needs_compaction=False,
        used_tokens=10 * version,
        token_budget=1000,
    )
    return replace(plain, **changes)


def append(version: int) -> VersionChange:
    return VersionChange(version, AppendedMessage(seq=version, body=b'{"n":%d}' % version), None)


def trimmed(version: int) -> VersionChange:
    return replace(append(version), compaction=TRIM)


def compacted(version: int) -> VersionChange:
    return VersionChange(version, None, CALL)


def page(after: int, changes: Iterable[VersionChange | int], through: int | None = None) -> Page:
    """Make a page; a number stands for an append, and it ends with its last change."""
    whole = [append(change) if isinstance(change, int) else change for change in changes]
    if through is None:
        through = whole[-1].version if whole else after
    return Page(after, whole, through)


def following(cursor: int | None, newest: LatestState) -> Subscription:
    subscription = Subscription(cursor)
    subscription.ring(newest)
    return subscription


def live(version: int) -> Subscription:
    """Give a subscription that is live at *version*, its context frame given."""
    subscription = following(version, state(version))
    assert texts(subscription.settle()) == [f"context {version} @{version}"]
    return subscription


def texts(frames: Iterable[Frame]) -> list[str]:
    return [text(frame) for frame in frames]


def text(frame: Frame) -> str:
    kind = type(frame).__name__.removesuffix("Frame").lower()
    if isinstance(frame, GapFrame):
        return f"gap {frame.expected} to {frame.actual} @{frame.cursor}"
    return f"{kind} {frame.version} @{frame.cursor}"


# --- live -------------------------------------------------------------------------------------


def test_an_append_is_told_with_its_context_frame_last() -> None:
    """The message leaves the cursor where it was; the context frame of its version moves it."""
    subscription = live(3)
    subscription.ring(state(4))
    assert subscription.wanted == (3, 4)
    assert texts(subscription.deliver(page(3, [4]))) == ["message 4 @3", "context 4 @4"]
    assert subscription.cursor == 4
    assert subscription.is_live


def test_a_trim_stands_between_its_message_and_the_context() -> None:
    """The frames of one version come in their order, and the cursor moves on the last of them."""
    subscription = live(3)
    subscription.ring(state(4))
    frames = subscription.deliver(page(3, [trimmed(4)]))
    assert texts(frames) == ["message 4 @3", "compaction 4 @3", "context 4 @4"]


def test_a_compact_call_is_a_version_without_a_message() -> None:
    """It is told as its compaction and the context."""
    subscription = live(3)
    subscription.ring(state(4))
    assert texts(subscription.deliver(page(3, [compacted(4)]))) == [
        "compaction 4 @3",
        "context 4 @4",
    ]


def test_frames_hold_what_the_changes_and_the_state_hold() -> None:
    """Nothing is left out on the way, and nothing is mixed up."""
    subscription = live(3)
    subscription.ring(
        LatestState(
            version=4,
            revision=9,
            is_tombstoned=False,
            is_gone=False,
            needs_compaction=True,
            used_tokens=77,
            token_budget=500,
        )
    )
    change = VersionChange(
        4, AppendedMessage(seq=2, body=b"{}"), WindowRewrite("skip_parts", 1, 2, 900, 77)
    )
    assert subscription.deliver(page(3, [change])) == [
        MessageFrame(version=4, cursor=3, seq=2, body=b"{}"),
        CompactionFrame(
            version=4,
            cursor=3,
            strategy="skip_parts",
            from_seq=1,
            to_seq=2,
            tokens_before=900,
            tokens_after=77,
        ),
        ContextFrame(version=4, cursor=4, needs_compaction=True, used_tokens=77, token_budget=500),
    ]


def test_changes_in_quick_succession_share_one_context_frame() -> None:
    """It is state, not history: only the newest version has one."""
    subscription = live(3)
    subscription.ring(state(6))
    assert texts(subscription.deliver(page(3, [4, trimmed(5), 6]))) == [
        "message 4 @4",
        "message 5 @4",
        "compaction 5 @5",
        "message 6 @5",
        "context 6 @6",
    ]


def test_a_new_version_has_a_context_frame_even_if_nothing_else_differs() -> None:
    """A message of no tokens changes the window as well."""
    subscription = live(3)
    subscription.ring(state(4, used_tokens=30))
    assert texts(subscription.deliver(page(3, [4]))) == ["message 4 @3", "context 4 @4"]


# --- where it begins --------------------------------------------------------------------------


def test_nothing_is_told_before_the_first_doorbell() -> None:
    """There is nothing to read and nothing to say, and a page that comes says nothing."""
    subscription = Subscription(0)
    assert subscription.wanted is None
    assert subscription.settle() == []
    assert subscription.deliver(page(0, [1, 2])) == []
    assert not subscription.is_live
    assert subscription.cursor == 0


def test_a_cursor_of_zero_replays_everything() -> None:
    """Every version is told, and only the newest has a context frame."""
    subscription = following(0, state(3))
    assert subscription.settle() == []
    assert not subscription.is_live
    assert subscription.wanted == (0, 3)
    assert texts(subscription.deliver(page(0, [1, compacted(2), 3]))) == [
        "message 1 @1",
        "compaction 2 @2",
        "message 3 @2",
        "context 3 @3",
    ]


def test_a_cursor_replays_only_what_lies_behind_it() -> None:
    """What was processed is not told again, even if a page holds it."""
    subscription = following(2, state(3))
    assert subscription.wanted == (2, 3)
    assert texts(subscription.deliver(page(0, [1, 2, 3]))) == ["message 3 @2", "context 3 @3"]


def test_from_now_begins_with_the_context() -> None:
    """Without a cursor the first frame says where the follower has come in."""
    subscription = following(None, state(7))
    assert subscription.wanted is None
    assert texts(subscription.settle()) == ["context 7 @7"]
    assert subscription.is_live
    subscription.ring(state(8))
    assert texts(subscription.deliver(page(7, [8]))) == ["message 8 @7", "context 8 @8"]


def test_from_now_has_no_cursor_before_the_first_doorbell() -> None:
    """Any number would be a lie: 0 would replay everything."""
    with pytest.raises(AssertionError, match="first doorbell"):
        _ = Subscription(None).cursor


def test_an_empty_context_can_be_followed() -> None:
    """Version 0 is a place like any other."""
    for cursor in (None, 0):
        subscription = following(cursor, state(0))
        assert texts(subscription.settle()) == ["context 0 @0"]
        subscription.ring(state(1))
        assert texts(subscription.deliver(page(0, [1]))) == ["message 1 @0", "context 1 @1"]


def test_being_live_is_said_once() -> None:
    """Without news there is nothing more to say."""
    subscription = live(3)
    subscription.ring(state(3))
    assert subscription.settle() == []
    assert subscription.deliver(page(0, [1, 2, 3])) == []


# --- reset ------------------------------------------------------------------------------------


def test_a_cursor_above_the_newest_version_is_reset() -> None:
    """The follower is told to discard what it has, and goes on from the newest version."""
    subscription = following(9, state(4))
    assert subscription.wanted is None
    assert subscription.settle() == [
        ResetFrame(version=4, cursor=4),
        ContextFrame(
            version=4, cursor=4, needs_compaction=False, used_tokens=40, token_budget=1000
        ),
    ]
    assert subscription.cursor == 4
    subscription.ring(state(5))
    assert texts(subscription.deliver(page(4, [5]))) == ["message 5 @4", "context 5 @5"]


@pytest.mark.parametrize("newer", [7, 9, 12])
def test_a_reset_is_not_forgotten_when_the_context_catches_up(newer: int) -> None:
    """The versions up to the cursor are those of another history, also if they exist again."""
    subscription = following(9, state(4))
    subscription.ring(state(newer))
    assert texts(subscription.settle()) == ["reset 4 @4"]
    assert subscription.wanted == (4, newer)
    frames = subscription.deliver(page(4, range(5, newer + 1)))
    assert texts(frames)[0] == "message 5 @5"
    assert texts(frames)[-1] == f"context {newer} @{newer}"


@pytest.mark.parametrize("newer", [7, 9, 12])
def test_nothing_is_read_before_a_reset_is_told(newer: int) -> None:
    """The cursor is still that of the other history, and no place to read from."""
    subscription = following(9, state(4))
    subscription.ring(state(newer))
    assert subscription.wanted is None
    assert not subscription.is_live
    assert subscription.cursor == 9


def test_a_page_does_not_overtake_a_reset() -> None:
    """The reset is the first frame, whatever is done first."""
    subscription = following(9, state(4))
    subscription.ring(state(5))
    assert texts(subscription.deliver(page(4, [5]))) == [
        "reset 4 @4",
        "message 5 @4",
        "context 5 @5",
    ]


def test_a_later_doorbell_never_resets() -> None:
    """Revisions grow with versions: news that say otherwise are no news."""
    subscription = live(5)
    subscription.ring(state(3, revision=99))
    assert subscription.settle() == []
    assert subscription.wanted is None
    assert subscription.is_live
    assert subscription.cursor == 5


# --- gaps -------------------------------------------------------------------------------------


def test_a_gap_at_the_start() -> None:
    """The first versions are gone; delivery goes on behind them."""
    subscription = following(0, state(4))
    assert texts(subscription.deliver(page(0, [3, 4]))) == [
        "gap 1 to 3 @2",
        "message 3 @3",
        "message 4 @3",
        "context 4 @4",
    ]


def test_a_gap_in_the_middle() -> None:
    """Its cursor is the version before the next one that exists."""
    subscription = following(0, state(5))
    assert texts(subscription.deliver(page(0, [1, 4, 5]))) == [
        "message 1 @1",
        "gap 2 to 4 @3",
        "message 4 @4",
        "message 5 @4",
        "context 5 @5",
    ]


def test_a_gap_at_the_end() -> None:
    """Nothing exists behind it yet; the context frame still says what has become."""
    subscription = following(0, state(4))
    assert texts(subscription.deliver(page(0, [1, 2], through=4))) == [
        "message 1 @1",
        "message 2 @2",
        "gap 3 to 5 @4",
        "context 4 @4",
    ]
    assert subscription.is_live


def test_a_page_without_changes_is_a_gap() -> None:
    """It says that nothing of its range exists."""
    subscription = following(2, state(6))
    assert texts(subscription.deliver(page(2, [], through=4))) == ["gap 3 to 5 @4"]
    assert subscription.wanted == (4, 6)


def test_a_short_page_says_nothing_of_what_follows() -> None:
    """What lies beyond its end is read next."""
    subscription = following(0, state(4))
    assert texts(subscription.deliver(page(0, [1, 2]))) == ["message 1 @1", "message 2 @2"]
    assert subscription.wanted == (2, 4)
    assert not subscription.is_live
    assert texts(subscription.deliver(page(2, [3, 4]))) == [
        "message 3 @3",
        "message 4 @3",
        "context 4 @4",
    ]


def test_a_trim_without_its_message_is_a_gap() -> None:
    """Half a change would pass for a whole one; a compact call never had a message."""
    subscription = following(0, state(3))
    orphan = VersionChange(2, None, TRIM)
    assert texts(subscription.deliver(page(0, [compacted(1), orphan, 3]))) == [
        "compaction 1 @1",
        "gap 2 to 3 @2",
        "message 3 @2",
        "context 3 @3",
    ]


# --- configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"token_budget": 2000},
        {"needs_compaction": True},
        {"used_tokens": 5},
        {"configuration": ("last_n", 0.5)},
    ],
)
def test_a_configuration_change_is_a_context_frame_of_the_same_version(
    changes: dict[str, object],
) -> None:
    """It has no version of its own, so it moves no cursor."""
    subscription = live(3)
    subscription.ring(state(3, revision=5, **changes))
    assert subscription.wanted is None
    assert texts(subscription.settle()) == ["context 3 @3"]
    assert subscription.settle() == []


def test_a_change_of_metadata_is_not_told() -> None:
    """A higher revision alone is nothing that a reader of the window could see."""
    subscription = live(3)
    subscription.ring(state(3, revision=5))
    assert subscription.settle() == []


def test_a_configuration_change_while_catching_up_waits_for_the_end() -> None:
    """The context frame that comes then shows it."""
    subscription = following(0, state(2))
    subscription.ring(state(2, revision=7, token_budget=50))
    assert subscription.settle() == []
    frames = subscription.deliver(page(0, [1, 2]))
    assert texts(frames) == ["message 1 @1", "message 2 @1", "context 2 @2"]
    assert frames[-1] == ContextFrame(
        version=2, cursor=2, needs_compaction=False, used_tokens=20, token_budget=50
    )


# --- doorbells --------------------------------------------------------------------------------


def test_a_lost_doorbell_is_made_up_for_by_the_next() -> None:
    """It says how far to read, not what has happened."""
    subscription = live(3)
    subscription.ring(state(6))
    assert subscription.wanted == (3, 6)


def test_doubled_and_late_doorbells_change_nothing() -> None:
    """Only a higher revision than the newest known is news."""
    subscription = live(3)
    newest = state(5, revision=9, token_budget=700)
    subscription.ring(newest)
    subscription.ring(newest)
    subscription.ring(state(4, revision=8, token_budget=600))
    assert subscription.wanted == (3, 5)
    subscription.ring(state(5, revision=8, token_budget=600))
    frames = subscription.deliver(page(3, [4, 5]))
    assert texts(frames) == ["message 4 @4", "message 5 @4", "context 5 @5"]
    assert frames[-1] == ContextFrame(
        version=5, cursor=5, needs_compaction=False, used_tokens=50, token_budget=700
    )
    subscription.ring(newest)
    assert subscription.settle() == []
    subscription.ring(state(5, revision=8, token_budget=600))
    assert subscription.settle() == []


def test_a_doorbell_between_asking_and_the_page_is_heeded() -> None:
    """The page then ends below the newest version, and has no context frame."""
    subscription = live(3)
    subscription.ring(state(4))
    assert subscription.wanted == (3, 4)
    subscription.ring(state(5))
    assert texts(subscription.deliver(page(3, [4]))) == ["message 4 @4"]
    assert subscription.wanted == (4, 5)


# --- pages ------------------------------------------------------------------------------------


def test_a_doubled_page_is_told_once() -> None:
    """Versions up to the cursor are skipped."""
    subscription = following(0, state(3))
    subscription.deliver(page(0, [1, 2]))
    assert subscription.deliver(page(0, [1, 2])) == []
    assert subscription.wanted == (2, 3)


def test_an_overlapping_page_is_told_from_the_cursor_on() -> None:
    """It need not begin where the last one ended."""
    subscription = following(0, state(4))
    subscription.deliver(page(0, [1, 2]))
    assert texts(subscription.deliver(page(1, [2, 3]))) == ["message 3 @3"]


def test_a_late_page_is_not_a_gap() -> None:
    """It says nothing of what lies behind its end."""
    subscription = following(0, state(5))
    subscription.deliver(page(0, [1, 2, 3]))
    assert subscription.deliver(page(0, [], through=2)) == []
    assert subscription.cursor == 3


def test_a_page_that_begins_above_the_cursor_is_ignored() -> None:
    """It says nothing of what lies between, so it is no gap either."""
    subscription = following(0, state(5))
    assert subscription.deliver(page(2, [3, 4, 5])) == []
    assert subscription.wanted == (0, 5)


def test_what_lies_above_the_newest_known_version_waits_for_its_doorbell() -> None:
    """Else its context frame would be missing, and its cursor have moved too early."""
    subscription = live(3)
    subscription.ring(state(4))
    ahead = page(3, [4, 5, 7], through=9)
    assert texts(subscription.deliver(ahead)) == ["message 4 @3", "context 4 @4"]
    assert subscription.deliver(ahead) == []
    subscription.ring(state(5))
    assert texts(subscription.deliver(ahead)) == ["message 5 @4", "context 5 @5"]


def test_a_page_for_one_who_is_live_says_nothing_new() -> None:
    """Not even if it is ahead of every doorbell."""
    subscription = live(3)
    assert subscription.deliver(page(3, [4])) == []
    assert subscription.cursor == 3


# --- the end ----------------------------------------------------------------------------------


def test_deletion_ends_the_stream_after_the_last_change() -> None:
    """The last change then moves the cursor itself: no context frame follows."""
    subscription = following(1, state(3, revision=9, is_tombstoned=True))
    assert subscription.settle() == []
    assert texts(subscription.deliver(page(1, [2]))) == ["message 2 @2"]
    assert texts(subscription.deliver(page(2, [trimmed(3)]))) == [
        "message 3 @2",
        "compaction 3 @3",
        "tombstoned 3 @3",
    ]
    assert subscription.has_ended
    assert not subscription.is_live


def test_deletion_ends_a_live_stream_at_once() -> None:
    """There is nothing to wait for."""
    subscription = live(3)
    subscription.ring(state(3, revision=9, is_tombstoned=True))
    assert subscription.settle() == [TombstonedFrame(version=3, cursor=3)]
    assert subscription.has_ended


def test_a_follower_of_a_deleted_context_is_told_so() -> None:
    """Whether it comes from now, from the end, or from a history that is no more."""
    deleted = state(3, revision=9, is_tombstoned=True)
    assert texts(following(None, deleted).settle()) == ["tombstoned 3 @3"]
    assert texts(following(3, deleted).settle()) == ["tombstoned 3 @3"]
    assert texts(following(5, deleted).settle()) == ["reset 3 @3", "tombstoned 3 @3"]


def test_deletion_behind_a_gap() -> None:
    """The end is told also if what came before it is gone."""
    subscription = following(1, state(3, revision=9, is_tombstoned=True))
    assert texts(subscription.deliver(page(1, [], through=3))) == [
        "gap 2 to 4 @3",
        "tombstoned 3 @3",
    ]


@pytest.mark.parametrize("revision", [0, 9])
def test_a_purge_ends_the_stream_where_it_is(revision: int) -> None:
    """Content that was erased is not delivered any more, whatever pages are still under way."""
    subscription = following(0, state(4))
    subscription.deliver(page(0, [1]))
    subscription.ring(state(0, revision=revision, is_gone=True))
    assert subscription.wanted is None
    assert texts(subscription.deliver(page(1, [2, 3, 4]))) == ["tombstoned 1 @1"]
    assert subscription.has_ended


def test_a_purge_is_final() -> None:
    """A late doorbell from before does not undo it."""
    subscription = following(0, state(4))
    subscription.ring(state(0, revision=0, is_gone=True))
    subscription.ring(state(4, revision=5))
    assert texts(subscription.settle()) == ["tombstoned 0 @0"]


@pytest.mark.parametrize(("cursor", "end"), [(None, 0), (0, 0), (9, 9)])
def test_a_follower_of_a_purged_context_is_told_so(cursor: int | None, end: int) -> None:
    """What its versions were is erased as well, so there is nothing to compare a cursor with."""
    subscription = following(cursor, state(0, revision=0, is_gone=True))
    assert subscription.wanted is None
    assert texts(subscription.settle()) == [f"tombstoned {end} @{end}"]


def test_nothing_follows_the_end() -> None:
    """No doorbell and no page brings it back to life."""
    subscription = live(3)
    subscription.ring(state(3, revision=9, is_tombstoned=True))
    subscription.settle()
    subscription.ring(state(4, revision=10, is_tombstoned=True))
    assert subscription.settle() == []
    assert subscription.deliver(page(3, [4])) == []
    subscription.ring(state(4, revision=10).gone())
    assert subscription.settle() == []
    assert subscription.cursor == 3


# --- without messages -------------------------------------------------------------------------


def silent(cursor: int | None, newest: LatestState) -> Subscription:
    subscription = Subscription(cursor, wants_messages=False)
    subscription.ring(newest)
    return subscription


def test_without_messages_an_append_is_told_by_its_context_frame() -> None:
    """The frame that moves the cursor is there, the one of the message is not."""
    subscription = silent(3, state(3))
    assert texts(subscription.settle()) == ["context 3 @3"]
    subscription.ring(state(5))
    assert texts(subscription.deliver(page(3, [4]))) == []
    assert subscription.cursor == 4
    assert texts(subscription.deliver(page(4, [trimmed(5)]))) == ["compaction 5 @4", "context 5 @5"]


def test_without_messages_a_replay_tells_compactions_and_where_it_has_come() -> None:
    """The cursor moves past messages unsaid, and the next frame carries it."""
    subscription = silent(0, state(6))
    frames = subscription.deliver(page(0, [1, 2, trimmed(3), compacted(4), 5, 6]))
    assert texts(frames) == ["compaction 3 @3", "compaction 4 @4", "context 6 @6"]


def test_without_messages_the_cursor_of_a_page_without_frames_is_known() -> None:
    """A ping says it, so that one who is cut off need not begin again."""
    subscription = silent(0, state(6))
    assert subscription.deliver(page(0, [1, 2, 3])) == []
    assert subscription.cursor == 3
    assert subscription.wanted == (3, 6)


def test_without_messages_a_gap_is_told_where_it_is() -> None:
    """Lost versions are no messages that were left out."""
    subscription = silent(0, state(6))
    assert texts(subscription.deliver(page(0, [1, 4, 6]))) == [
        "gap 2 to 4 @3",
        "gap 5 to 6 @5",
        "context 6 @6",
    ]


def test_without_messages_the_end_carries_the_cursor() -> None:
    """Of a deleted context whose last versions were messages, only the end is told."""
    subscription = silent(1, state(3, revision=9, is_tombstoned=True))
    assert texts(subscription.deliver(page(1, [2, 3]))) == ["tombstoned 3 @3"]
    assert subscription.has_ended


# --- values -----------------------------------------------------------------------------------


def test_gone_is_news_of_the_state_before() -> None:
    """Whoever keeps only the newest state by its revision takes it over."""
    gone = state(4).gone()
    assert gone.is_gone
    assert gone.revision == state(4).revision + 1


def test_the_size_of_a_change_is_that_of_its_message_and_a_little() -> None:
    """Nothing is free, and a body counts in full."""
    assert compacted(1).size > 0
    body = b"x" * 1000
    assert replace(append(1), message=AppendedMessage(1, body)).size == compacted(1).size + 1000
