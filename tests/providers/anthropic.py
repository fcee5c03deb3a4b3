"""
What Anthropic's Messages API refuses.

A request is its `messages`; `system` stands apart and is judged by `system_violations`.
The rules follow the provider's pages on tool calls and extended thinking:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls and
https://platform.claude.com/docs/en/build-with-claude/extended-thinking.
Whether thinking is bound to the prefix before it can't be told from a list alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.providers.violation import Block, Violation, is_blank, mappings

MESSAGES_MAX: Final = 100_000

THINKING: Final = frozenset({"thinking", "redacted_thinking"})

REPEATED_ID: Final = "repeated-id"
"""Logs of real applications repeat ids; no window can mend that."""


def violations(messages: Sequence[Mapping[str, Any]]) -> list[Violation]:
    """Return what the provider refuses in *messages*, in the order of the list."""
    if not messages:
        return [Violation("no-messages", -1, -1, "The list is empty.")]
    found = list(_of_list(messages))
    seen: set[str] = set()
    for index, message in enumerate(messages):
        following = messages[index + 1] if index + 1 < len(messages) else None
        previous = messages[index - 1] if index else None
        found += _of_blocks(index, message, is_last=following is None)
        found += _of_calls(index, message, following, seen)
        found += _of_results(index, message, previous)
        found += _of_provider_calls(index, message)
        found += _of_thinking(index, message)
    return found


def system_violations(system: object) -> list[Violation]:
    """Return what the provider refuses in the field `system`: a string or a list of text blocks."""
    if isinstance(system, str):
        return []
    blocks = mappings(system)
    if not isinstance(system, list) or len(blocks) != len(system):
        return [Violation("system-form", -1, -1, "It is neither a string nor a list of blocks.")]
    return [
        Violation("system-block", -1, index, "A system block is a text that is not blank.")
        for index, block in enumerate(blocks)
        if block.get("type") != "text" or is_blank(block.get("text"))
    ]


def blocks_of(message: Mapping[str, Any]) -> Sequence[Block]:
    """Return the content of *message* as blocks; a string is one text block."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return mappings(content)


