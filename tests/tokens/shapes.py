"""Parts of many providers and SDKs with media in them, and parts that only look like it."""

from __future__ import annotations

import base64
import os
from typing import Any

from fastpaca.tokens.image import IMAGE_TOKENS
from fastpaca.tokens.medium import FILE_TOKENS, RECORDINGS
from fastpaca.tokens.pdf import PAGE_TOKENS
from tests.tokens import files

PNG = base64.b64encode(files.png(1000, 1000)).decode()
JPEG = base64.b64encode(files.jpeg(1000, 1000, before=3)).decode()
WEBP = base64.b64encode(files.lossless_webp(1000, 1000) + bytes(200)).decode()
MEGAPIXEL = 1296  # tokens of each of these
PDF = base64.b64encode(files.pdf(7)).decode()
WAV = base64.b64encode(files.wav(5)).decode()
ZIP = base64.b64encode(b"PK\x03\x04" + os.urandom(500)).decode()
NOISE = base64.b64encode(bytes(range(1, 256)) * 4).decode()  # base64 of nothing known
PROSE = "We keep the log, and the window is what a model is given. " * 20
URL = "https://example.com/a"
SIGNATURE = "EqQBCkYIBxgCKkA" + NOISE


def url(media_type: str, data: str) -> str:
    """Make a data URL."""
    return f"data:{media_type};base64,{data}"


