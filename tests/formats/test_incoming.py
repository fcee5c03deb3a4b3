"""What comes in: content becomes parts, and what is wrong is named by its path."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca.errors import InvalidRequest
from fastpaca.formats import read, read_text
from tests.formats.samples import Appended

TEXT = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("content", "parts", "origin"),
    [
        ("Hi", [TEXT], "/string"),
        ("", [{"type": "text", "text": ""}], "/string"),
        ([TEXT], [TEXT], "/list"),
        ([], [], "/list"),
        (None, [], "/null"),
    ],
)
def test_content_becomes_parts(content: Any, parts: Any, origin: str) -> None:
    """
    A string is one text part, a list of typed blocks is the parts, and null is none.
    """
    got = read({"role": "user", "content": content, "name": "ann"})
    assert got.message == {"role": "user", "parts": parts, "name": "ann"}
    assert got.origin == origin


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "parts": [TEXT], "content": "else"},
        {"role": "user", "parts": [TEXT]},
        {"role": "user"},
    ],
)
def test_parts_are_parts(message: dict[str, Any]) -> None:
    """
    With both, parts are the parts and content stays a key of the caller's.
    """
    assert read(message) == (message, "")


def test_text_is_kept_to_the_letter() -> None:
    """
    Nothing of a message is written again but its content: numbers, escapes and keys stay.
    """
    said = b'[{"type":"text","text":"\\u00e9","n":1.0}]'
    text = b'{"role":"user","a":1e400,"content":%b,"b":{"x":1,"x":2}}' % said
    parts = b'{"role":"user","a":1e400,"parts":%b,"b":{"x":1,"x":2}}' % said
    assert read_text(text, None, "message").text == parts


def test_gemini_parts_get_a_type() -> None:
    """
    Parts of Gemini are typed by their data key; a text that is a thought by that.
    """
    message = {
        "role": "model",
        "parts": [
            {"text": "Hm", "thought": True},
            {"text": "Hi", "thoughtSignature": "c2ln"},
            {"thoughtSignature": "c2ln", "function_call": {"name": "f", "args": {}}},
            {"hologram": {}},
        ],
    }
    types = [part["type"] for part in read(message, "gemini").message["parts"]]
    assert types == ["thought", "text", "functionCall", "hologram"]
    assert read({"parts": [{"text": "Hi"}]}, "gemini").message["role"] == "user"


@pytest.mark.parametrize("role", ["user", "function", "tool"])
def test_responses_to_calls_of_gemini_have_any_role_of_the_user(role: str) -> None:
    """
    The guide of the official package gives them the role `tool`, and the API takes it.
    """
    asked = {"role": "user", "parts": [{"text": "How far?"}]}
    called = {
        "role": "model",
        "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}],
    }
    told = {"role": role, "parts": [{"functionResponse": {"name": "f", "response": {"km": 1}}}]}
    rendering = Appended([asked, called, told], "gemini").rendered("gemini")
    assert rendering.messages == [asked, called, {**told, "role": "user"}]
    assert (rendering.repairs, rendering.losses) == ([], [])


@pytest.mark.parametrize(
    ("item", "role"),
    [
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, "assistant"),
        ({"type": "function_call_output", "call_id": "c", "output": "so"}, "tool"),
        ({"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}, "tool"),
        ({"type": "reasoning", "id": "rs", "summary": []}, "assistant"),
        ({"type": "additional_tools", "role": "developer", "tools": []}, "developer"),
        ({"type": "hologram"}, "assistant"),
    ],
)
def test_item_is_one_message(item: dict[str, Any], role: str) -> None:
    """
    An item of the Responses API is one part of a message of its own.
    """
    assert read(item, "openai-responses").message == {"role": role, "parts": [item]}


def test_count_and_metadata_of_an_item_are_of_the_message() -> None:
    """
    They are the caller's, and the provider would refuse them in an item.
    """
    item = {"type": "function_call_output", "call_id": "c", "output": "so"}
    own = {"token_count": 7, "metadata": {"k": 1}}
    assert read({**item, **own}, "openai-responses").message == {
        "role": "tool",
        "parts": [item],
        **own,
    }


BAD: list[tuple[str, Any, str]] = [
    ("openai-chat", {"role": "human", "content": "Hi"}, "role"),
    ("openai-chat", {"content": "Hi"}, "role"),
    ("openai-chat", {"role": "user", "content": 1}, "content"),
    ("openai-chat", {"role": "user", "parts": []}, "parts"),
    ("openai-chat", {"role": "user", "content": [{"text": "Hi"}]}, "content[0].type"),
    ("openai-chat", {"role": "user", "content": [TEXT, {"type": "text"}]}, "content[1].text"),
    (
        "openai-chat",
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 1}}]},
        "content[0].image_url.url",
    ),
    (
        "openai-chat",
        {"role": "assistant", "tool_calls": [{"id": "c"}, {"id": 1, "function": {}}]},
        "tool_calls[1].id",
    ),
    (
        "openai-chat",
        {"role": "assistant", "tool_calls": [{"id": "c", "function": "f"}]},
        "tool_calls[0].function",
    ),
    ("openai-responses", {"role": "tool", "content": "Hi"}, "role"),
    ("openai-responses", {"type": "function_call", "call_id": "c", "name": "f"}, "arguments"),
    ("openai-responses", {"type": 1}, "type"),
    ("openai-responses", {"role": "user", "content": [{"type": "input_text"}]}, "content[0].text"),
    ("anthropic", {"role": "tool", "content": "Hi"}, "role"),
    ("anthropic", {"role": "user", "content": None}, "content"),
    ("anthropic", {"role": "user"}, "content"),
    (
        "anthropic",
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "f", "input": "{}"}],
        },
        "content[0].input",
    ),
    (
        "anthropic",
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": None}]},
        "content[0].tool_use_id",
    ),
    ("gemini", {"role": "assistant", "parts": [{"text": "Hi"}]}, "role"),
    ("gemini", {"role": "user", "parts": "Hi"}, "parts"),
    ("anthropic", {"role": "user", "content": [{"type": "", "text": "Hi"}]}, "content[0].type"),
    ("gemini", {"role": "user", "parts": [{}]}, "parts[0]"),
    ("gemini", {"role": "user", "parts": [{"type": "image"}]}, "parts[0]"),
    ("gemini", {"role": "user", "parts": [{"text": 1}]}, "parts[0].text"),
    (
        "gemini",
        {"role": "model", "parts": [{"functionCall": {"name": 1}}]},
        "parts[0].functionCall.name",
    ),
    ("bedrock", {"role": "user", "content": "Hi"}, "content"),
    (
        "bedrock",
        {"role": "assistant", "content": [{"toolUse": {"name": "f", "input": {}}}]},
        "content[0].toolUse.toolUseId",
    ),
    ("ai-sdk", {"role": "tool", "parts": []}, "role"),
    ("ai-sdk", {"role": "user", "parts": [{"type": "text", "text": None}]}, "parts[0].text"),
    ("ai-sdk", {"role": "user", "content": "Hi"}, "parts"),
    ("ai-sdk", {"role": "user", "parts": [], "id": 1}, "id"),
]


@pytest.mark.parametrize(("name", "message", "path"), BAD)
def test_what_is_wrong_is_named_by_its_path(name: str, message: Any, path: str) -> None:
    """
    A message that can't be read is refused with the path inside the provider's own message.
    """
    with pytest.raises(InvalidRequest) as refused:
        read(message, name)
    assert refused.value.field == f"message.{path}"


def test_unknown_format_is_refused() -> None:
    """
    The refusal of a format that does not exist names the nearest that does.
    """
    with pytest.raises(InvalidRequest, match="'anthropic'") as refused:
        read({"role": "user", "content": "Hi"}, "antropic")
    assert refused.value.field == "format"
