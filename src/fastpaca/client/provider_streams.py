"""
The chunks of a stream of Gemini, as the response that they are parts of. Pure.

Other providers' packages put a stream together themselves; `google-genai` yields the chunks alone,
each of them a response.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastpaca.client.provider_objects import fields_of

Fields = Mapping[str, Any]


def joined(chunks: Sequence[Fields]) -> Fields:
    """
    Join the *chunks* of a stream, in their order, to the response that would have come whole.

    Texts that follow each other become one, and so do thoughts, unless they are signed. The usage
    and the reason why it ended are those that were sent last.
    """
    whole: dict[str, Any] = {}
    candidate: dict[str, Any] = {}
    content: dict[str, Any] = {}
    parts: list[Fields] = []
    for chunk in chunks:
        whole |= _present(chunk)
        for one in chunk.get("candidates") or ():
            candidate |= _present(fields_of(one))
            content |= _present(fields_of(candidate.pop("content", None)))
            parts += map(fields_of, content.pop("parts", ()))
    if not candidate and not content:
        return whole
    return {**whole, "candidates": [{**candidate, "content": {**content, "parts": _texts(parts)}}]}


def _present(fields: Fields) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _texts(parts: Iterable[Fields]) -> list[Fields]:
    """Join texts that follow each other."""
    joined_parts: list[Fields] = []
    for part in parts:
        before = joined_parts[-1] if joined_parts else {}
        if _is_plain(part) and _is_plain(before) and _is_thought(part) == _is_thought(before):
            joined_parts[-1] = {**before, "text": before["text"] + part["text"]}
        else:
            joined_parts.append(part)
    return joined_parts


def _is_plain(part: Fields) -> bool:
    """Return whether a part is a text, and nothing else: signed ones stay as they are."""
    return "text" in part and _present(part).keys() <= {"text", "thought"}


def _is_thought(part: Fields) -> bool:
    return bool(part.get("thought"))
