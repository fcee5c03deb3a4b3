"""Responses as the providers' own packages give them, made of the JSON that the providers send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from anthropic.types import Message
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

Json = dict[str, Any]

CHAT: Final[Json] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "logprobs": None,
            "message": {
                "role": "assistant",
                "content": "Let me see.",
                "refusal": None,
                "annotations": [],
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "open", "arguments": '{"a": 1.50}'},
                    }
                ],
            },
        }
    ],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 8},
    },
    "service_tier": "default",
}

RESPONSES: Final[Json] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_000,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "model": "gpt-5",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5j"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "c1",
            "name": "open",
            "arguments": '{"a": 1.50}',
            "status": "completed",
        },
    ],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 30},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 8},
        "total_tokens": 120,
    },
}

ANTHROPIC: Final[Json] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Let me see.", "citations": None},
        {"type": "tool_use", "id": "t1", "name": "open", "input": {"a": 1.5}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 6,
        "output_tokens": 20,
        "cache_read_input_tokens": 64,
        "cache_creation_input_tokens": 30,
        "service_tier": "standard",
    },
}

GEMINI: Final[Json] = {
    "candidates": [
        {
            "index": 0,
            "finishReason": "STOP",
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Let me see."},
                    {
                        "functionCall": {"name": "open", "args": {"a": 1.5, "b": None}},
                        "thoughtSignature": "-_-_c2ln",
                    },
                ],
            },
        }
    ],
    "modelVersion": "gemini-3-pro",
    "responseId": "r1",
    "usageMetadata": {
        "promptTokenCount": 90,
        "toolUsePromptTokenCount": 10,
        "cachedContentTokenCount": 64,
        "candidatesTokenCount": 12,
        "thoughtsTokenCount": 8,
        "totalTokenCount": 120,
    },
}

BEDROCK: Final[Json] = {
    "ResponseMetadata": {"HTTPStatusCode": 200, "RetryAttempts": 0},
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"redactedContent": b"\xff\xfe\x00"}},
                {"text": "Let me see."},
                {"toolUse": {"toolUseId": "t1", "name": "open", "input": {"a": 1.5}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {
        "inputTokens": 6,
        "outputTokens": 20,
        "totalTokens": 120,
        "cacheReadInputTokens": 64,
        "cacheWriteInputTokens": 30,
    },
    "metrics": {"latencyMs": 275},
}

JSON: Final[Mapping[str, Json]] = {
    "openai-chat": CHAT,
    "openai-responses": RESPONSES,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "bedrock": BEDROCK,
}
"""By format, what the provider sends; of Bedrock, what boto3 makes of it."""

KINDS: Final[Mapping[str, Any]] = {
    "openai-chat": ChatCompletion,
    "openai-responses": Response,
    "anthropic": Message,
    "gemini": GenerateContentResponse,
}
"""By format, the class of the package; boto3 has none."""

CACHED: Final[Mapping[str, int | None]] = {
    "openai-chat": None,
    "openai-responses": 30,
    "anthropic": 30,
    "gemini": None,
    "bedrock": 30,
}
"""By format, what these responses say of tokens that were written to a cache."""


def response(format_: str, changed: Mapping[str, Any] | None = None) -> Any:
    """Return the response of a package, with some of its fields changed."""
    fields = {**JSON[format_], **(changed or {})}
    kind = KINDS.get(format_)
    return fields if kind is None else kind.model_validate(fields)
