"""
What OpenAI's Responses API refuses in its `input` items.

Sources: https://developers.openai.com/api/docs/guides/conversation-state and
https://developers.openai.com/api/docs/guides/reasoning.
Calls and outputs are matched over the whole list: unlike other providers this one does not demand
that they be neighbours, only that the output comes after its call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.providers.violation import Violation, mappings

ROLES: Final = frozenset({"user", "assistant", "system", "developer"})

OUTPUTS: Final = {
    "function_call_output": "function_call",
    "custom_tool_call_output": "custom_tool_call",
    "shell_call_output": "shell_call",
    "local_shell_call_output": "local_shell_call",
    "apply_patch_call_output": "apply_patch_call",
    "computer_call_output": "computer_call",
    "tool_search_output": "tool_search_call",
    "mcp_approval_response": "mcp_approval_request",
}
"""The type of an output, and of the call that it answers."""

_CALLS: Final = frozenset(OUTPUTS.values()) - {"mcp_approval_request"}

PAIRED_BY_ITEM_ID: Final = "item-without-reasoning"
"""Can be told only where the log has the ids of items."""


def violations(items: Sequence[Mapping[str, Any]]) -> list[Violation]:
    """Return what the provider refuses in *items*, in the order of the list."""
    if not items:
        return [Violation("no-messages", -1, -1, "The list is empty.")]
    return [*_of_pairs(items), *_of_reasoning(items), *_of_messages(items)]


def _of_pairs(items: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    waiting: dict[tuple[str, object], int] = {}
    answered: set[tuple[str, object]] = set()
    for index, item in enumerate(items):
        kind = str(item.get("type"))
        if kind in OUTPUTS.values():
            key = (kind, _call_id(item))
            if not key[1]:
                yield Violation("call-id", index, -1, "The call has no id.")
            elif key in waiting:
                yield Violation("call-twice", index, -1, f"{key[1]} has not been answered yet.")
            waiting[key] = index
        elif kind in OUTPUTS:
            key = (OUTPUTS[kind], _call_id(item))
            if waiting.pop(key, None) is None:
                rule = "repeated-result" if key in answered else "orphan-result"
                yield Violation(rule, index, -1, f"No call {key[1]} waits before it.")
            answered.add(key)
    for (kind, call_id), index in waiting.items():
        if kind in _CALLS:
            yield Violation("unanswered-call", index, -1, f"{call_id} has no output.")


def _of_reasoning(items: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    for index, item in enumerate(items):
        if item.get("type") != "reasoning":
            continue
        rest = (one for one in items[index + 1 :] if one.get("type") != "reasoning")
        following = next(rest, None)
        if following is None or not _is_reply(following):
            detail = "The item that the reasoning led to does not follow it."
            yield Violation("reasoning-without-item", index, -1, detail)


def _of_messages(items: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    for index, item in enumerate(items):
        kind = item.get("type", "message" if "role" in item else None)
        if not isinstance(kind, str) or not kind:
            yield Violation("item-type", index, -1, "The item has no type.")
        if kind != "message":
            continue
        if item.get("role") not in ROLES:
            yield Violation("role", index, -1, f"The role is {item.get('role')!r}.")
        content = item.get("content")
        if not isinstance(content, (str, list)) or content == []:
            yield Violation("content-required", index, -1, "There is no content.")
        wanted = ("output_text", "refusal") if item.get("role") == "assistant" else ()
        for place, part in enumerate(mappings(content)):
            part_kind = str(part.get("type"))
            if (wanted and part_kind not in wanted) or (
                not wanted and not part_kind.startswith("input_")
            ):
                detail = f"A part of type {part_kind} does not stand in such a message."
                yield Violation("part-type", index, place, detail)


def _call_id(item: Mapping[str, Any]) -> object:
    if item.get("type") == "mcp_approval_response":
        return item.get("approval_request_id")
    return item.get("call_id") or item.get("id")


def _is_reply(item: Mapping[str, Any]) -> bool:
    """Tell whether *item* is the model's own: a message of the assistant, or a call of any kind."""
    if "role" in item:
        return item.get("role") == "assistant"
    kind = str(item.get("type"))
    return kind not in OUTPUTS and kind.endswith(
        ("_call", "mcp_approval_request", "mcp_list_tools")
    )
