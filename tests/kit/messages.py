"""Messages of every shape: as clients send them, and counted, as a context takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastpaca.context import jsontext
from fastpaca.context.draft import Draft, parse
from fastpaca.context.message import Counts
from fastpaca.context.ops import Append, Counted

Message = dict[str, Any]

OVERHEAD = 4
"""What a message costs beside its parts: 3, and 1 for its role."""


def text(content: str) -> Message:
    """A text part; `counted` counts a token a character."""
    return {"type": "text", "text": content}


def user(*parts: Message | str, **keys: Any) -> Message:
    """A message of the user."""
    return message("user", *parts, **keys)


def assistant(*parts: Message | str, **keys: Any) -> Message:
    """A message of the model."""
    return message("assistant", *parts, **keys)


def system(*parts: Message | str, **keys: Any) -> Message:
    """A message of instructions."""
    return message("system", *parts, **keys)


def tool(*parts: Message | str, **keys: Any) -> Message:
    """A message that a tool gave back."""
    return message("tool", *parts, **keys)


def message(role: str, *parts: Message | str, **keys: Any) -> Message:
    """A message of *role*; strings are text parts."""
    listed = [text(part) if isinstance(part, str) else part for part in parts]
    return {"role": role, "parts": listed, **keys}


HELLO = user("Hello")


def call(name: str, /, **keys: Any) -> Message:
    """A part that calls a tool; *name* is the id of the call."""
    return {"type": "tool_call", "tool_call_id": name, **keys}


def result(name: str, content: Any = "ok", /, **keys: Any) -> Message:
    """A part with the result of the call *name*."""
    return {"type": "tool_result", "tool_call_id": name, "content": content, **keys}


def encoded(value: Any) -> bytes:
    """Write *value* as the edge of the server hands it in: minified JSON."""
    return jsontext.minified(json.dumps(value, ensure_ascii=False).encode())


def counted(content: Mapping[str, Any]) -> Counted:
    """Make a message that is ready to be appended, and count it."""
    draft = parse(encoded(content), "message")
    return Counted(draft, count(draft))


def count(draft: Draft) -> Counts:
    """Count a token a character of each text, and a token a byte of all other parts and keys."""
    parts = tuple(
        len(part.text) if part.text is not None else len(part.body) for part in draft.parts
    )
    keys = tuple(map(len, draft.keys))
    total = OVERHEAD + sum(keys) + sum(parts)
    return Counts(total if draft.token_count is None else draft.token_count, OVERHEAD, keys, parts)


def append(*texts: str, if_version: int | None = None) -> Append:
    """Append messages of the user, of one text each."""
    return Append(tuple(counted(user(text)) for text in texts), if_version)


def tokens(content: Mapping[str, Any]) -> int:
    """Return what *content* costs."""
    return counted(content).counts.total
