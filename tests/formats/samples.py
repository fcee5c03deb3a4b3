"""
Lists that each provider accepts, with everything in them that it has a form for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fastpaca.formats import FORMATS, read, rendered
from fastpaca.formats.rendering import Rendering
from fastpaca.formats.writing import Options
from tests.providers import anthropic, bedrock, gemini, openai_chat, openai_responses
from tests.providers.planted import ANTHROPIC, BEDROCK, CHAT, GEMINI, RESPONSES
from tests.providers.violation import Violation

Json = dict[str, Any]

NAMES: Final = tuple(FORMATS)

VALIDATORS: Final[Mapping[str, Callable[[Sequence[Json]], list[Violation]]]] = {
    "openai-chat": openai_chat.violations,
    "openai-responses": openai_responses.violations,
    "anthropic": anthropic.violations,
    "gemini": gemini.violations,
    "bedrock": bedrock.violations,
}

PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF: Final = "JVBERi0xLjQKJSBhIHNtYWxsIG9uZQo="
WAV: Final = "UklGRiQAAABXQVZFZm10IA=="


def _ui_tool(call_id: str, **keys: Any) -> Json:
    return {"type": "tool-look_up", "toolCallId": call_id, "input": {"q": call_id}, **keys}


RICH_CHAT: Final[list[Json]] = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    {
        "role": "user",
        "name": "ann",
        "content": [
            {"type": "text", "text": "What is in these?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {
                "type": "image_url",
                "image_url": {"url": "https://example.com/a.png", "detail": "low"},
            },
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            },
        ],
    },
    {
        "role": "assistant",
        "content": "Let me see.",
        "refusal": None,
        "annotations": [],
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "open", "arguments": '{"a": 1.50}'},
            },
            {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}},
        ],
    },
    {"role": "tool", "tool_call_id": "c2", "content": "done"},
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "found"}]},
    {"role": "developer", "content": "Answer in French."},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "I can't say that."}]},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "", "refusal": "No."},
    {"role": "user", "content": ""},
]

RICH_ANTHROPIC: Final[list[Json]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is in these?", "cache_control": {"type": "ephemeral"}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": PNG},
            },
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
                "citations": {"enabled": True},
            },
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {
                "type": "text",
                "text": "It says so.",
                "citations": [
                    {
                        "type": "char_location",
                        "cited_text": "so",
                        "document_index": 0,
                        "document_title": None,
                        "start_char_index": 0,
                        "end_char_index": 2,
                    }
                ],
            },
            {"type": "tool_use", "id": "t1", "name": "open", "input": {"a": 1.5, "b": [1, None]}},
            {"type": "tool_use", "id": "t2", "name": "close", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "t2",
                "content": "no such file",
                "is_error": True,
            },
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "content": [
                    {"type": "text", "text": "found"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                ],
            },
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "compaction", "content": "They met.", "encrypted_content": "ZW5j"},
            {"type": "mcp_tool_use", "id": "m1", "name": "far", "server_name": "maps", "input": {}},
            {"type": "mcp_tool_result", "tool_use_id": "m1", "content": "12 km", "is_error": False},
            {"type": "text", "text": "Twelve."},
        ],
    },
    {"role": "user", "content": "And back?"},
]

RICH_RESPONSES: Final[list[Json]] = [
    {"role": "developer", "content": "Be brief."},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What is in these?"},
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": f"data:application/pdf;base64,{PDF}",
            },
        ],
    },
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5j"},
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "open",
        "arguments": '{"a": 1.50}',
    },
    {"type": "shell_call", "call_id": "c2", "action": {"commands": ["ls"]}},
    {
        "type": "shell_call_output",
        "call_id": "c2",
        "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
    },
    {
        "type": "function_call_output",
        "call_id": "c1",
        "output": [{"type": "input_text", "text": "found"}],
    },
    {
        "type": "mcp_approval_request",
        "id": "ap_1",
        "arguments": "{}",
        "name": "far",
        "server_label": "m",
    },
    {"type": "mcp_approval_response", "approval_request_id": "ap_1", "approve": True},
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "arguments": "{}",
        "name": "far",
        "server_label": "m",
        "output": "12 km",
        "approval_request_id": "ap_1",
    },
    {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "a"},
    },
    {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "phase": "final_answer",
        "content": [{"type": "output_text", "text": "Twelve.", "annotations": [], "logprobs": []}],
    },
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "ZW5j"},
    {"role": "user", "content": "And back?"},
    {"role": "assistant", "content": "The same."},
]

RICH_GEMINI: Final[list[Json]] = [
    {
        "role": "user",
        "parts": [
            {"text": "What is in these?"},
            {"inlineData": {"mimeType": "image/png", "data": PNG}},
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}},
        ],
    },
    {
        "role": "model",
        "parts": [
            {"text": "Hm.", "thought": True},
            {"functionCall": {"name": "open", "args": {"a": 1.5}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "f2", "name": "close", "args": {}}},
        ],
    },
    {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "open", "response": {"output": "found"}}},
            {"functionResponse": {"id": "f2", "name": "close", "response": {"error": "no"}}},
        ],
    },
    {
        "role": "model",
        "parts": [
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            {"text": "One.", "thoughtSignature": "c2ln"},
        ],
    },
    {"role": "user", "parts": [{"text": "And back?"}]},
]

RICH_BEDROCK: Final[list[Json]] = [
    {
        "role": "user",
        "content": [
            {"text": "What is in these?"},
            {"image": {"format": "png", "source": {"bytes": PNG}}},
            {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF}}},
            {"cachePoint": {"type": "default"}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
            {"text": "Let me see."},
            {"toolUse": {"toolUseId": "t1", "name": "open", "input": {"a": 1.5}}},
            {"toolUse": {"toolUseId": "t2", "name": "close", "input": {}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": 1}}]}},
            {"toolResult": {"toolUseId": "t2", "content": [{"text": "no"}], "status": "error"}},
        ],
    },
    {"role": "assistant", "content": [{"text": "Twelve."}]},
    {"role": "user", "content": [{"text": "And back?"}]},
]

RICH_UI: Final[list[Json]] = [
    {
        "id": "u1",
        "role": "user",
        "metadata": {"at": 1.5},
        "parts": [
            {"type": "text", "text": "What is in these?"},
            {"type": "file", "mediaType": "image/png", "url": f"data:image/png;base64,{PNG}"},
        ],
    },
    {
        "id": "a1",
        "role": "assistant",
        "parts": [
            {"type": "step-start"},
            {
                "type": "reasoning",
                "text": "Hm.",
                "state": "done",
                "providerMetadata": {"anthropic": {"signature": "c2ln"}},
            },
            {"type": "text", "text": "Let me see.", "state": "done"},
            _ui_tool("t1", state="output-available", output={"km": 12}),
            _ui_tool("t2", state="output-error", errorText="no"),
            {"type": "step-start"},
            {
                "type": "dynamic-tool",
                "toolName": "far",
                "toolCallId": "t3",
                "state": "output-denied",
                "input": {},
                "approval": {"id": "ap1", "approved": False, "reason": "Not now."},
            },
            _ui_tool("t4", state="output-available", output="x", providerExecuted=True),
            {"type": "step-start"},
            {"type": "text", "text": "Twelve.", "state": "done"},
            {"type": "source-url", "sourceId": "s1", "url": "https://example.com"},
            {"type": "data-weather", "id": "d1", "data": {"sun": True}},
        ],
    },
    {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "And back?"}]},
]

LISTS: Final[Mapping[str, Sequence[list[Json]]]] = {
    "openai-chat": (CHAT, RICH_CHAT),
    "openai-responses": (RESPONSES, RICH_RESPONSES),
    "anthropic": (ANTHROPIC, RICH_ANTHROPIC),
    "gemini": (GEMINI, RICH_GEMINI),
    "bedrock": (BEDROCK, RICH_BEDROCK),
    "ai-sdk": (RICH_UI,),
}
"""Valid lists of each provider."""


class Appended:
    """
    Messages as they are read from a list in a format, numbered as a log does.

    Attributes:
        messages: The messages of a view.
        origins: How each came.
    """

    def __init__(self, listed: Sequence[Json], format_: str | None) -> None:
        got = [read(one, format_) for one in listed]
        self.messages = [
            {"seq": seq, "metadata": {}, **one.message} for seq, one in enumerate(got, 1)
        ]
        self.origins = [one.origin for one in got]

    def rendered(self, format_: str, **options: Any) -> Rendering:
        """Render them."""
        return rendered(self.messages, format_, Options(**options), self.origins)