def _of_list(messages: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    if len(messages) > MESSAGES_MAX:
        yield Violation("too-many-messages", -1, -1, f"There are {len(messages)} messages.")
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant"):
            yield Violation("role", index, -1, f"The role is {message.get('role')!r}.")
    if messages[0].get("role") != "user":
        yield Violation("first-role", 0, -1, "The first message is not the user's.")
    if messages[-1].get("role") != "user":
        yield Violation("ends-with-assistant", len(messages) - 1, -1, "The last is no user's.")
    for index in range(1, len(messages)):
        if messages[index].get("role") == messages[index - 1].get("role"):
            yield Violation("not-merged", index, -1, "Neighbours of one role count as one message.")


def _of_blocks(index: int, message: Mapping[str, Any], *, is_last: bool) -> Iterator[Violation]:
    content, blocks = message.get("content"), blocks_of(message)
    is_final_reply = is_last and message.get("role") == "assistant"
    if not isinstance(content, (str, list)):
        yield Violation("content-form", index, -1, "The content is no string and no list.")
    elif not content:
        if not is_final_reply:
            yield Violation("empty-content", index, -1, "The content is empty.")
    else:
        if isinstance(content, list) and len(blocks) != len(content):
            yield Violation("content-form", index, -1, "A block is no object.")
        for place, block in enumerate(blocks):
            yield from _of_block(index, place, block)
    if is_final_reply and blocks and blocks[-1].get("type") == "text":
        text = blocks[-1].get("text")
        if isinstance(text, str) and text != text.rstrip():
            detail = "The final reply ends in white space."
            yield Violation("trailing-space", index, len(blocks) - 1, detail)


def _of_block(index: int, place: int, block: Block) -> Iterator[Violation]:
    kind = block.get("type")
    if not isinstance(kind, str) or not kind:
        yield Violation("block-type", index, place, "The block has no type.")
    if kind == "text" and is_blank(block.get("text")):
        yield Violation("blank-text", index, place, "The text is blank.")
    if kind == "compaction" and block.get("content") == "" and not block.get("encrypted_content"):
        yield Violation("empty-compaction", index, place, "The compaction is an empty string.")
    for inner in mappings(block.get("content")) if kind == "tool_result" else ():
        if inner.get("type") == "text" and is_blank(inner.get("text")):
            yield Violation("blank-text", index, place, "A text in the result is blank.")


def _of_calls(
    index: int, message: Mapping[str, Any], following: Mapping[str, Any] | None, seen: set[str]
) -> Iterator[Violation]:
    calls = [(p, b) for p, b in enumerate(blocks_of(message)) if b.get("type") == "tool_use"]
    if calls and message.get("role") != "assistant":
        yield Violation("call-role", index, calls[0][0], "Only the assistant calls tools.")
    answered = _result_ids(following) if following and following.get("role") == "user" else {}
    for place, block in calls:
        call_id = block.get("id")
        if not isinstance(call_id, str) or not call_id:
            yield Violation("call-id", index, place, "The call has no id.")
            continue
        if not isinstance(block.get("input"), Mapping):
            yield Violation("call-input", index, place, "The input is no object.")
        if call_id in seen:
            yield Violation(REPEATED_ID, index, place, f"The id {call_id} was used before.")
        seen.add(call_id)
        if call_id not in answered:
            detail = f"The next message has no result of {call_id}."
            yield Violation("unanswered-call", index, place, detail)


def _of_results(
    index: int, message: Mapping[str, Any], previous: Mapping[str, Any] | None
) -> Iterator[Violation]:
    blocks = blocks_of(message)
    results = [(p, b) for p, b in enumerate(blocks) if b.get("type") == "tool_result"]
    if not results:
        return
    if message.get("role") != "user":
        yield Violation("result-role", index, results[0][0], "Results come from the user.")
    called = {
        block.get("id")
        for block in (blocks_of(previous) if previous is not None else ())
        if block.get("type") == "tool_use" and previous and previous.get("role") == "assistant"
    }
    counts: Counter[object] = Counter()
    for order, (place, block) in enumerate(results):
        result_id = block.get("tool_use_id")
        counts[result_id] += 1
        if result_id not in called:
            detail = f"The message before has no call {result_id}."
            yield Violation("orphan-result", index, place, detail)
        elif counts[result_id] > 1:
            yield Violation("repeated-result", index, place, f"{result_id} has a result already.")
        if place != order:
            yield Violation("results-first", index, place, "Something stands before the result.")


def _of_provider_calls(index: int, message: Mapping[str, Any]) -> Iterator[Violation]:
    """A call that the provider ran itself has its result in the same message, after it."""
    called: set[object] = set()
    for place, block in enumerate(blocks_of(message)):
        kind = str(block.get("type"))
        if kind.endswith("_tool_use"):
            called.add(block.get("id"))
        if kind.endswith("_tool_result") and block.get("tool_use_id") not in called:
            detail = "Its call does not stand before it in the message."
            yield Violation("orphan-result", index, place, detail)


def _of_thinking(index: int, message: Mapping[str, Any]) -> Iterator[Violation]:
    blocks = blocks_of(message)
    thinking = [(p, b) for p, b in enumerate(blocks) if b.get("type") in THINKING]
    if not thinking:
        return
    if message.get("role") != "assistant":
        yield Violation("thinking-role", index, thinking[0][0], "Only the assistant thinks.")
    if thinking[-1][0] == len(blocks) - 1:
        detail = "The message ends in thinking."
        yield Violation("ends-in-thinking", index, thinking[-1][0], detail)
    for place, block in thinking:
        key = "signature" if block.get("type") == "thinking" else "data"
        if is_blank(block.get(key)):
            yield Violation("thinking-unsigned", index, place, f"The thinking has no {key}.")


def _result_ids(message: Mapping[str, Any]) -> dict[object, int]:
    return {
        block.get("tool_use_id"): place
        for place, block in enumerate(blocks_of(message))
        if block.get("type") == "tool_result"
    }
