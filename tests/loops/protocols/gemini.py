"""Gemini's `streamGenerateContent`, as server-sent events."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from tests.loops.protocols import input_tokens
from tests.loops.script import TOOL, Asked, Json, Reply


class GeminiWire:
    """Generate content."""

    format = "gemini"
    path = ":streamGenerateContent"

    def messages(self, body: Json) -> list[Json]:
        """Return the contents."""
        found: list[Json] = body["contents"]
        return found

    def system(self, body: Json) -> str:
        """Return the text of the system instruction."""
        parts = (body.get("systemInstruction") or {}).get("parts", [])
        return " ".join(part.get("text", "") for part in parts)

    def asked(self, body: Json) -> Asked:
        """Find the last content of the user with a text, and the calls since."""
        contents = body["contents"]
        last = max(at for at, content in enumerate(contents) if _said(content))
        steps = sum(
            any("functionCall" in part for part in content["parts"]) for content in contents[last:]
        )
        return Asked(_said(contents[last]), steps)

    def stream(self, body: Json, reply: Reply, number: int) -> Iterator[Json | str]:
        """Stream responses: the words, then all calls at once, the first of them signed."""
        tokens = input_tokens(body)
        usage = {
            "promptTokenCount": tokens,
            "cachedContentTokenCount": tokens // 2,
            "candidatesTokenCount": 15,
            "thoughtsTokenCount": 5,
            "totalTokenCount": tokens + 20,
        }
        signed = base64.b64encode(f"thought {number}".encode()).decode()
        calls: list[Json] = [
            {"functionCall": {"name": TOOL, "args": call.arguments}} for call in reply.calls
        ]
        for call in calls[:1]:
            call["thoughtSignature"] = signed
        pieces: list[list[Json]] = [[{"text": reply.thought, "thought": True}]]
        pieces += [[{"text": word}] for word in reply.words]
        pieces += [calls] if calls else []
        for at, parts in enumerate(pieces):
            candidate: Json = {"index": 0, "content": {"role": "model", "parts": parts}}
            answer: Json = {"candidates": [candidate], "responseId": f"r{number}"}
            if at == len(pieces) - 1:
                candidate["finishReason"] = "STOP"
                answer["usageMetadata"] = usage
            yield answer

    def refused(self, status: int) -> Json:
        """Refuse as Google does."""
        name = "RESOURCE_EXHAUSTED" if status == 429 else "UNAVAILABLE"
        return {"error": {"code": status, "message": "Try again later.", "status": name}}


def _said(content: Json) -> str:
    if content.get("role") != "user":
        return ""
    return " ".join(part["text"] for part in content["parts"] if part.get("text"))
