"""Responses of the providers' packages are recognised, and what can't be appended is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletionChunk

from fastpaca import InvalidRequest, TokenUsage
from fastpaca.client.appending import Appending, read_appended
from fastpaca.client.provider_objects import as_json
from fastpaca.client.requests import encode
from tests.kit.provided import ANTHROPIC, CACHED, CHAT, GEMINI, JSON, RESPONSES, response

SAID: dict[str, list[Any]] = {
    "openai-chat": [CHAT["choices"][0]["message"]],
    "openai-responses": RESPONSES["output"],
    "anthropic": [{"role": "assistant", "content": ANTHROPIC["content"]}],
    "gemini": [GEMINI["candidates"][0]["content"]],
    "bedrock": [JSON["bedrock"]["output"]["message"]],
}

MODELS = {
    "openai-chat": "gpt-4o-2024-08-06",
    "openai-responses": "gpt-5",
    "anthropic": "claude-sonnet-5",
    "gemini": "gemini-3-pro",
    "bedrock": None,
}


def plain(value: object) -> Any:
    """Return a value as JSON."""
    return json.loads(encode(value, as_json))


def read(value: Any, **options: Any) -> Appending:
    """Read what is appended."""
    return read_appended(value, options.get("format"), options.get("usage"))


@pytest.mark.parametrize("is_json", [False, True], ids=["object", "json"])
@pytest.mark.parametrize("name", JSON)
def test_a_response_is_its_messages_and_its_usage(name: str, is_json: bool) -> None:
    """
    As the object of the package, and as the JSON that it was made of.
    """
    got = read(JSON[name] if is_json else response(name))
    expected = plain(SAID[name])
    if name == "gemini" and not is_json:  # bytes were decoded, and are written as standard base64
        expected[0]["parts"][1]["thoughtSignature"] = "+/+/c2ln"
    assert plain(got.messages) == expected
    assert got.format == name
    assert got.is_batch == (name == "openai-responses")
    assert got.usage == TokenUsage(
        input_tokens=100,
        output_tokens=20,
        cached_input_tokens=64,
        cache_write_tokens=CACHED[name],
        model=MODELS[name],
    )


def test_a_message_of_openai_that_was_streamed_can_be_sent_again() -> None:
    """
    The package puts more into it than a request may have.
    """
    message = CHAT["choices"][0]["message"]
    (call,) = message["tool_calls"]
    streamed = {**message, "annotations": None, "tool_calls": [{**call, "index": 0}]}
    choices = [{**CHAT["choices"][0], "message": streamed}]
    without = {key: value for key, value in message.items() if key != "annotations"}
    for value in ({**CHAT, "choices": choices}, response("openai-chat", {"choices": choices})):
        assert plain(read(value).messages) == [without]


PIECES: list[dict[str, Any]] = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hm.", "thought": True}]}}]},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Let "}]}}]},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "me see."}]}}]},
    {"candidates": [{"content": {"parts": GEMINI["candidates"][0]["content"]["parts"][1:]}}]},
    {
        "candidates": [
            {"content": {"parts": [{"text": "", "thoughtSignature": "c2ln"}]}, "finishReason": None}
        ]
    },
    {"candidates": [{"index": 0, "finishReason": "STOP"}], "modelVersion": "gemini-3-pro"},
    {"usageMetadata": GEMINI["usageMetadata"]},
]


@pytest.mark.parametrize("is_json", [False, True], ids=["objects", "json"])
def test_the_chunks_of_a_stream_of_gemini_are_one_message(is_json: bool) -> None:
    """
    Texts that follow each other become one; thoughts and signed parts stay apart.
    """
    chunks = PIECES if is_json else [GenerateContentResponse.model_validate(one) for one in PIECES]
    got = read(chunks)
    (message,) = plain(got.messages)
    texts = [part.get("text") for part in message["parts"]]
    assert texts == ["Hm.", "Let me see.", None, ""]
    assert message["role"] == "model"
    assert message["parts"][3]["thoughtSignature"] == "c2ln"
    assert (got.format, got.is_batch) == ("gemini", False)
    assert got.usage is not None
    assert (got.usage.input_tokens, got.usage.model) == (100, "gemini-3-pro")


@pytest.mark.parametrize("is_json", [False, True], ids=["object", "json"])
def test_parts_of_gemini_that_hold_nothing_are_left_out(is_json: bool) -> None:
    """
    The package makes them of parts that are newer than itself; the rest is appended all the same.
    """
    candidate = GEMINI["candidates"][0]

    def answered(*parts: dict[str, Any]) -> Any:
        changed = {**candidate, "content": {"role": "model", "parts": list(parts)}}
        made = {**GEMINI, "candidates": [changed]}
        return made if is_json else GenerateContentResponse.model_validate(made)

    (message,) = plain(read(answered({}, {"text": "Hi"})).messages)
    assert message == {"role": "model", "parts": [{"text": "Hi"}]}
    with pytest.raises(InvalidRequest, match="has no content"):
        read(answered({}))


def test_a_stream_of_gemini_that_was_cut_is_refused() -> None:
    """
    No chunk says why it ended; or there is nothing but a usage.
    """
    with pytest.raises(InvalidRequest, match="no finishReason"):
        read(PIECES[:3])
    with pytest.raises(InvalidRequest, match="has 0 candidates"):
        read(PIECES[-1:])


def test_a_usage_that_is_given_counts_before_that_of_the_response() -> None:
    """
    The caller may know better.
    """
    given = TokenUsage(input_tokens=1, output_tokens=2)
    assert read(response("anthropic"), usage=given).usage == given
    assert read("Hi", usage={"prompt_tokens": 1, "completion_tokens": 2}).usage == given


def test_a_response_may_report_no_usage() -> None:
    """
    Servers that imitate a provider report what they like; what was said is appended all the same.
    """
    for name, key in (("openai-chat", "usage"), ("gemini", "usageMetadata")):
        assert read(response(name, {key: None})).usage is None
    for usage in ({}, {"total_tokens": 5}, {"prompt_tokens": 5, "completion_tokens": None}):
        assert read({**CHAT, "usage": usage}).usage is None
    with pytest.raises(InvalidRequest) as refused:
        read({**CHAT, "usage": {"prompt_tokens": "5", "completion_tokens": 1}})
    assert refused.value.field == "usage.prompt_tokens"


def test_a_response_may_be_of_another_class() -> None:
    """
    Libraries that imitate a package, and proxies that are used without one.
    """

    class Choice(pydantic.BaseModel):
        finish_reason: str
        message: dict[str, Any]

    class ModelResponse(pydantic.BaseModel):
        object: str
        model: str
        choices: list[Choice]
        usage: dict[str, Any]

    got = read(ModelResponse.model_validate(CHAT))
    assert got.messages == SAID["openai-chat"]
    assert got.usage is not None
    assert got.usage.model == MODELS["openai-chat"]


def test_a_response_may_name_its_own_format() -> None:
    """
    And no other.
    """
    assert read(response("anthropic"), format="anthropic").format == "anthropic"
    with pytest.raises(InvalidRequest, match="in the format anthropic, not gemini") as refused:
        read(response("anthropic"), format="gemini")
    assert refused.value.field == "format"


CHOICE = CHAT["choices"][0]
CANDIDATE = GEMINI["candidates"][0]
CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
}

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "several choices": ("openai-chat", {"choices": [CHOICE, CHOICE]}, "has 2 choices"),
    "no choice": ("openai-chat", {"choices": []}, "has 0 choices"),
    "unfinished choice": (
        "openai-chat",
        {"choices": [{**CHOICE, "finish_reason": None}]},
        "finish_reason is None",
    ),
    "unfinished response": ("openai-responses", {"status": "in_progress"}, "is in_progress"),
    "failed response": ("openai-responses", {"status": "failed", "output": []}, "no output"),
    "unfinished message": ("anthropic", {"stop_reason": None}, "stop_reason is None"),
    "several candidates": ("gemini", {"candidates": [CANDIDATE] * 2}, "has 2 candidates"),
    "blocked prompt": (
        "gemini",
        {"candidates": None, "promptFeedback": {"blockReason": "SAFETY"}},
        "has 0 candidates",
    ),
    "blocked candidate": (
        "gemini",
        {"candidates": [{"finishReason": "SAFETY"}]},
        "no content; its finishReason is SAFETY",
    ),
    "piece of gemini": (
        "gemini",
        {"candidates": [{"content": CANDIDATE["content"]}]},
        "piece of a stream",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_one_whole_response_is_refused(case: str) -> None:
    """
    Which of several the conversation continues with, and what a piece will become, is not known.
    """
    name, changed, reason = REFUSED[case]
    values = [{**JSON[name], **changed}]
    if case != "unfinished choice":  # which only a stream makes
        values.append(response(name, changed))
    for value in values:
        with pytest.raises(InvalidRequest, match=reason) as refused:
            read(value)
        assert refused.value.field == "message"


def test_a_piece_of_a_stream_is_refused() -> None:
    """
    It is not a message yet.
    """
    for chunk in (CHUNK, ChatCompletionChunk.model_validate(CHUNK)):
        with pytest.raises(InvalidRequest, match="piece of a stream"):
            read(chunk)


@pytest.mark.parametrize("value", [None, 7, object(), b"Hi", SimpleNamespace(role="user")])
def test_what_is_no_message_is_refused(value: Any) -> None:
    """
    The error says what it is; the same in a list.
    """
    for given, field in ((value, "message"), ([{"role": "user"}, value], "messages[1]")):
        with pytest.raises(InvalidRequest, match=type(value).__name__) as refused:
            read(given)
        assert refused.value.field == field


def test_an_object_that_is_no_message_is_refused() -> None:
    """
    A model that has neither role nor type nor content.
    """

    class Other(pydantic.BaseModel):
        name: str = "a"

    with pytest.raises(InvalidRequest, match="Other"):
        read(Other())
    with pytest.raises(InvalidRequest, match="has 0 candidates"):
        read(GenerateContentResponse(candidates=[]))


def test_a_response_stands_alone() -> None:
    """
    Its usage is that of one call, so it is no member of a list.
    """
    with pytest.raises(InvalidRequest, match="by itself") as refused:
        read([{"role": "user", "content": "Hi"}, response("anthropic")])
    assert refused.value.field == "messages[1]"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "parts": [], "candidates": []},
        {"role": "tool", "output": {"message": "a"}, "content": "a"},
        {"type": "mcp_call", "output": {"message": "a"}, "id": "a"},
        {"type": "message", "role": "assistant", "content": [], "id": "msg_1"},
        {"role": "user", "content": "a", "object": "chat", "usage": 1},
    ],
    ids=str,
)
def test_a_message_is_not_mistaken_for_a_response(message: dict[str, Any]) -> None:
    """
    Keys of the caller's own are kept.
    """
    assert read(message).messages == [message]
    assert read(message).format is None


def test_no_package_of_a_provider_is_imported() -> None:
    """
    Neither for reading nor for rendering.
    """
    script = """
import sys
import fastpaca.client.calls, fastpaca.client.sync, fastpaca.formats
assert not {"anthropic", "google.genai", "openai", "pydantic"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
