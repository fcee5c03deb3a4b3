"""OpenAI's Chat Completions, streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.loops.protocols import input_tokens
from tests.loops.script import TOOL, Asked, Json, Reply


class ChatWire:
    """Chat Completions."""

    format = "openai-chat"
    path = "/chat/completions"

    def messages(self, body: Json) -> list[Json]:
        """Return the messages; instructions are among them."""
        found: list[Json] = body["messages"]
        return found

    def system(self, body: Json) -> str:
        """Nothing stands apart."""
        return ""

    def asked(self, body: Json) -> Asked:
        """Find the last message of the user, and the calls since."""
        messages = body["messages"]
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        steps = sum(1 for message in messages[last:] if message.get("tool_calls"))
        return Asked(text_of(messages[last]["content"]), steps)

    def stream(self, body: Json, reply: Reply, number: int) -> Iterator[Json | str]:
        """Stream chunks: the words, each call's name, then its arguments in two pieces."""

        def chunk(delta: Json, finish_reason: str | None = None) -> Json:
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            return {**frame, "choices": [choice]}

        frame = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": body["model"],
        }
        yield chunk({"role": "assistant", "content": ""})
        for word in reply.words:
            yield chunk({"content": word})
        for index, call in enumerate(reply.calls):
            function = {"name": TOOL, "arguments": ""}
            named = {"index": index, "id": call.id, "type": "function", "function": function}
            yield chunk({"tool_calls": [named]})
            arguments = json.dumps(call.arguments)
            for piece in (arguments[:5], arguments[5:]):
                more = {"index": index, "function": {"arguments": piece}}
                yield chunk({"tool_calls": [more]})
        yield chunk({}, "tool_calls" if reply.calls else "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            tokens = input_tokens(body)
            usage = {
                "prompt_tokens": tokens,
                "completion_tokens": 20,
                "total_tokens": tokens + 20,
                "prompt_tokens_details": {"cached_tokens": tokens // 2},
            }
            yield {**frame, "choices": [], "usage": usage}
        yield "[DONE]"

    def refused(self, status: int) -> Json:
        """Refuse as OpenAI does."""
        return {"error": {"message": "Try again later.", "type": "overloaded", "code": status}}


def text_of(content: str | list[Json]) -> str:
    """Return the text of a content, of whichever form."""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)
