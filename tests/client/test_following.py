"""Following a context over connections that break anywhere: every frame once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca import ContextNotFound, FastpacaError, Retries, Timeouts, UnexpectedResponse
from fastpaca.client.calls import Calls
from fastpaca.client.values import Frame
from tests.client.driven import CUT, Hand, answer
from tests.client.rules import NO_USAGE, rules
from tests.client.stories import check_shown, plain

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


@pytest.mark.parametrize("case", rules("frames")["cases"], ids=lambda case: case["rule"])
def test_frames_by_the_rules(case: Any) -> None:
    """
    Which frames of several connections are given, and from where each connection is asked for.
    """
    sent = [[one["frame"] for one in connection["frames"]] for connection in case["connections"]]
    pieces = [piece for frames in sent for piece in (b"".join(map(event, frames)), CUT)]
    hand = Hand([OPENED] * len(sent), pieces)
    given_frames = [plain(frame) for frame in follow(hand, case["cursor"])]
    expected = [
        one["frame"]
        for connection in case["connections"]
        for one in connection["frames"]
        if one["given"]
    ]
    check_shown(
        [{name: frame[name] for name in frame if name != "revises"} for frame in expected],
        given_frames,
    )
    assert cursors(hand) == [str(connection["asked"]) for connection in case["connections"]]


@pytest.mark.parametrize("text", rules("frames")["unreadable"])
def test_what_is_no_frame_is_told_apart(text: str) -> None:
    """
    A stream of something else ends with an error, and is not passed over.
    """
    with pytest.raises(UnexpectedResponse):
        follow(Hand([OPENED], [f"data: {text}\n\n".encode()]))


def test_the_fields_of_frames_are_those_of_the_rules() -> None:
    """
    Each frame that a node may send has its class, with the fields that it has on the wire.
    """
    known = {kind.type: {*kind.__struct_fields__} for kind in Frame.__args__}
    listed = {entry["type"]: {*entry["fields"]} for entry in rules("frames")["frames"]}
    assert known == listed


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
        "token_factor": 1,
        "policy": {"strategy": "manual", "config": {}},
        "metadata": {},
        "version": 7,
        "last_seq": 7,
        "usage": NO_USAGE,
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


def test_a_refusal_is_raised() -> None:
    """
    What another attempt cannot help is an error of its class.
    """
    hand = Hand([answer(404, b'{"error":"not_found","message":"m"}')])
    with pytest.raises(ContextNotFound):
        follow(hand)
    with pytest.raises(UnexpectedResponse, match="not the event stream"):
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


def test_without_messages_the_cursor_moves_with_whatever_frame_comes() -> None:
    """
    Versions that had no frame are no gap, and a ping with an id is no event.
    """
    ping = b"id: 3\n: ping\n\n"
    hand = Hand([OPENED, OPENED, GONE], [event(state(2)) + ping, CUT, event(compaction(6)), CUT])
    assert shown(follow(hand)) == [("context", 2), ("compaction", 6), ("tombstoned", 6)]
    assert cursors(hand) == ["0", "2", "6"]
