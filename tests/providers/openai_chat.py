"""
What OpenAI's Chat Completions API refuses in its `messages`.

The rules follow the types of the official Python package and the errors that the API is known to
give for broken tool calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.providers.violation import Violation, mappings

ROLES: Final = frozenset({"developer", "system", "user", "assistant", "tool", "function"})

INSTRUCTIONS: Final = frozenset({"developer", "system"})


def violations(messages: Sequence[Mapping[str, Any]]) -> list[Violation]:
    """Return what the provider refuses in *messages*, in the order of the list."""
    if all(message.get("role") in INSTRUCTIONS for message in messages):
        return [Violation("no-messages", -1, -1, "There is nothing but instructions.")]
    found: list[Violation] = []
    at = 0
    while at < len(messages):
        found += _of_message(at, messages[at])
        calls = messages[at].get("tool_calls")
        if messages[at].get("role") == "tool":
            detail = "No assistant message with calls stands right before it."
            found.append(Violation("orphan-result", at, -1, detail))
        if messages[at].get("role") != "assistant" or calls is None:
            at += 1
            continue
        results = _results_after(messages, at)
        found += _of_calls(at, calls, messages, results)
        for index in results:
            found += _of_message(index, messages[index])
        at += 1 + len(results)
    return found


def _of_message(index: int, message: Mapping[str, Any]) -> Iterator[Violation]:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        yield Violation("role", index, -1, f"The role is {role!r}.")
    if content is not None and not isinstance(content, (str, list)):
        yield Violation("content-form", index, -1, "The content is no string and no list.")
    if isinstance(content, list) and len(mappings(content)) != len(content):
        yield Violation("content-form", index, -1, "A part is no object.")
    has_call = message.get("tool_calls") is not None or message.get("function_call") is not None
    has_audio = isinstance(audio := message.get("audio"), Mapping) and audio.keys() == {"id"}
    if message.get("audio") is not None and not has_audio:
        yield Violation(
            "recording", index, -1, "A recording is named by its id, and by nothing else."
        )
    if content in (None, []) and not (role == "assistant" and (has_call or has_audio)):
        yield Violation("content-required", index, -1, "There is no content.")
    for place, part in enumerate(mappings(content)):
        kind = part.get("type")
        if not isinstance(kind, str) or not kind:
            yield Violation("part-type", index, place, "The part has no type.")
        if role in ("tool", *INSTRUCTIONS) and kind != "text":
            yield Violation("text-only", index, place, f"A {role} message holds texts alone.")
        if role == "assistant" and kind not in ("text", "refusal"):
            yield Violation("text-only", index, place, "The assistant's parts are texts.")
    if role == "tool" and not message.get("tool_call_id"):
        yield Violation("result-id", index, -1, "A tool message names its call.")
    if role != "assistant" and message.get("tool_calls") is not None:
        yield Violation("call-role", index, -1, "Only the assistant calls tools.")


def _of_calls(
    at: int, calls: object, messages: Sequence[Mapping[str, Any]], results: range
) -> Iterator[Violation]:
    listed = mappings(calls)
    if not listed:
        yield Violation("empty-calls", at, -1, "`tool_calls` may be left out, never empty.")
    ids: list[object] = []
    for place, call in enumerate(listed):
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id:
            yield Violation("call-id", at, place, "The call has no id.")
        elif call_id in ids:
            yield Violation("call-twice", at, place, f"The id {call_id} stands twice here.")
        yield from _of_function(at, place, call)
        ids.append(call_id)
    answered = [messages[index].get("tool_call_id") for index in results]
    for place, call_id in enumerate(ids):
        if call_id not in answered:
            detail = f"No tool message for {call_id} follows at once."
            yield Violation("unanswered-call", at, place, detail)
    for order, index in enumerate(results):
        if answered[order] not in ids:
            yield Violation("orphan-result", index, -1, f"There is no call {answered[order]}.")
        elif answered[order] in answered[:order]:
            yield Violation("repeated-result", index, -1, f"{answered[order]} has one already.")


def _of_function(at: int, place: int, call: Mapping[str, Any]) -> Iterator[Violation]:
    function = call.get(str(call.get("type", "function")))
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        yield Violation("call-name", at, place, "The call names no function.")
    elif call.get("type", "function") == "function" and not isinstance(
        function.get("arguments") if isinstance(function, Mapping) else None, str
    ):
        yield Violation("call-arguments", at, place, "The arguments are no string.")


def _results_after(messages: Sequence[Mapping[str, Any]], at: int) -> range:
    end = at + 1
    while end < len(messages) and messages[end].get("role") == "tool":
        end += 1
    return range(at + 1, end)
