"""Interrupted conversations heal, and what a provider wants in another order is moved."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca.formats import render
from fastpaca.formats.report import CLOSED_TEXT
from tests.formats.samples import NAMES, VALIDATORS, Appended
from tests.kit.messages import assistant, call, result, system, tool, user

Json = dict[str, Any]

ASKED = user("How far is it?")
CALL = assistant(call("c1", name="look_up", payload={"q": 1}))
CALLS = assistant(call("c1", name="look_up", payload={}), call("c2", name="far", payload={}))
ENDED = user("Never mind. And back?")

BROKEN: dict[str, list[Json]] = {
    "a crash between a call and its result": [ASKED, CALL, ENDED],
    "a crash between two results": [ASKED, CALLS, tool(result("c2", "far")), ENDED],
    "a crash after a partial reply": [ASKED, assistant("Let me"), ENDED],
    "a late result": [ASKED, CALL, ENDED, tool(result("c1", "12 km"))],
    "a text between a call and its result": [ASKED, CALL, assistant("Hm."), tool(result("c1"))],
    "instructions between a call and its result": [
        ASKED,
        CALL,
        system("Be brief."),
        tool(result("c1", "12 km")),
    ],
    "a second result": [ASKED, CALL, tool(result("c1")), tool(result("c1")), ENDED],
    "a result of nothing": [ASKED, tool(result("c9")), ENDED],
    "results in two messages": [ASKED, CALLS, tool(result("c1")), tool(result("c2")), ENDED],
    "a first message of the assistant": [assistant("Hello"), ASKED],
    "a last message of the assistant": [ASKED, assistant("Twelve.")],
    "two questions": [ASKED, ENDED],
    "blank texts": [ASKED, assistant(""), user("", " "), ENDED],
    "an empty result": [ASKED, CALL, tool(result("c1", "")), ENDED],
    "ids that repeat": [ASKED, CALL, tool(result("c1")), CALL, tool(result("c1")), ENDED],
    "ids that repeat in one message": [
        ASKED,
        assistant(call("c1", name="f"), call("c1", name="g")),
        tool(result("c1", "a"), result("c1", "b")),
        ENDED,
    ],
    "ids of strange characters": [
        ASKED,
        assistant(call("é ü|" * 30, name="look up!")),
        tool(result("é ü|" * 30)),
        ENDED,
    ],
    "calls in the reply of another run": [
        ASKED,
        CALL,
        assistant(call("c2", name="far")),
        tool(result("c2")),
        tool(result("c1")),
        ENDED,
    ],
}


@pytest.mark.parametrize("name", VALIDATORS)
@pytest.mark.parametrize("case", BROKEN)
def test_broken_conversations_are_accepted(name: str, case: str) -> None:
    """
    Whatever was lost, late, doubled or out of place, the provider accepts the rendering.
    """
    assert VALIDATORS[name](render(BROKEN[case], name).messages) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", BROKEN)
def test_rendering_never_changes_the_view(name: str, case: str) -> None:
    """
    The messages of the view are as they were before, and render the same again.
    """
    before = repr(BROKEN[case])
    first = render(BROKEN[case], name)
    assert repr(BROKEN[case]) == before
    assert render(BROKEN[case], name) == first


def codes(messages: list[Json], name: str, **options: Any) -> list[str]:
    return [repair.code for repair in render(messages, name, **options).repairs]


def test_interrupted_call_is_closed() -> None:
    """
    A call of a finished turn that never got its result is closed with a marked one.
    """
    rendering = render([ASKED, CALL, ENDED], "openai-chat")
    assert rendering.messages[2]["content"] == CLOSED_TEXT
    (repair,) = rendering.repairs
    assert (repair.code, repair.seq, repair.call) == ("closed_call", 2, "c1")


@pytest.mark.parametrize("name", NAMES)
def test_open_calls_can_be_dropped(name: str) -> None:
    """
    Dropped, the call is gone and nothing stands in its place.
    """
    rendering = render([ASKED, CALL, ENDED], name, open_calls="drop")
    assert "look_up" not in repr(rendering.messages)
    assert "dropped_call" in codes([ASKED, CALL, ENDED], name, open_calls="drop")
    if name in VALIDATORS:
        assert VALIDATORS[name](rendering.messages) == []


@pytest.mark.parametrize("name", NAMES)
def test_open_calls_can_be_kept(name: str) -> None:
    """
    Kept, the call stands without a result, and nothing is repaired for it.
    """
    rendering = render([ASKED, CALL, ENDED], name, open_calls="keep")
    assert "look_up" in repr(rendering.messages)
    assert CLOSED_TEXT not in repr(rendering.messages)
    assert not any(repair.call == "c1" for repair in rendering.repairs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("open_calls", ["close", "drop", "keep"])
def test_running_step_is_never_closed(name: str, open_calls: Any) -> None:
    """
    While results are still to come, calls are left as they are.
    """
    for messages in ([ASKED, CALL], [ASKED, CALLS, tool(result("c1"))]):
        rendering = render(messages, name, open_calls=open_calls)
        assert "look_up" in repr(rendering.messages)
        assert CLOSED_TEXT not in repr(rendering.messages)
        assert not {"closed_call", "dropped_call", "added_last"} & {
            repair.code for repair in rendering.repairs
        }


PAUSED: list[Json] = [
    {"role": "user", "content": "How far is it?"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look it up."},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "a"}},
        ],
    },
]
"""A reply of Anthropic's that has paused (`pause_turn`), and is sent again to go on."""


