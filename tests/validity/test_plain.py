"""The plain renderer moves and merges, and repairs nothing."""

from __future__ import annotations

from typing import Any

from tests.providers import gemini
from tests.validity import plain
from tests.validity.judged import PROVIDERS, Complaint, complaints


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _call(name: str) -> dict[str, Any]:
    return {"type": "tool_call", "tool_call_id": name, "name": "f", "payload": {}}


def _result(name: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_call_id": name, "name": "f", "content": "r"}


def _turns(*messages: tuple[str, list[dict[str, Any]]]) -> list[plain.Turn]:
    return plain.arranged(
        (seq, {"role": role, "parts": parts}) for seq, (role, parts) in enumerate(messages, 1)
    )


def test_parallel_calls_that_were_logged_one_by_one_are_one_message() -> None:
    """
    Calls and results that interleave become one message of calls and one of results.
    """
    turns = _turns(
        ("user", [_text("go")]),
        ("assistant", [_text("I look."), _call("a")]),
        ("assistant", [_call("b")]),
        ("tool", [_result("b")]),
        ("user", [_text("hurry")]),
        ("tool", [_result("a")]),
        ("assistant", [_call("a")]),
        ("tool", [_result("a")]),
    )
    assert [(turn.side, [piece.seq for piece in turn.pieces]) for turn in turns] == [
        ("user", [1]),
        ("assistant", [2, 2, 3]),
        ("results", [6, 4]),
        ("user", [5]),
        ("assistant", [7]),
        ("results", [8]),
    ]
    for provider in PROVIDERS.values():
        rules = {complaint.rule for complaint in complaints(provider, turns)}
        assert rules <= {gemini.SIGNATURE_MISSING}, "none of these calls is Gemini's own"


def test_what_a_cut_has_broken_stays_broken() -> None:
    """
    An orphaned result, an open call and a first message of the assistant are all reported.
    """
    broken = _turns(("assistant", [_call("a")]), ("user", [_result("b")]), ("user", [_text("go")]))
    anthropic = complaints(PROVIDERS["anthropic"], broken)
    assert Complaint("first-role", frozenset({1})) in anthropic
    assert Complaint("unanswered-call", frozenset({1})) in anthropic
    assert Complaint("orphan-result", frozenset({2})) in anthropic
    assert Complaint("orphan-result", frozenset({2})) in complaints(
        PROVIDERS["openai-responses"], broken
    )


def test_provider_run_tools_stay_in_their_message() -> None:
    """
    What Anthropic ran itself is sent back in the message of the assistant that it came in.
    """
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    turns = _turns(
        ("user", [_text("go")]), ("assistant", [search, found, _text("so")]), ("user", [_text("?")])
    )
    assert [message["role"] for message in plain.for_anthropic(turns).messages] == [
        "user",
        "assistant",
        "user",
    ]
    assert complaints(PROVIDERS["anthropic"], turns) == []