# name: part, the data in it, what that data costs
DATA: dict[str, tuple[dict[str, Any], str, int]] = {
    "OpenAI image_url": (
        {"type": "image_url", "image_url": {"url": url("image/png", PNG), "detail": "high"}},
        PNG,
        MEGAPIXEL,
    ),
    "OpenAI image_url as a string": (
        {"type": "image_url", "image_url": url("image/jpeg", JPEG)},
        JPEG,
        MEGAPIXEL,
    ),
    "OpenAI input_image": (
        {"type": "input_image", "image_url": url("image/webp", WEBP), "detail": "auto"},
        WEBP,
        MEGAPIXEL,
    ),
    "OpenAI input_audio": (
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        WAV,
        5 * 32 + 1,
    ),
    "OpenAI input_audio without a header": (
        {"type": "input_audio", "input_audio": {"data": NOISE, "format": "pcm16"}},
        NOISE,
        -(-1020 * 32 // 8000),
    ),
    "OpenAI file": (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": url("application/pdf", PDF)}},
        PDF,
        7 * PAGE_TOKENS,
    ),
    "OpenAI input_file": (
        {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
        PDF,
        7 * PAGE_TOKENS,
    ),
    "OpenAI input_file of an unknown kind": (
        {"type": "input_file", "filename": "a.bin", "file_data": NOISE},
        NOISE,
        FILE_TOKENS,
    ),
    "OpenAI image_generation_call": (
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PNG},
        PNG,
        MEGAPIXEL,
    ),
    "OpenAI computer_call_output": (
        {
            "type": "computer_call_output",
            "call_id": "c1",
            "output": {"type": "computer_screenshot", "image_url": url("image/png", PNG)},
        },
        PNG,
        MEGAPIXEL,
    ),
    "OpenAI function_call_output": (
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_image", "image_url": url("image/png", PNG)}],
        },
        PNG,
        MEGAPIXEL,
    ),
    "Anthropic image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        PNG,
        MEGAPIXEL,
    ),
    "Anthropic document": (
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "A",
            "citations": {"enabled": True},
        },
        PDF,
        7 * PAGE_TOKENS,
    ),
    "Anthropic tool_result": (
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [
                {"type": "text", "text": "Here."},
                {
                    "type": "image",
                    "source": {"data": JPEG, "media_type": "image/jpeg", "type": "base64"},
                },
            ],
        },
        JPEG,
        MEGAPIXEL,
    ),
    "Anthropic document of blocks": (
        {
            "type": "document",
            "source": {
                "type": "content",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    }
                ],
            },
        },
        PNG,
        MEGAPIXEL,
    ),
    "AI SDK file of a user interface": (
        {"type": "file", "mediaType": "image/png", "filename": "a", "url": url("image/png", PNG)},
        PNG,
        MEGAPIXEL,
    ),
    "AI SDK file of a model": (
        {"type": "file", "mediaType": "application/pdf", "data": PDF},
        PDF,
        7 * PAGE_TOKENS,
    ),
    "AI SDK image": ({"type": "image", "image": PNG}, PNG, MEGAPIXEL),
    "AI SDK media in a result": (
        {
            "type": "tool-result",
            "toolCallId": "c1",
            "output": {
                "type": "content",
                "value": [{"type": "media", "data": PNG, "mediaType": "image/png"}],
            },
        },
        PNG,
        MEGAPIXEL,
    ),
    "AI SDK image-data in a result": (
        {
            "type": "tool-screenshot",
            "state": "output-available",
            "output": {"value": [{"type": "image-data", "data": PNG, "mediaType": "image/png"}]},
        },
        PNG,
        MEGAPIXEL,
    ),
    "Gemini inlineData": (
        {"type": "inline", "inlineData": {"mimeType": "image/png", "data": PNG}},
        PNG,
        MEGAPIXEL,
    ),
    "Gemini inline_data": (
        {"type": "inline", "inline_data": {"mime_type": "audio/wav", "data": WAV}},
        WAV,
        5 * 32 + 1,
    ),
    "fastpaca file": (
        {"type": "file", "media_type": "application/pdf", "data": PDF, "name": "a.pdf"},
        PDF,
        7 * PAGE_TOKENS,
    ),
    "fastpaca file with an original": (
        {
            "type": "file",
            "media_type": "image/jpeg",
            "original": {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": JPEG},
            },
        },
        JPEG,
        MEGAPIXEL,
    ),
    "Bedrock image": (
        {"type": "image", "image": {"format": "png", "source": {"bytes": PNG}}},
        PNG,
        MEGAPIXEL,
    ),
    "MCP image in a result": (
        {
            "type": "tool_result",
            "tool_call_id": "c1",
            "content": [{"type": "image", "data": PNG, "mimeType": "image/png"}],
        },
        PNG,
        MEGAPIXEL,
    ),
    "MCP resource in a result": (
        {
            "type": "tool_result",
            "tool_call_id": "c1",
            "result": {
                "resource": {"uri": "file:///a", "mimeType": "application/pdf", "blob": PDF}
            },
        },
        PDF,
        7 * PAGE_TOKENS,
    ),
    "a data URL of no type": ({"type": "x", "a": ["b", url("", PNG)]}, PNG, MEGAPIXEL),
    "a data URL with parameters": (
        {"type": "x", "a": "data:image/png;name=a.png;charset=utf-8;base64," + PNG},
        PNG,
        MEGAPIXEL,
    ),
    "data of no particular type": (
        {"type": "file", "mediaType": "application/octet-stream", "data": PDF},
        PDF,
        7 * PAGE_TOKENS,
    ),
    "data under an unknown key beside a media type": (
        {"type": "x", "mimeType": "image/png; a=b", "payload": PNG},
        PNG,
        MEGAPIXEL,
    ),
    "an archive": ({"type": "x", "data": ZIP}, ZIP, FILE_TOKENS),
    "a text file": (
        {"type": "file", "mediaType": "text/csv", "data": base64.b64encode(b"a,b\n" * 90).decode()},
        base64.b64encode(b"a,b\n" * 90).decode(),
        90,
    ),
    "a short text file in base64": (
        {"type": "file", "mediaType": "text/plain", "data": "aGVsbG8gd29ybGQ="},
        "aGVsbG8gd29ybGQ=",
        3,
    ),
    "a short text file": (
        {"type": "file", "url": url("application/json", "eyJhIjoxfQ==")},
        "eyJhIjoxfQ==",
        2,
    ),
    "film": (
        {
            "type": "file",
            "mediaType": "video/mp4",
            "data": base64.b64encode(bytes(250_000)).decode(),
        },
        base64.b64encode(bytes(250_000)).decode(),
        2 * 263,
    ),
}


