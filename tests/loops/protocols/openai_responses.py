"""OpenAI's Responses, streamed, with nothing stored at the provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.loops.protocols import input_tokens
from tests.loops.protocols.openai_chat import text_of
from tests.loops.script import TOOL, Asked, Json, Reply


class ResponsesWire:
    """Responses."""

    format = "openai-responses"
    path = "/responses"

    def messages(self, body: Json) -> list[Json]:
        """Return the items; instructions may be among them."""
        found: list[Json] = body["input"]
        return found

    def system(self, body: Json) -> str:
        """Return the instructions."""
        return body.get("instructions") or ""

    def asked(self, body: Json) -> Asked:
        """Find the last message of the user, and the outputs since, which stand together."""
        items = body["input"]
        last = max(at for at, item in enumerate(items) if item.get("role") == "user")
        kinds = [item.get("type") for item in items[last:]]
        steps = sum(
            kind == "function_call" and (at == 0 or kinds[at - 1] != "function_call")
            for at, kind in enumerate(kinds)
        )
        return Asked(text_of(items[last]["content"]), steps)

    def stream(self, body: Json, reply: Reply, number: int) -> Iterator[Json | str]:
        """Stream events: each item is added, grows and is done; the last event has them all."""
        events = _events(body, reply, number)
        for at, event in enumerate(events):
            yield {**event, "sequence_number": at}

    def refused(self, status: int) -> Json:
        """Refuse as OpenAI does."""
        return {"error": {"message": "Try again later.", "type": "overloaded", "code": status}}


def _events(body: Json, reply: Reply, number: int) -> Iterator[Json]:
    response: dict[str, Any] = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "in_progress",
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
    }
    yield {"type": "response.created", "response": response}
    output: list[Json] = []

    def added(item: Json) -> Json:
        return {"type": "response.output_item.added", "output_index": len(output), "item": item}

    def done(item: Json) -> Json:
        output.append(item)
        return {"type": "response.output_item.done", "output_index": len(output) - 1, "item": item}

    reasoning = {
        "type": "reasoning",
        "id": f"rs_{number}",
        "summary": [{"type": "summary_text", "text": reply.thought}],
        "encrypted_content": f"sealed-{number}",
        "status": "completed",
    }
    yield added({**reasoning, "summary": [], "status": "in_progress"})
    yield done(reasoning)

    message = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": []}
    yield added({**message, "status": "in_progress"})
    where = {"item_id": message["id"], "output_index": len(output), "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.content_part.added", **where, "part": empty}
    for word in reply.words:
        yield {"type": "response.output_text.delta", **where, "delta": word, "logprobs": []}
    whole = {**empty, "text": reply.text}
    yield {"type": "response.output_text.done", **where, "text": reply.text, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": whole}
    yield done({**message, "status": "completed", "content": [whole]})

    for at, call in enumerate(reply.calls):
        arguments = json.dumps(call.arguments)
        item = {
            "type": "function_call",
            "id": f"fc_{number}_{at}",
            "call_id": call.id,
            "name": TOOL,
            "arguments": arguments,
            "status": "completed",
        }
        yield added({**item, "arguments": "", "status": "in_progress"})
        where = {"item_id": item["id"], "output_index": len(output)}
        kind = "response.function_call_arguments"
        for piece in (arguments[:5], arguments[5:]):
            yield {"type": f"{kind}.delta", **where, "delta": piece}
        yield {"type": f"{kind}.done", **where, "arguments": arguments, "name": TOOL}
        yield done(item)

    tokens = input_tokens(body)
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": tokens // 2, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": tokens + 20,
    }
    ended = {**response, "status": "completed", "output": output, "usage": usage}
    yield {"type": "response.completed", "response": ended}
