"""Following a context over connections that break anywhere: every frame once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca import ContextNotFound, FastpacaError, Retries, Timeouts, UnexpectedAnswer
from fastpaca.client.calls import Calls
from fastpaca.client.protocol import Answer
from fastpaca.client.values import ContextFrame, Frame, MessageFrame, TombstonedFrame
from tests.client.driven import CUT, Hand, answer

OPENED = answer(200, b"", content_type="text/event-stream; charset=utf-8")
GONE = answer(204, b"")
CALLS = Calls(Timeouts(), Retries(wait_seconds=1.0, wait_seconds_max=4.0))


def follow(hand: Hand, cursor: int | None = 0) -> list[Frame]:
    hand.run(CALLS.stream("c", cursor, include_messages=True))
    return hand.given


def event(frame: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (frame["cursor"], json.dumps(frame).encode())


def message(version: int, cursor: int | None = None) -> dict[str, Any]:
    at = version if cursor is None else cursor
    logged = {
        "seq": version,
        "version": version,
        "role": "user",
        "parts": [],
        "metadata": {},
        "token_count": 4,
        "inserted_at": "2026-01-05T09:30:00.000000Z",
    }
    return {"type": "message", "version": version, "seq": version, "message": logged, "cursor": at}


def compaction(version: int, cursor: int | None = None) -> dict[str, Any]:
    return {
        "type": "compaction",
        "version": version,
        "range": None,
        "strategy": "manual",
        "used_tokens_before": 2,
        "used_tokens_after": 1,
        "cursor": version if cursor is None else cursor,
    }


def state(version: int, used_tokens: int = 0) -> dict[str, Any]:
    return {
        "type": "context",
        "version": version,
        "needs_compaction": False,
        "used_tokens": used_tokens,
        "token_budget": 100,
        "cursor": version,
    }


def tombstoned(version: int) -> dict[str, Any]:
    return {"type": "tombstoned", "version": version, "cursor": version}


def shown(frames: list[Frame]) -> list[tuple[str, int]]:
    return [(frame.type, frame.cursor) for frame in frames]


def cursors(hand: Hand) -> list[str]:
    return [request.target.partition("cursor=")[2] for request in hand.sent]


# --- once, wherever it breaks ---


class Node:
    """
    A context with a past: what a follower is sent from a cursor, as a node would.

    Versions 1 to 6: messages; 3 also trimmed the window; 5 is a compaction of its own. All of it is
    live to whoever is connected while it happens, so each version ends with the state.
    """

    def __init__(self) -> None:
        self.versions = {
            1: [message(1, 0), state(1, 10)],
            2: [message(2, 1), state(2, 20)],
            3: [message(3, 2), compaction(3, 2), state(3, 5)],
            4: [message(4, 3), state(4, 15)],
            5: [compaction(5, 4), state(5, 0)],
            6: [message(6, 5), state(6, 10)],
        }

    def sent_from(self, cursor: int) -> bytes:
        """Everything behind *cursor*, opened by the state where that is, and the end."""
        frames = [self.versions[cursor][-1]] if cursor else []
        for version, its_frames in self.versions.items():
            if version > cursor:
                frames += its_frames
        return b"".join(map(event, [*frames, tombstoned(6)]))

    def all_frames(self) -> list[tuple[str, int]]:
        """What a caller is to be given."""
        frames = [frame for frames in self.versions.values() for frame in frames]
        return [(frame["type"], frame["cursor"]) for frame in [*frames, tombstoned(6)]]


class Breaking(Hand):
    """A network on which each connection to a `Node` breaks after so many bytes."""

    def __init__(self, node: Node, lives: list[int]) -> None:
        super().__init__()
        self._node = node
        self._lives = lives

    def _perform(self, effect: Any) -> Any:
        if type(effect).__name__ != "Open":
            return super()._perform(effect)
        self.sent.append(effect.request)
        text = self._node.sent_from(int(cursors(self)[-1]))
        life = self._lives.pop(0) if self._lives else len(text)
        self.pieces = [text[at : min(at + 50, life)] for at in range(0, life, 50)] + [CUT]
        return OPENED


def test_a_break_at_any_byte_repeats_nothing_and_loses_nothing() -> None:
    """
    One connection breaks after each possible number of bytes, the next one holds.
    """
    node = Node()
    for life in range(len(node.sent_from(0)) + 1):
        assert shown(follow(Breaking(node, [life]))) == node.all_frames(), life


@given(st.lists(st.integers(0, 1200), max_size=12))
def test_breaks_one_after_the_other_repeat_and_lose_nothing(lives: list[int]) -> None:
    """
    However often it breaks, in the middle of whatever.
    """
    node = Node()
    assert shown(follow(Breaking(node, lives))) == node.all_frames()


def test_frames_of_a_half_version_are_given_once() -> None:
    """
    The message came, its compaction did not: the next connection brings both, the caller gets one.
    """
    first = event(message(1, 0))
    second = event(message(1, 0)) + event(compaction(1)) + event(tombstoned(1))
    hand = Hand([OPENED, OPENED], [first, CUT, second])
    assert shown(follow(hand)) == [("message", 0), ("compaction", 1), ("tombstoned", 1)]
    assert cursors(hand) == ["0", "0"]


def test_the_state_is_given_when_it_is_another() -> None:
    """
    A new connection opens with the state: the same one again is no news.
    """
    hand = Hand(
        [OPENED, OPENED, OPENED, GONE],
        [event(state(1, 5)), None, event(state(1, 5)), None, event(state(1, 6)), None],
    )
    found = follow(hand, 1)
    assert [frame.used_tokens for frame in found if isinstance(frame, ContextFrame)] == [5, 6]
    assert found[-1] == TombstonedFrame(version=1, cursor=1)


# --- where it begins ---


def test_now_is_one_moment() -> None:
    """
    From now on means from the version of the call, also if the first connection brings nothing.
    """
    info = {
        "id": "c",
        "status": "active",
        "token_budget": 1,
        "trigger_ratio": 0.7,
        "policy": {"strategy": "manual", "config": {}},
        "metadata": {},
        "version": 7,
        "last_seq": 7,
        "created_at": "2026-01-05T09:30:00Z",
        "updated_at": "2026-01-05T09:30:00Z",
    }
    hand = Hand([answer(200, json.dumps(info).encode()), CUT, OPENED, OPENED, GONE], [CUT, None])
    assert shown(follow(hand, None)) == [("tombstoned", 7)]
    assert [request.target for request in hand.sent] == [
        "/v1/contexts/c",
        *["/v1/contexts/c/events?cursor=7"] * 4,
    ]


# --- when it goes on, and when it ends ---


@pytest.mark.parametrize("outcome", [CUT, answer(503), answer(502), answer(429), answer(408)])
def test_what_may_pass_is_waited_for(outcome: Answer) -> None:
    """
    A node that is away for long is asked again and again, with waits that grow to a limit.
    """
    hand = Hand([outcome] * 40 + [GONE])
    assert follow(hand) == []
    assert len(hand.sent) == 41
    assert hand.waits[:5] == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_a_connection_that_came_about_makes_waits_short_again() -> None:
    """
    Failures of long ago do not slow down the next reconnect.
    """
    hand = Hand([CUT, CUT, OPENED, CUT, GONE], [b": ping\n\n", None])
    follow(hand)
    assert hand.waits == [0.5, 1.0, 0.5, 1.0]


def test_the_node_says_how_long_to_wait() -> None:
    """
    `retry:` of the stream, up to the client's own limit, and `Retry-After` of a refusal.
    """
    hand = Hand(
        [OPENED, OPENED, answer(503, retry_after="9"), GONE],
        [b"retry: 3000\n\n", None, b"retry: 60000\n\n", None],
    )
    follow(hand)
    assert hand.waits == [1.5, 2.0, 10.0]


def test_a_refusal_is_raised() -> None:
    """
    What another attempt cannot help is an error of its class.
    """
    hand = Hand([answer(404, b'{"error":"not_found","message":"m"}')])
    with pytest.raises(ContextNotFound):
        follow(hand)
    with pytest.raises(UnexpectedAnswer, match="no event stream"):
        follow(Hand([answer(200, b"", content_type="text/html")]))
    with pytest.raises(FastpacaError):
        follow(Hand([OPENED], [b"data: {}\n\n"]))


def test_the_end_is_told_though_the_connection_broke_before_it() -> None:
    """
    The deletion moves no cursor, so a node has nothing to send to who resumes right before it.
    """
    hand = Hand([OPENED, CUT, GONE], [event(message(1)), CUT])
    assert shown(follow(hand)) == [("message", 1), ("tombstoned", 1)]
    assert shown(follow(Hand([CUT, GONE]), 1)) == []


def test_nothing_is_read_behind_the_end() -> None:
    """
    After the deletion no connection is opened.
    """
    hand = Hand([OPENED], [event(tombstoned(3)) + event(message(4))])
    assert shown(follow(hand)) == [("tombstoned", 3)]
    assert len(hand.sent) == 1


def test_a_reset_begins_anew() -> None:
    """
    After a restored backup the versions come a second time, with other content.
    """
    first = event(message(5, 4))
    reset = {"type": "reset", "version": 3, "cursor": 3}
    second = event(reset) + event(message(4)) + event(message(5)) + event(tombstoned(5))
    hand = Hand([OPENED, OPENED], [first, CUT, second])
    assert shown(follow(hand, 4)) == [
        ("message", 4),
        ("reset", 3),
        ("message", 4),
        ("message", 5),
        ("tombstoned", 5),
    ]


def test_a_gap_moves_the_cursor() -> None:
    """
    What is lost for ever is not asked for again.
    """
    gap = {"type": "gap", "expected": 1, "actual": 5, "cursor": 4}
    hand = Hand([OPENED, GONE], [event(gap), CUT])
    assert shown(follow(hand)) == [("gap", 4), ("tombstoned", 4)]
    assert cursors(hand) == ["0", "4"]


def test_without_messages_the_cursor_moves_with_whatever_frame_comes() -> None:
    """
    Versions that had no frame are no gap, and a ping with an id is no event.
    """
    ping = b"id: 3\n: ping\n\n"
    hand = Hand([OPENED, OPENED, GONE], [event(state(2)) + ping, CUT, event(compaction(6)), CUT])
    assert shown(follow(hand)) == [("context", 2), ("compaction", 6), ("tombstoned", 6)]
    assert cursors(hand) == ["0", "2", "6"]


def test_frames_of_a_later_release_are_passed_over() -> None:
    """
    What the client does not know is not given, and what follows is.
    """
    news = {"type": "news", "cursor": 0}
    hand = Hand([OPENED, GONE], [event(news) + event(message(1)), CUT])
    assert isinstance(follow(hand)[0], MessageFrame)
    assert cursors(hand) == ["0", "1"]