def test_a_paused_reply_goes_on_where_it_was_made_and_nowhere_else() -> None:
    """
    Its provider gets it back as it is. Others can't say the call, so they are asked to go on.
    """
    paused = Appended(PAUSED, "anthropic")
    own = paused.rendered("anthropic")
    assert own.messages == PAUSED
    assert own.repairs == []
    for name in ("gemini", "bedrock"):
        rendering = paused.rendered(name)
        assert VALIDATORS[name](rendering.messages) == []
        assert [repair.code for repair in rendering.repairs] == ["added_last"]
        assert [loss.code for loss in rendering.losses] == ["served_call"]


SPOKEN: Json = {"id": "audio_1", "data": "UklGRg==", "expires_at": 9, "transcript": "Twelve."}


@pytest.mark.parametrize("audio", [SPOKEN, {"id": "audio_1"}], ids=["answered", "sent"])
@pytest.mark.parametrize("name", NAMES)
def test_a_spoken_reply_is_said_or_lost_and_never_silently_gone(name: str, audio: Json) -> None:
    """
    OpenAI Chat gets its id back. Others get the transcript; that the recording is gone is a loss.
    """
    question = {"role": "user", "content": "How far is it?"}
    reply = {"role": "assistant", "content": None, "audio": audio}
    spoken = Appended([question, reply, question], "openai-chat")
    rendering = spoken.rendered(name)
    if name == "openai-chat":
        sent = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
        assert rendering.messages == [question, sent, question]
        assert (rendering.repairs, rendering.losses) == ([], [])
        return
    assert [(loss.code, loss.seq) for loss in rendering.losses] == [("media", 2)]
    assert ("Twelve." in str(rendering.messages)) == ("transcript" in audio)


def test_what_a_stream_leaves_in_a_reply_is_not_sent() -> None:
    """
    The package puts together messages that a request may not have.
    """
    made = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = {"role": "user", "content": "How far is it?"}
    told = {"role": "tool", "tool_call_id": "c1", "content": "12 km"}
    called = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [made]}
    left = {**called, "annotations": None, "tool_calls": [{**made, "index": 0}]}
    rendering = Appended([asked, left, told], "openai-chat").rendered("openai-chat")
    assert rendering.messages == [asked, called, told]


