"""
What Bedrock's Converse refuses in its `messages`.

A block is a union: an object with exactly one of the keys of `MEMBERS`. Sources:
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html and the pages of
its blocks, and the errors that the API is known to give. What Claude demands behind it is judged as
well: ids that are used once, results first, no reply at the end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.providers.violation import Block, Violation, is_blank, mappings

MEMBERS: Final = frozenset(
    {
        "text",
        "image",
        "document",
        "video",
        "audio",
        "toolUse",
        "toolResult",
        "reasoningContent",
        "cachePoint",
        "guardContent",
        "citationsContent",
        "searchResult",
    }
)
"""The members of a block of a message."""

RESULT_MEMBERS: Final = frozenset(["text", "json", "image", "document", "video", "searchResult"])
"""The members of a block of a result."""

USER_MEMBERS: Final = frozenset({"image", "document", "video", "audio", "toolResult"})
"""What only the user may send."""

FORMATS: Final = {
    "image": frozenset(["png", "jpeg", "gif", "webp"]),
    "video": frozenset(["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"]),
    "document": frozenset(["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]),
}

SOURCES: Final = frozenset({"bytes", "s3Location", "text", "content"})

REPEATED_ID: Final = "repeated-id"
"""Logs of real applications repeat ids; no window can mend that."""

_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DOCUMENT_NAME: Final = re.compile(r"(?!.*\s\s)[a-zA-Z0-9\s()\[\]-]{1,200}", re.DOTALL)


def violations(messages: Sequence[Mapping[str, Any]]) -> list[Violation]:
    """Return what the provider refuses in *messages*, in the order of the list."""
    if not messages:
        return [Violation("no-messages", -1, -1, "The list is empty.")]
    found = list(_of_list(messages))
    seen: set[str] = set()
    for index, message in enumerate(messages):
        following = messages[index + 1] if index + 1 < len(messages) else {}
        previous = messages[index - 1] if index else {}
        found += _of_content(index, message)
        found += _of_calls(index, message, following, seen)
        found += _of_results(index, message, previous)
    return found


def blocks_of(message: Mapping[str, Any]) -> Sequence[Block]:
    """Return the blocks of *message* that are objects."""
    return mappings(message.get("content"))


def _of_list(messages: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant"):
            yield Violation("role", index, -1, f"The role is {message.get('role')!r}.")
        if index and message.get("role") == messages[index - 1].get("role"):
            yield Violation("not-merged", index, -1, "The message before has the same role.")
    if messages[0].get("role") != "user":
        yield Violation("first-role", 0, -1, "The conversation does not start with the user.")
    if messages[-1].get("role") != "user":
        yield Violation("ends-with-assistant", len(messages) - 1, -1, "The last is no user's.")


def _of_content(index: int, message: Mapping[str, Any]) -> Iterator[Violation]:
    content, blocks = message.get("content"), blocks_of(message)
    if not isinstance(content, list) or len(blocks) != len(content):
        yield Violation("content-form", index, -1, "The content is no list of objects.")
    elif not content:
        yield Violation("empty-content", index, -1, "The content is empty.")
    for place, block in enumerate(blocks):
        if len(block) != 1 or not block.keys() <= MEMBERS:
            detail = f"A block has one member, not {sorted(block)}."
            yield Violation("block-member", index, place, detail)
        if message.get("role") != "user" and block.keys() & USER_MEMBERS:
            yield Violation("user-member", index, place, "Only the user may send it.")
        if message.get("role") != "assistant" and block.keys() & {"toolUse", "reasoningContent"}:
            yield Violation("assistant-member", index, place, "Only the assistant may say it.")
        yield from _of_held(index, place, block)
    if any("document" in block for block in blocks) and not any("text" in one for one in blocks):
        yield Violation("document-alone", index, -1, "A document stands without a text.")
    if blocks and "reasoningContent" in blocks[-1]:
        yield Violation("ends-in-reasoning", index, len(blocks) - 1, "It ends in reasoning.")


def _of_held(index: int, place: int, block: Block) -> Iterator[Violation]:
    """What a block of a message or of a result holds."""
    if "text" in block and is_blank(block["text"]):
        yield Violation("blank-text", index, place, "The text is blank.")
    for kind, formats in FORMATS.items():
        if kind not in block:
            continue
        held = block[kind] if isinstance(block[kind], Mapping) else {}
        if held.get("format") not in formats and (kind != "document" or "format" in held):
            yield Violation("media-format", index, place, f"It is no format of a {kind}.")
        source = held.get("source")
        if not isinstance(source, Mapping) or len(source) != 1 or not source.keys() <= SOURCES:
            yield Violation("media-source", index, place, "It has not exactly one source.")
        if kind == "document" and not _matches(_DOCUMENT_NAME, held.get("name")):
            yield Violation("document-name", index, place, "The name is refused.")


def _of_calls(
    index: int, message: Mapping[str, Any], following: Mapping[str, Any], seen: set[str]
) -> Iterator[Violation]:
    answered = {held.get("toolUseId") for _, held in _all_held(following, "toolResult")}
    for place, held in _all_held(message, "toolUse"):
        call_id = held.get("toolUseId")
        if not _matches(_ID, call_id):
            yield Violation("call-id", index, place, "The id of the call is refused.")
        if not _matches(_ID, held.get("name")):
            yield Violation("call-name", index, place, "The name of the tool is refused.")
        if not isinstance(held.get("input"), Mapping):
            yield Violation("call-input", index, place, "The input is no object.")
        if call_id in seen:
            yield Violation(REPEATED_ID, index, place, f"The id {call_id} was used before.")
        seen.add(str(call_id))
        if call_id not in answered:
            detail = f"The next message has no result of {call_id}."
            yield Violation("unanswered-call", index, place, detail)


def _of_results(
    index: int, message: Mapping[str, Any], previous: Mapping[str, Any]
) -> Iterator[Violation]:
    called = {held.get("toolUseId") for _, held in _all_held(previous, "toolUse")}
    counts: Counter[object] = Counter()
    for order, (place, held) in enumerate(_all_held(message, "toolResult")):
        call_id = held.get("toolUseId")
        counts[call_id] += 1
        if call_id not in called:
            yield Violation("orphan-result", index, place, f"There is no call {call_id} before.")
        elif counts[call_id] > 1:
            yield Violation("repeated-result", index, place, f"{call_id} has a result already.")
        if place != order:
            yield Violation("results-first", index, place, "Something stands before the result.")
        yield from _of_result(index, place, held)


def _of_result(index: int, place: int, held: Block) -> Iterator[Violation]:
    content, blocks = held.get("content"), mappings(held.get("content"))
    if not isinstance(content, list) or len(blocks) != len(content):
        yield Violation("result-form", index, place, "The result is no list of objects.")
    elif not content and held.get("status") == "error":
        yield Violation("empty-error", index, place, "A result that is an error says nothing.")
    if held.get("status", "success") not in ("success", "error"):
        yield Violation("result-status", index, place, "It is no status of a result.")
    for block in blocks:
        if len(block) != 1 or not block.keys() <= RESULT_MEMBERS:
            yield Violation("result-member", index, place, f"A result holds no {sorted(block)}.")
        yield from _of_held(index, place, block)


def _all_held(message: Mapping[str, Any], member: str) -> list[tuple[int, Block]]:
    """Return what the blocks of *message* hold under *member*, with their places."""
    return [
        (place, block[member] if isinstance(block[member], Mapping) else {})
        for place, block in enumerate(blocks_of(message))
        if member in block
    ]


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