# name: part, what the reference in it costs
REFERENCES: dict[str, tuple[dict[str, Any], int]] = {
    "OpenAI image_url": ({"type": "image_url", "image_url": {"url": URL}}, IMAGE_TOKENS),
    "OpenAI image_url as a string": ({"type": "image_url", "image_url": URL}, IMAGE_TOKENS),
    "OpenAI input_image": ({"type": "input_image", "image_url": URL}, IMAGE_TOKENS),
    "OpenAI input_image by id": ({"type": "input_image", "file_id": "file-1"}, IMAGE_TOKENS),
    "OpenAI file by id": ({"type": "file", "file": {"file_id": "file-1"}}, FILE_TOKENS),
    "OpenAI input_file by id": ({"type": "input_file", "file_id": "file-1"}, FILE_TOKENS),
    "OpenAI input_file": ({"type": "input_file", "file_url": URL}, FILE_TOKENS),
    "Anthropic image": ({"type": "image", "source": {"type": "url", "url": URL}}, IMAGE_TOKENS),
    "Anthropic image with a cache mark": (
        {
            "type": "tool_result",
            "content": {
                "type": "image",
                "source": {"type": "url", "url": URL},
                "cache_control": {"type": "ephemeral"},
            },
        },
        IMAGE_TOKENS,
    ),
    "Anthropic image by id": (
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        IMAGE_TOKENS,
    ),
    "Anthropic document": (
        {"type": "document", "source": {"type": "url", "url": URL}},
        FILE_TOKENS,
    ),
    "AI SDK file": ({"type": "file", "mediaType": "image/png", "url": URL}, IMAGE_TOKENS),
    "AI SDK file of a model": (
        {"type": "file", "mediaType": "image/png", "data": URL},
        IMAGE_TOKENS,
    ),
    "AI SDK image": ({"type": "image", "image": URL}, IMAGE_TOKENS),
    "AI SDK image in a result": (
        {"type": "tool-result", "output": {"value": [{"type": "image-url", "url": URL}]}},
        IMAGE_TOKENS,
    ),
    "Gemini fileData": (
        {"type": "x", "fileData": {"mimeType": "video/mp4", "fileUri": URL}},
        RECORDINGS["video"].unread_tokens,
    ),
    "fastpaca file": ({"type": "file", "media_type": "audio/mpeg", "url": URL}, 1920),
    "fastpaca file of no type": (
        {
            "type": "file",
            "media_type": None,
            "original": {"type": "image", "source": {"type": "url", "url": URL}},
        },
        IMAGE_TOKENS,
    ),
    "an image in a result": (
        {
            "type": "tool_result",
            "content": [{"type": "image", "source": {"type": "url", "url": URL}}] * 2,
        },
        2 * IMAGE_TOKENS,
    ),
    "an image that is nowhere": ({"type": "input_image", "detail": "low"}, IMAGE_TOKENS),
    "an image of the caller's own": ({"type": "image", "asset": "a1"}, IMAGE_TOKENS),
}


NO_MEDIA: dict[str, dict[str, Any]] = {
    "a call": {"type": "tool_call", "name": "read", "arguments": {"file_path": "/a.png"}},
    "a thought and its signature": {"type": "thinking", "thinking": "a", "signature": SIGNATURE},
    "an encrypted thought": {"type": "redacted_thinking", "data": SIGNATURE},
    "OpenAI reasoning": {"type": "reasoning", "summary": [], "encrypted_content": SIGNATURE},
    "AI SDK reasoning": {
        "type": "reasoning",
        "text": "a",
        "providerMetadata": {"openai": {"reasoningEncryptedContent": SIGNATURE}},
    },
    "Gemini signature beside a media type": {
        "type": "x",
        "mimeType": "text/plain",
        "thoughtSignature": SIGNATURE,
    },
    "encrypted content beside a media type": {
        "type": "x",
        "media_type": "text/plain",
        "encrypted_content": SIGNATURE,
        "redactedContent": SIGNATURE,
        "cipherText": SIGNATURE,
    },
    "a compaction": {"type": "compaction", "encrypted_content": SIGNATURE},
    "a search result": {
        "type": "web_search_tool_result",
        "content": [{"type": "web_search_result", "url": URL, "encrypted_content": SIGNATURE}],
    },
    "a list of files": {
        "type": "tool_result",
        "content": {"files": [{"type": "file", "name": "a", "url": URL, "path": "a"}] * 3},
    },
    "images that a search found": {
        "type": "tool_result",
        "content": [{"type": "image", "title": "A", "url": URL}],
    },
    "a link to a resource": {
        "type": "tool_result",
        "content": [{"type": "resource_link", "uri": URL, "mimeType": "image/png"}],
    },
    "a source": {"type": "source-document", "mediaType": "application/pdf", "title": "A"},
    "a text that is a data URL": {
        "type": "tool_result",
        "content": [{"type": "text", "text": url("image/png", PNG)}],
    },
    "a drawing as text": {"type": "image_of_mine", "a": "data:image/svg+xml,%3Csvg%3E"},
    "prose under a key for data": {"type": "file", "data": PROSE},
    "prose beside a media type": {"type": "file", "media_type": "text/plain", "data": PROSE},
    "a text document": {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "word"},
    },
    "a word beside a media type": {"type": "file", "media_type": "text/plain", "data": "words123"},
    "a long word, then prose": {"type": "file", "mediaType": "image/png", "data": PNG + " is it."},
    "a short string under a key for data": {"type": "x", "data": "iVBORw0KGgo" + "A" * 99},
    "a word of another script under a key for data": {"type": "x", "data": "aä中文"},
    "base64 of nobody's": {"type": "x", "data": NOISE},
    "base64 under an unknown key": {"type": "x", "output": PNG},
    "an identifier beside a media type": {"type": "x", "mimeType": "a/b", "itemId": "A" * 300},
}
