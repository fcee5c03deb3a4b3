"""
Anthropic's Messages, streamed, with thinking that is bound to what came before it.

A signature is a hash of all that the request held before the thinking: its system prompt, its tools
and its messages, cache marks aside. A request that brings thinking back is held to that, as the
newest models hold it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from tests.loops.protocols import input_tokens
from tests.loops.protocols.openai_chat import text_of
from tests.loops.script import TOOL, Asked, Json, Reply


class AnthropicWire:
    """Messages."""

    format = "anthropic"
    path = "/v1/messages"

    def messages(self, body: Json) -> list[Json]:
        """Return the messages."""
        found: list[Json] = body["messages"]
        return found

    def system(self, body: Json) -> str:
        """Return the text of the system prompt."""
        return text_of(body.get("system") or "")

    def asked(self, body: Json) -> Asked:
        """Find the last message of the user that is no answer of a tool, and the calls since."""
        messages = body["messages"]
        last = max(at for at, message in enumerate(messages) if _said(message))
        # A message of results may end with what the user said after them.
        steps = sum("tool_use" in _kinds(message) for message in messages[last:])
        return Asked(_said(messages[last]), steps)

    def stream(self, body: Json, reply: Reply, number: int) -> Iterator[Json | str]:
        """Stream events: each block begins, grows and stops."""
        tokens = input_tokens(body)
        usage = {
            "input_tokens": tokens // 4,
            "cache_read_input_tokens": tokens // 2,
            "cache_creation_input_tokens": tokens // 4,
            "output_tokens": 1,
        }
        message = {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        yield {"type": "message_start", "message": message}
        for index, (block, deltas) in enumerate(_blocks(body, reply)):
            yield {"type": "content_block_start", "index": index, "content_block": block}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        stop = {"stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None}
        yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 20}}
        yield {"type": "message_stop"}

    def refused(self, status: int) -> Json:
        """Refuse as Anthropic does."""
        kind = "rate_limit_error" if status == 429 else "overloaded_error"
        return {"type": "error", "error": {"type": kind, "message": "Try again later."}}

    def moved(self, body: Json) -> list[str]:
        """Return the signatures of thinking whose prefix is no longer what it is bound to."""
        return [
            block["signature"]
            for at, message in enumerate(body["messages"])
            if not isinstance(message["content"], str)
            for place, block in enumerate(message["content"])
            if block["type"] == "thinking"
            and place == 0  # one that follows another reply in a merged message is not at the end
            and block["signature"] != signature(body, at)
        ]


def signature(body: Json, length: int) -> str:
    """Sign what stands before message *length* of a request."""
    before = {
        "system": unmarked(body.get("system")),
        "tools": unmarked(body.get("tools")),
        "messages": [unmarked(message) for message in body["messages"][:length]],
    }
    return blake2b(json.dumps(before, sort_keys=True).encode(), digest_size=32).hexdigest()


def unmarked(value: Any) -> Any:
    """Leave cache marks out, and write a string as the block that it stands for."""
    if isinstance(value, list):
        return [unmarked(one) for one in value]
    if not isinstance(value, dict):
        return value
    content = value.get("content")
    if isinstance(content, str):
        value = {**value, "content": [{"type": "text", "text": content}]}
    return {key: unmarked(one) for key, one in value.items() if key != "cache_control"}


def _blocks(body: Json, reply: Reply) -> Iterator[tuple[Json, list[Json]]]:
    sealed = signature(body, len(body["messages"]))
    yield (
        {"type": "thinking", "thinking": "", "signature": ""},
        [
            {"type": "thinking_delta", "thinking": reply.thought},
            {"type": "signature_delta", "signature": sealed},
        ],
    )
    words = [{"type": "text_delta", "text": word} for word in reply.words]
    yield {"type": "text", "text": ""}, words
    for call in reply.calls:
        arguments = json.dumps(call.arguments)
        pieces = (arguments[:5], arguments[5:])
        yield (
            {"type": "tool_use", "id": call.id, "name": TOOL, "input": {}},
            [{"type": "input_json_delta", "partial_json": piece} for piece in pieces],
        )


def _said(message: Json) -> str:
    """Return what the user says in a message; nothing if they say nothing."""
    content = message["content"]
    if message["role"] != "user":
        return ""
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if block["type"] == "text")


def _kinds(message: Json) -> set[str]:
    content = message["content"]
    return set() if isinstance(content, str) else {block["type"] for block in content}