@pytest.mark.parametrize("kind", [None, "", "function"])
def test_a_call_that_a_stream_left_without_a_type_gets_it(kind: str | None) -> None:
    """
    Servers that imitate OpenAI leave it out of their pieces, or empty.
    """
    made = {"id": "c1", "type": kind, "function": {"name": "f", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [made]}
    told = {"role": "tool", "tool_call_id": "c1", "content": "12 km"}
    asked = {"role": "user", "content": "How far is it?"}
    rendering = Appended([asked, called, told], "openai-chat").rendered("openai-chat")
    called["tool_calls"] = [{**made, "type": "function"}]
    assert rendering.messages == [asked, called, told]


def test_a_recording_without_an_id_is_a_loss() -> None:
    """
    There is nothing that a request could name it by.
    """
    reply = {"role": "assistant", "content": "Twelve.", "audio": {"transcript": "Twelve."}}
    rendering = Appended([reply], "openai-chat").rendered("openai-chat")
    assert rendering.messages == [{"role": "assistant", "content": "Twelve."}]
    assert [loss.code for loss in rendering.losses] == ["media"]


@pytest.mark.parametrize("name", NAMES)
def test_late_result_moves_to_its_call(name: str) -> None:
    """
    A result that comes in the turn after its call is used, not a marker.
    """
    messages = [ASKED, CALL, ENDED, tool(result("c1", "12 km"))]
    rendering = render(messages, name)
    assert "12 km" in repr(rendering.messages)
    assert CLOSED_TEXT not in repr(rendering.messages)
    assert "moved_result" in codes(messages, name)


@pytest.mark.parametrize("name", NAMES)
def test_result_that_comes_too_late_is_left_out(name: str) -> None:
    """
    Two turns later the call stays closed, so that what was stable stays.
    """
    messages = [ASKED, CALL, ENDED, user("Well?"), tool(result("c1", "12 km"))]
    rendering = render(messages, name)
    assert "12 km" not in repr(rendering.messages)
    assert {"closed_call", "dropped_result"} <= set(codes(messages, name))


@pytest.mark.parametrize("name", ["anthropic", "gemini", "bedrock", "ai-sdk"])
def test_leading_instructions_and_summary_stand_apart(name: str) -> None:
    """
    Leading instructions and the pinned summary go to `system`; later ones stay, as the user's.
    """
    messages = [
        {"seq": 1, **system("Be brief.")},
        {"seq": None, **user("They met.")},
        {"seq": 7, **ASKED},
        {"seq": 8, **assistant("Twelve.")},
        {"seq": 9, **system("In French.")},
        {"seq": 10, **ENDED},
    ]
    rendering = render(messages, name)
    assert "Be brief." in repr(rendering.system)
    assert "They met." in repr(rendering.system)
    assert "They met." not in repr(rendering.messages)
    assert "In French." in repr(rendering.messages)
    assert "instructions_as_text" in [repair.code for repair in rendering.repairs]
    assert {message["role"] for message in rendering.messages} <= {"user", "assistant", "model"}


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses"])
def test_instructions_stand_in_the_list_of_openai(name: str) -> None:
    """
    OpenAI takes instructions anywhere, so they stay where they are.
    """
    messages = [system("Be brief."), ASKED, system("In French."), ENDED]
    rendering = render(messages, name)
    assert rendering.system is None
    roles = [message["role"] for message in rendering.messages]
    assert roles == ["system", "user", "system", "user"]
    assert list(rendering.repairs) == []


def test_ids_are_the_same_in_every_view() -> None:
    """
    An id that a provider refuses becomes the same hash wherever the call stands in the view.
    """
    bad = "a b"
    rest = [
        {"seq": 5, **assistant(call(bad, name="f"))},
        {"seq": 6, **tool(result(bad))},
        {"seq": 7, **ENDED},
    ]
    first = render([{"seq": 4, **ASKED}, *rest], "anthropic").messages
    second = render([{"seq": seq, **ASKED} for seq in (3, 4)] + rest, "anthropic").messages
    used = first[1]["content"][0]["id"]
    assert used == second[1]["content"][0]["id"]
    assert used == first[2]["content"][0]["tool_use_id"]
    assert used != bad


THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


def test_thinking_is_left_out_where_its_beginning_changed() -> None:
    """
    Thinking is bound to all before it: in a view that was cut it is left out, in a whole one kept.
    """
    messages = [
        {"seq": 1, **ASKED},
        {"seq": 2, **assistant(THOUGHT, "Twelve.")},
        {"seq": 3, **ENDED},
    ]
    assert "signature" in repr(render(messages, "anthropic").messages)
    cut = [{**message, "seq": seq} for seq, message in enumerate(messages, 5)]
    rendering = render(cut, "anthropic")
    assert "signature" not in repr(rendering.messages)
    assert [repair.code for repair in rendering.repairs] == ["dropped_thinking"]
    assert "signature" in repr(render(cut, "anthropic", intact_from=1).messages)


def test_items_of_a_torn_reply_lose_their_ids() -> None:
    """
    Where the beginning of a reply is gone, its items go out without ids; else they keep them.
    """
    said = {"type": "output_text", "text": "Twelve.", "annotations": []}
    call_ = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
    messages = [
        {"seq": 1, **ASKED},
        {"seq": 2, **assistant({"type": "reasoning", "id": "rs_1", "summary": []})},
        {"seq": 3, **assistant(call_)},
        {"seq": 4, **tool({"type": "function_call_output", "call_id": "c1", "output": "so"})},
        {"seq": 5, **assistant(said)},
    ]
    assert "fc_1" in repr(render(messages, "openai-responses").messages)
    torn = render([messages[0], *messages[2:]], "openai-responses")
    assert "fc_1" not in repr(torn.messages)
    assert "dropped_item_ids" in [repair.code for repair in torn.repairs]
