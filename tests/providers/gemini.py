"""
What Gemini's `generateContent` refuses in its `contents`.

Sources: https://ai.google.dev/gemini-api/docs/function-calling and
https://ai.google.dev/gemini-api/docs/thought-signatures.
Instructions stand apart, in `systemInstruction`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.providers.violation import Block, Violation, mappings

SIGNATURE_MISSING: Final = "signature-missing"
"""Signatures are Gemini's own; a log of another model has none."""


def violations(contents: Sequence[Mapping[str, Any]]) -> list[Violation]:
    """Return what the provider refuses in *contents*, in the order of the list."""
    if not contents:
        return [Violation("no-messages", -1, -1, "The list is empty.")]
    found: list[Violation] = []
    for index, content in enumerate(contents):
        previous = contents[index - 1] if index else None
        following = contents[index + 1] if index + 1 < len(contents) else None
        found += _of_content(index, content)
        found += _of_calls(index, content, previous, following)
        found += _of_responses(index, content, previous)
    if contents[-1].get("role") != "user":
        detail = "It ends with a turn of the model."
        found.append(Violation("ends-with-model", len(contents) - 1, -1, detail))
    return [*found, *_of_signatures(contents)]


def parts_of(content: Mapping[str, Any]) -> Sequence[Block]:
    """Return the parts of *content* that are objects."""
    return mappings(content.get("parts"))


def _of_content(index: int, content: Mapping[str, Any]) -> Iterator[Violation]:
    if content.get("role") not in ("user", "model"):
        yield Violation("role", index, -1, f"The role is {content.get('role')!r}.")
    parts = parts_of(content)
    if not parts:
        yield Violation("empty-content", index, -1, "The content has no parts.")
    for place, part in enumerate(parts):
        if not any(key not in ("thoughtSignature", "thought") for key in part):
            yield Violation("empty-part", index, place, "The part holds nothing.")
    if parts and all(set(part) <= {"text"} and not part.get("text") for part in parts):
        yield Violation("empty-content", index, -1, "All texts of the content are empty.")


def _of_calls(
    index: int,
    content: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    following: Mapping[str, Any] | None,
) -> Iterator[Violation]:
    calls = [(p, part) for p, part in enumerate(parts_of(content)) if "functionCall" in part]
    if not calls:
        return
    if content.get("role") != "model":
        yield Violation("call-role", index, calls[0][0], "Only the model calls functions.")
    if previous is None or previous.get("role") != "user":
        detail = "A turn with calls follows the user or a response."
        yield Violation("call-after", index, calls[0][0], detail)
    for place, part in calls:
        if not _name(part["functionCall"]):
            yield Violation("call-name", index, place, "The call has no name.")
    responses = _responses(following)
    if not responses:
        detail = "No response turn follows at once."
        yield Violation("unanswered-call", index, calls[0][0], detail)
    elif len(responses) != len(calls):
        detail = f"{len(calls)} calls, {len(responses)} responses."
        yield Violation("response-count", index, calls[0][0], detail)
    elif sorted(map(_call_name, calls)) != sorted(_name(p["functionResponse"]) for p in responses):
        detail = "The responses are those of other functions."
        yield Violation("response-name", index, calls[0][0], detail)


def _of_responses(
    index: int, content: Mapping[str, Any], previous: Mapping[str, Any] | None
) -> Iterator[Violation]:
    parts = parts_of(content)
    responses = [place for place, part in enumerate(parts) if "functionResponse" in part]
    if not responses:
        return
    if content.get("role") != "user":
        yield Violation("result-role", index, responses[0], "Responses come from the user.")
    if len(responses) != len(parts):
        yield Violation("responses-alone", index, responses[0], "Other parts stand beside them.")
    called = previous is not None and any("functionCall" in part for part in parts_of(previous))
    if not called:
        detail = "The turn before it has no call."
        for place in responses:
            yield Violation("orphan-result", index, place, detail)


def _of_signatures(contents: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    """The first call of each step of the current turn has the signature that came with it."""
    start = max((i for i, content in enumerate(contents) if _opens_turn(content)), default=0)
    for index in range(start, len(contents)):
        calls = [(p, part) for p, part in enumerate(parts_of(contents[index])) if _is_call(part)]
        if calls and not calls[0][1].get("thoughtSignature"):
            detail = "The first call of this step has no signature."
            yield Violation(SIGNATURE_MISSING, index, calls[0][0], detail)


def _opens_turn(content: Mapping[str, Any]) -> bool:
    parts = parts_of(content)
    return content.get("role") == "user" and not any("functionResponse" in part for part in parts)


def _is_call(part: Block) -> bool:
    return "functionCall" in part


def _responses(content: Mapping[str, Any] | None) -> Sequence[Block]:
    return [p for p in parts_of(content) if "functionResponse" in p] if content is not None else []


def _call_name(placed: tuple[int, Block]) -> str:
    return _name(placed[1]["functionCall"])


def _name(value: object) -> str:
    return str(value.get("name") or "") if isinstance(value, Mapping) else ""
