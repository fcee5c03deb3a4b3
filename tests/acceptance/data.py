"""
The real conversations, and the shapes in which applications would send them.

A source is read in its normalised form (`role`, `parts`, `metadata`).
Where the original was spoken in a provider's own shape, the same conversation is also turned back
into that shape, so that calls and results are met as message keys (OpenAI), as `tool_use` blocks
(Anthropic) and as one part that is both (AI SDK).
Everything here is a function of files; nothing talks to a server.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

Message = Mapping[str, Any]

ANSWERED_BY_SERVER = ("seq", "version", "token_count", "inserted_at")

LAST_N = "last_n"
SKIP_PARTS = "skip_parts"
MANUAL = "manual"

NORMALISED = "normalised"
OPENAI = "openai"
ANTHROPIC = "anthropic"
UI_MESSAGE = "ui-message"
COUNTED = "counted"

SHAPES = {
    "tau-bench-airline": (NORMALISED, OPENAI),
    "swe-agent": (NORMALISED, OPENAI, COUNTED),
    "claude-code-entire": (NORMALISED, ANTHROPIC),
    "pi-coding-agent": (NORMALISED, COUNTED),
    "pydantic-ai-anthropic": (NORMALISED, ANTHROPIC),
    "aisdk-uimessages": (NORMALISED, UI_MESSAGE),
    "glaive-tools": (NORMALISED,),
    "smile-zh": (NORMALISED,),
    "memorybank": (NORMALISED,),
    "qmsum": (NORMALISED,),
    "goodai-ltm": (NORMALISED,),
    "bfcl-memory": (NORMALISED,),
    "mt-bench-101": (NORMALISED,),
}
"""Every source there is, with the shapes in which it can be sent."""


@dataclass(frozen=True)
class Conversation:
    """One conversation of one source, in one shape, ready to be appended message by message."""

    source: str
    id: str
    shape: str
    messages: tuple[Message, ...]


def available() -> bool:
    """Tell whether the conversations lie beside the repository."""
    return (DATA / "manifest.json").is_file()


def conversations(source: str, shape: str = NORMALISED) -> tuple[Conversation, ...]:
    """
    Read all conversations of *source* in *shape*.

    Raises:
        KeyError: There is no such source, or it does not come in that shape.
    """
    if shape not in SHAPES[source]:
        raise KeyError(f"{source} does not come in the shape {shape}")
    if shape == UI_MESSAGE:
        return _ui_conversations(source)
    in_shape = _IN_SHAPE[shape]
    return tuple(
        replace(one, shape=shape, messages=tuple(in_shape(m) for m in one.messages))
        for one in _normalised(source)
    )


@cache
def _normalised(source: str) -> tuple[Conversation, ...]:
    path = DATA / "conversations" / f"{source}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        read = tuple(_conversation(source, json.loads(line)) for line in lines)
    return (*read, _joined(read)) if source == "aisdk-uimessages" else read


def _conversation(source: str, record: Mapping[str, Any]) -> Conversation:
    return Conversation(source, record["id"], NORMALISED, tuple(record["messages"]))


def _joined(read: Iterable[Conversation]) -> Conversation:
    """
    Chain recorded replies, each a conversation of one message, into one long conversation.

    The prompts were not recorded, so each reply is preceded by a user message with the name of its
    recording.
    """
    messages: list[Message] = []
    for one in read:
        asked = {"type": "text", "text": f"Replay {one.id}."}
        messages.append({"role": "user", "parts": [asked], "metadata": {}})
        messages.extend(one.messages)
    return Conversation("aisdk-uimessages", "aisdk-uimessages/joined", NORMALISED, tuple(messages))


def _ui_conversations(source: str) -> tuple[Conversation, ...]:
    read = tuple(
        Conversation(source, f"{source}/{message['id']}", UI_MESSAGE, (message,))
        for message in _raw_ui_messages(source)
    )
    return (*read, replace(_joined(read), shape=UI_MESSAGE))


def _raw_ui_messages(source: str) -> Iterator[Message]:
    with tarfile.open(DATA / "raw" / f"{source}.tar.gz") as archive:
        for member in archive:
            stored = archive.extractfile(member)
            if stored is not None:
                yield from json.load(io.TextIOWrapper(stored, encoding="utf-8"))


def as_openai(message: Message) -> Message:
    """
    Write *message* as OpenAI's chat format does: calls and the id of a result are message keys.
    """
    texts = [part for part in message["parts"] if part["type"] != "tool_call"]
    calls = [_openai_call(part) for part in message["parts"] if part["type"] == "tool_call"]
    results = [part for part in texts if part["type"] == "tool_result"]
    shaped = {**message, "parts": [_openai_result(part) for part in texts]}
    if calls:
        shaped["tool_calls"] = calls
    if results:
        shaped["tool_call_id"] = results[0]["tool_call_id"]
    return shaped


def _openai_call(part: Mapping[str, Any]) -> dict[str, Any]:
    original = part.get("original", {})
    arguments = original.get("arguments", json.dumps(part["payload"], ensure_ascii=False))
    function = {"name": part["name"], "arguments": arguments}
    return {"id": part["tool_call_id"], "type": "function", "function": function}


def _openai_result(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "text", "text": part["content"]} if part["type"] == "tool_result" else part


def as_anthropic(message: Message) -> Message:
    """
    Write *message* as Anthropic's API does: typed blocks, and tool results that the user brings.
    """
    role = message["metadata"].get("original_role", message["role"])
    return {**message, "role": role, "parts": [_anthropic_part(p) for p in message["parts"]]}


def _anthropic_part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    original = dict(part.get("original", {}))
    kind = part["type"]
    if kind == "text":
        return {"type": "text", "text": part["text"], **original}
    if kind == "reasoning":
        return _anthropic_thinking(part, original)
    if kind == "tool_call":
        block = {"type": original.pop("type", "tool_use"), "id": part["tool_call_id"]}
        return {**block, "name": part["name"], "input": part["payload"], **original}
    if kind == "tool_result":
        block = {"type": original.pop("type", "tool_result"), "tool_use_id": part["tool_call_id"]}
        return {**block, "content": part["content"], **original}
    return original


def _anthropic_thinking(part: Mapping[str, Any], original: dict[str, Any]) -> Mapping[str, Any]:
    if original.get("type") == "redacted_thinking":
        return original
    return {"type": "thinking", "thinking": part["text"], **original}


def with_own_counts(message: Message) -> Message:
    """
    Give *message* a token count of its own, as an application with its own tokenizer does.

    The count is far from what any tokenizer would say, so that a server which counts again is found
    out.
    """
    size = len(json.dumps(message["parts"], ensure_ascii=False))
    return {**message, "token_count": 7 + size // 3}


_IN_SHAPE: dict[str, Callable[[Message], Message]] = {
    NORMALISED: lambda message: message,
    OPENAI: as_openai,
    ANTHROPIC: as_anthropic,
    COUNTED: with_own_counts,
}


def content_of(message: Message) -> dict[str, Any]:
    """Return *message* without what the server adds to every message, with the default metadata."""
    content = {key: value for key, value in message.items() if key not in ANSWERED_BY_SERVER}
    return {"metadata": {}, **content}
