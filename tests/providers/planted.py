"""
Lists that a provider accepts, and one planted fault each that it refuses.

A mutation is a function that is given a deep copy of the valid list and spoils it in place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.providers import anthropic, bedrock, gemini, openai_chat, openai_responses
from tests.providers.violation import Violation

Listed = list[dict[str, Any]]


class Planted(NamedTuple):
    """
    A fault.

    Attributes:
        rule: The rule that must be reported.
        spoil: Plants the fault in a list.
    """

    rule: str
    spoil: Callable[[Listed], object]


class Provider(NamedTuple):
    """A validator, a list that it accepts, and the faults that it must find in it."""

    violations: Callable[[Sequence[dict[str, Any]]], list[Violation]]
    valid: Listed
    faults: tuple[Planted, ...]

    def spoiled(self, fault: Planted) -> Listed:
        """Return the valid list with *fault* planted in it."""
        spoiled = copy.deepcopy(self.valid)
        fault.spoil(spoiled)
        return spoiled


def _text(text: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": text}


def _use(call_id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "look_up", "input": {"q": call_id}}


def _used(call_id: str, content: Any = "found") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


_THINKING = {"type": "thinking", "thinking": "I look it up.", "signature": "c2ln"}

ANTHROPIC: Listed = [
    {"role": "user", "content": "How far is it?"},
    {"role": "assistant", "content": [_THINKING, _text("Let me see."), _use("t1"), _use("t2")]},
    {"role": "user", "content": [_used("t1"), _used("t2", [_text("far")]), _text("And back?")]},
    {
        "role": "assistant",
        "content": [
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
            _text("As far as there."),
        ],
    },
    {"role": "user", "content": [_text("Thank you.")]},
]

ANTHROPIC_FAULTS = (
    Planted("no-messages", lambda m: m.clear()),
    Planted("first-role", lambda m: m.pop(0)),
    Planted("ends-with-assistant", lambda m: m.pop()),
    Planted("not-merged", lambda m: m.insert(0, {"role": "user", "content": "Hello"})),
    Planted("role", lambda m: m.insert(1, {"role": "system", "content": "Be brief."})),
    Planted("content-form", lambda m: m[0].update(content=None)),
    Planted("empty-content", lambda m: m[0].update(content="")),
    Planted("empty-content", lambda m: m[2].update(content=[])),
    Planted("blank-text", lambda m: m[4].update(content=[_text(" \n")])),
    Planted("blank-text", lambda m: m[2]["content"][1].update(content=[_text("")])),
    Planted("block-type", lambda m: m[4]["content"][0].pop("type")),
    Planted("unanswered-call", lambda m: m[2]["content"].pop(1)),
    Planted("unanswered-call", lambda m: m.insert(2, {"role": "user", "content": "Wait"})),
    Planted("orphan-result", lambda m: m[1]["content"].pop(3)),
    Planted("orphan-result", lambda m: m[4]["content"].insert(0, _used("t9"))),
    Planted("orphan-result", lambda m: m[3]["content"].pop(0)),
    Planted("repeated-result", lambda m: m[2]["content"].insert(0, _used("t1"))),
    Planted("results-first", lambda m: m[2]["content"].insert(0, _text("First"))),
    Planted("result-role", lambda m: m[3]["content"].insert(0, _used("t1"))),
    Planted("call-role", lambda m: m[4]["content"].append(_use("t3"))),
    Planted("call-id", lambda m: m[1]["content"][2].update(id="")),
    Planted("call-input", lambda m: m[1]["content"][2].update(input="{}")),
    Planted("ends-in-thinking", lambda m: m[3]["content"].append(_THINKING)),
    Planted("thinking-role", lambda m: m[4]["content"].insert(0, _THINKING)),
    Planted("thinking-unsigned", lambda m: m[1]["content"][0].pop("signature")),
    Planted(
        "trailing-space",
        lambda m: m.append({"role": "assistant", "content": [_text("It is ")]}),
    ),
    Planted(
        anthropic.REPEATED_ID,
        lambda m: m.extend(
            [
                {"role": "assistant", "content": [_use("t1")]},
                {"role": "user", "content": [_used("t1")]},
            ]
        ),
    ),
    Planted(
        "empty-compaction",
        lambda m: m[3]["content"].insert(0, {"type": "compaction", "content": ""}),
    ),
)


def _called(call_id: str) -> dict[str, Any]:
    function = {"name": "look_up", "arguments": "{}"}
    return {"id": call_id, "type": "function", "function": function}


def _told(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "found"}


CHAT: Listed = [
    {"role": "developer", "content": "Be brief."},
    {"role": "assistant", "content": "Hello, what do you need?"},
    {"role": "user", "content": [_text("How far is it?")]},
    {"role": "assistant", "content": None, "tool_calls": [_called("c1"), _called("c2")]},
    _told("c2"),
    _told("c1"),
    {"role": "assistant", "content": "Far."},
    {"role": "user", "content": "And back?"},
    {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
    {"role": "user", "content": "Thank you."},
]

CHAT_FAULTS = (
    Planted("no-messages", lambda m: m.clear()),
    Planted("no-messages", lambda m: m.__delitem__(slice(1, None))),
    Planted("role", lambda m: m[2].update(role="human")),
    Planted("content-required", lambda m: m[1].update(content=None)),
    Planted("content-required", lambda m: m[7].pop("content")),
    Planted("content-form", lambda m: m[7].update(content={"text": "And back?"})),
    Planted("part-type", lambda m: m[2]["content"][0].pop("type")),
    Planted("text-only", lambda m: m[4].update(content=[{"type": "image_url", "image_url": {}}])),
    Planted("empty-calls", lambda m: m[6].update(tool_calls=[])),
    Planted("call-id", lambda m: m[3]["tool_calls"][0].pop("id")),
    Planted("call-twice", lambda m: m[3]["tool_calls"][1].update(id="c1")),
    Planted("call-name", lambda m: m[3]["tool_calls"][0]["function"].update(name="")),
    Planted("call-arguments", lambda m: m[3]["tool_calls"][0]["function"].update(arguments={})),
    Planted("call-role", lambda m: m[2].update(tool_calls=[_called("c3")])),
    Planted("unanswered-call", lambda m: m.pop(4)),
    Planted("unanswered-call", lambda m: m.insert(5, {"role": "user", "content": "Wait"})),
    Planted("unanswered-call", lambda m: m.append({**m[3], "tool_calls": [_called("c4")]})),
    Planted("orphan-result", lambda m: m.pop(3)),
    Planted("orphan-result", lambda m: m.insert(1, _told("c9"))),
    Planted("orphan-result", lambda m: m.insert(5, _told("c9"))),
    Planted("repeated-result", lambda m: m.insert(5, _told("c2"))),
    Planted("result-id", lambda m: m[4].pop("tool_call_id")),
    Planted("recording", lambda m: m[6].update(audio={"id": "a1", "transcript": "Far."})),
)

RESPONSES: Listed = [
    {"role": "user", "content": [_text("How far is it?", "input_text")]},
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": "{}"},
    {"type": "custom_tool_call", "call_id": "c2", "name": "apply", "input": "x"},
    {"type": "function_call_output", "call_id": "c1", "output": "found"},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"type": "message", "role": "assistant", "content": [_text("Far.", "output_text")]},
    {"role": "user", "content": "And back?"},
]

RESPONSES_FAULTS = (
    Planted("no-messages", lambda m: m.clear()),
    Planted("unanswered-call", lambda m: m.pop(4)),
    Planted("unanswered-call", lambda m: m.pop(5)),
    Planted("orphan-result", lambda m: m.pop(2)),
    Planted("orphan-result", lambda m: m.append(m.pop(3))),
    Planted("orphan-result", lambda m: m[4].update(call_id="c9")),
    Planted("repeated-result", lambda m: m.append(m[4])),
    Planted("call-twice", lambda m: m.insert(3, m[2])),
    Planted("call-id", lambda m: m[2].pop("call_id")),
    Planted("reasoning-without-item", lambda m: m.append(m[1])),
    Planted("reasoning-without-item", lambda m: m.__delitem__(slice(2, 4))),
    Planted("role", lambda m: m[0].update(role="tool")),
    Planted("content-required", lambda m: m[8].update(content=[])),
    Planted("part-type", lambda m: m[0]["content"][0].update(type="output_text")),
    Planted("part-type", lambda m: m[7]["content"][0].update(type="input_text")),
    Planted("item-type", lambda m: m[2].pop("type")),
)


def _function_call(name: str, **keys: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {}}, **keys}


def _function_response(name: str) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": {"found": True}}}


GEMINI: Listed = [
    {"role": "user", "parts": [{"text": "How far is it?"}]},
    {
        "role": "model",
        "parts": [_function_call("far", thoughtSignature="c2ln"), _function_call("back")],
    },
    {"role": "user", "parts": [_function_response("far"), _function_response("back")]},
    {"role": "model", "parts": [_function_call("map", thoughtSignature="c2ln")]},
    {"role": "user", "parts": [_function_response("map")]},
]

GEMINI_FAULTS = (
    Planted("no-messages", lambda m: m.clear()),
    Planted("role", lambda m: m[0].update(role="system")),
    Planted("empty-content", lambda m: m[0].update(parts=[])),
    Planted("empty-content", lambda m: m[0].update(parts=[{"text": ""}])),
    Planted("empty-part", lambda m: m[0]["parts"].append({})),
    Planted("call-after", lambda m: m.pop(0)),
    Planted("call-after", lambda m: m.insert(1, {"role": "model", "parts": [{"text": "Hm"}]})),
    Planted("call-role", lambda m: m[1].update(role="user")),
    Planted("call-name", lambda m: m[1]["parts"][0]["functionCall"].pop("name")),
    Planted("unanswered-call", lambda m: m.pop(2)),
    Planted("unanswered-call", lambda m: m.insert(2, {"role": "user", "parts": [{"text": "a"}]})),
    Planted("response-count", lambda m: m[2]["parts"].pop()),
    Planted("response-name", lambda m: m[2]["parts"][0]["functionResponse"].update(name="near")),
    Planted("responses-alone", lambda m: m[2]["parts"].append({"text": "Here"})),
    Planted("result-role", lambda m: m[2].update(role="model")),
    Planted("orphan-result", lambda m: m.pop(3)),
    Planted("orphan-result", lambda m: m[0].update(parts=[_function_response("far")])),
    Planted("ends-with-model", lambda m: m.append({"role": "model", "parts": [{"text": "Far"}]})),
    Planted(gemini.SIGNATURE_MISSING, lambda m: m[3]["parts"][0].pop("thoughtSignature")),
)


def _tool_use(call_id: str, **keys: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": "look_up", "input": {}, **keys}}


def _tool_result(call_id: str, **keys: Any) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": call_id, "content": [{"text": "found"}], **keys}}


def _document(**keys: Any) -> dict[str, Any]:
    source = {"bytes": "JVBERi0="}
    return {"document": {"format": "pdf", "name": "A plan (new)", "source": source, **keys}}


_PICTURE = {"image": {"format": "png", "source": {"bytes": "iVBORw0="}}}
_REASONING = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}

BEDROCK: Listed = [
    {"role": "user", "content": [{"text": "How far is it?"}, _document(), _PICTURE]},
    {"role": "assistant", "content": [_REASONING, {"text": "Hm."}, _tool_use("b1")]},
    {"role": "user", "content": [_tool_result("b1"), {"cachePoint": {"type": "default"}}]},
    {"role": "assistant", "content": [_tool_use("b2"), _tool_use("b3")]},
    {
        "role": "user",
        "content": [
            _tool_result("b2", content=[{"json": {"km": 12}}, _document(), _PICTURE]),
            _tool_result("b3", status="error"),
            {"text": "And back?"},
        ],
    },
]

BEDROCK_FAULTS = (
    Planted("no-messages", lambda m: m.clear()),
    Planted("role", lambda m: m[0].update(role="system")),
    Planted("first-role", lambda m: m.pop(0)),
    Planted("not-merged", lambda m: m.insert(0, {"role": "user", "content": [{"text": "Oh"}]})),
    Planted("ends-with-assistant", lambda m: m.pop()),
    Planted("content-form", lambda m: m[0].update(content="How far is it?")),
    Planted("content-form", lambda m: m[0]["content"].append("How far is it?")),
    Planted("empty-content", lambda m: m[2].update(content=[])),
    Planted("block-member", lambda m: m[0]["content"][0].update(type="text")),
    Planted("block-member", lambda m: m[4]["content"].append({"json": {}})),
    Planted("block-member", lambda m: m[0]["content"].append({})),
    Planted("user-member", lambda m: m[1]["content"].insert(0, _PICTURE)),
    Planted("user-member", lambda m: m[1]["content"].insert(1, _document())),
    Planted("user-member", lambda m: m[3]["content"].insert(0, _tool_result("b1"))),
    Planted("assistant-member", lambda m: m[4]["content"].append(_tool_use("b4"))),
    Planted("assistant-member", lambda m: m[0]["content"].insert(0, _REASONING)),
    Planted("blank-text", lambda m: m[4]["content"][2].update(text=" \n")),
    Planted("blank-text", lambda m: m[2]["content"][0]["toolResult"]["content"][0].update(text="")),
    Planted("media-format", lambda m: m[0]["content"][2]["image"].update(format="jpg")),
    Planted("media-format", lambda m: m[0]["content"][1]["document"].update(format="png")),
    Planted("media-source", lambda m: m[0]["content"][2]["image"].update(source={})),
    Planted("media-source", lambda m: m[0]["content"][2]["image"]["source"].update(text="a")),
    Planted("document-name", lambda m: m[0]["content"][1]["document"].update(name="plan.pdf")),
    Planted("document-name", lambda m: m[0]["content"][1]["document"].update(name="a  plan")),
    Planted("document-name", lambda m: m[0]["content"][1]["document"].update(name="a" * 201)),
    Planted("document-alone", lambda m: m[0]["content"].pop(0)),
    Planted("ends-in-reasoning", lambda m: m[1]["content"].append(_REASONING)),
    Planted("call-id", lambda m: m[1]["content"][2]["toolUse"].update(toolUseId="b.1")),
    Planted("call-id", lambda m: m[1]["content"][2]["toolUse"].update(toolUseId="b" * 65)),
    Planted("call-name", lambda m: m[1]["content"][2]["toolUse"].update(name="look up")),
    Planted("call-input", lambda m: m[1]["content"][2]["toolUse"].update(input="{}")),
    Planted(
        bedrock.REPEATED_ID,
        lambda m: m.extend(
            [
                {"role": "assistant", "content": [_tool_use("b1")]},
                {"role": "user", "content": [_tool_result("b1")]},
            ]
        ),
    ),
    Planted("unanswered-call", lambda m: m[4]["content"].pop(1)),
    Planted("unanswered-call", lambda m: m[2]["content"].pop(0)),
    Planted("orphan-result", lambda m: m[1]["content"].pop(2)),
    Planted("orphan-result", lambda m: m[4]["content"].insert(2, _tool_result("b9"))),
    Planted("orphan-result", lambda m: m[4]["content"].insert(2, _tool_result("b1"))),
    Planted("repeated-result", lambda m: m[4]["content"].insert(2, _tool_result("b3"))),
    Planted("results-first", lambda m: m[2]["content"].insert(0, {"text": "Here"})),
    Planted("result-form", lambda m: m[2]["content"][0]["toolResult"].update(content="found")),
    Planted("empty-error", lambda m: m[4]["content"][1]["toolResult"].update(content=[])),
    Planted("result-status", lambda m: m[4]["content"][1]["toolResult"].update(status="failed")),
    Planted(
        "result-member",
        lambda m: m[2]["content"][0]["toolResult"]["content"].append({"audio": {}}),
    ),
)

PROVIDERS = {
    "anthropic": Provider(anthropic.violations, ANTHROPIC, ANTHROPIC_FAULTS),
    "openai-chat": Provider(openai_chat.violations, CHAT, CHAT_FAULTS),
    "openai-responses": Provider(openai_responses.violations, RESPONSES, RESPONSES_FAULTS),
    "gemini": Provider(gemini.violations, GEMINI, GEMINI_FAULTS),
    "bedrock": Provider(bedrock.violations, BEDROCK, BEDROCK_FAULTS),
}
"""By name: each validator with what it must accept and what it must refuse."""
