"""Objects of the providers' packages become the JSON that these packages send."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from anthropic._models import construct_type as anthropic_object
from anthropic.types import ContentBlock, ParsedMessage, ParsedTextBlock
from anthropic.types.beta import BetaContentBlock
from google.genai import types as gemini
from openai._models import construct_type as openai_object
from openai.types.chat import ChatCompletionMessage, ParsedChatCompletionMessage
from openai.types.responses import (
    ParsedResponseFunctionToolCall,
    ParsedResponseOutputText,
    ResponseOutputItem,
)

from fastpaca.client.provider_objects import as_json, fields_of, is_provider_object
from fastpaca.client.requests import encode
from tests.formats.official import members, samples


def written(value: object) -> Any:
    """Return what goes over the wire."""
    return json.loads(encode(value, as_json))


def sent(model: Any) -> Any:
    """Return what the packages of OpenAI and Anthropic send."""
    excluded = getattr(model, "__api_exclude__", None)
    return model.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude=excluded, warnings=False
    )


OBJECTS: Sequence[tuple[Any, Any]] = [
    (ChatCompletionMessage, openai_object),
    (ResponseOutputItem, openai_object),
    (ContentBlock, anthropic_object),
    (BetaContentBlock, anthropic_object),
]


@pytest.mark.parametrize(("union", "made"), OBJECTS, ids=lambda one: getattr(one, "__name__", None))
def test_a_model_is_sent_as_its_package_sends_it(union: Any, made: Any) -> None:
    """
    Each kind of message and block, with all of its fields and with few, as the package reads it.
    """
    count = 0
    for member, block in samples(union):
        model = made(value=block, type_=member)
        assert is_provider_object(model), member
        assert written(model) == sent(model) == block, member
        count += 1
    assert count >= 2 * len(members(union))


def test_fields_that_a_package_does_not_know_are_kept() -> None:
    """
    A newer provider says more than an older package knows.
    """
    reply = {"role": "assistant", "content": "a", "reasoning_content": "b"}
    assert written(openai_object(value=reply, type_=ChatCompletionMessage)) == reply


def test_what_a_package_has_parsed_is_not_sent() -> None:
    """
    The packages refuse to send it, and so it is no part of a message.
    """

    class Out(pydantic.BaseModel):
        a: int

    text: dict[str, Any] = {"type": "output_text", "text": '{"a": 1}', "annotations": []}
    call: dict[str, Any] = {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"}
    assert written(ParsedResponseOutputText[Out](**text, parsed=Out(a=1))) == text
    assert written(ParsedResponseFunctionToolCall(**call, parsed_arguments={})) == call
    block: dict[str, Any] = {"type": "text", "text": '{"a": 1}'}
    assert written(ParsedTextBlock[Out](**block, parsed_output=Out(a=1))) == block
    message = ParsedMessage[Out].model_construct(
        role="assistant", content=[ParsedTextBlock[Out](**block, parsed_output=Out(a=1))]
    )
    assert written(fields_of(message)["content"]) == [block]


def test_what_was_parsed_of_a_chat_message_is_not_sent() -> None:
    """
    The provider does not know it, though the package would send it.
    """
    reply: dict[str, Any] = {"role": "assistant", "content": '{"a": 1}'}
    model = ParsedChatCompletionMessage[dict[str, int]].model_validate(
        {**reply, "parsed": {"a": 1}}
    )
    assert written(model) == reply


GEMINI_PARTS = [
    gemini.Part(text="a", thought=True, thought_signature=b"\xff\xfe>>>???"),
    gemini.Part(function_call=gemini.FunctionCall(name="f", args={"a": None, "b": [None, 1]})),
    gemini.Part.from_bytes(data=b"\x89PNG\xff\xfe", mime_type="image/png"),
    gemini.Part.from_uri(file_uri="https://example.com/a.pdf", mime_type="application/pdf"),
    gemini.Part.from_executable_code(code="1", language=gemini.Language.PYTHON),
    gemini.Part.from_code_execution_result(outcome=gemini.Outcome.OUTCOME_OK, output="1"),
]


def test_a_content_of_gemini_is_sent_as_its_package_sends_it() -> None:
    """
    Under the names of the REST API, and without what is None; but arguments keep theirs.
    """
    content = gemini.Content(role="model", parts=GEMINI_PARTS)
    dumped = content.model_dump(mode="json", by_alias=True, exclude_none=True)
    ours = written(content)
    assert gemini.Content.model_validate(ours) == content
    for parts in (ours["parts"], dumped["parts"]):  # the package writes URL-safe base64
        del parts[0]["thoughtSignature"], parts[2]["inlineData"]["data"]
    assert ours == dumped


def test_bytes_are_standard_base64() -> None:
    """
    Anthropic and OpenAI read no other, whichever package the bytes came from.
    """
    for value in (b"\xff\xfe", bytearray(b"\xff\xfe"), memoryview(b"\xff\xfe")):
        assert written({"data": value}) == {"data": "//4="}


def test_other_objects_are_sent_whole() -> None:
    """
    A model of someone else's, with its defaults; of a dataclass, what is not None.
    """

    class Reply(pydantic.BaseModel):
        role: str = "assistant"
        said: str = pydantic.Field(serialization_alias="content")

    @dataclass
    class Note:
        role: str
        content: str
        name: str | None = None
        parts: list[object] = field(default_factory=list)

    assert written(Reply(said="a")) == {"role": "assistant", "content": "a"}
    assert written(Note("user", "a")) == {"role": "user", "content": "a", "parts": []}
    assert written({"a": MappingProxyType({"b": 1})}) == {"a": {"b": 1}}
    assert written({"a": {1}, "b": (1, 2), "c": Decimal("1e400"), "d": b"\xff"}) == {
        "a": [1],
        "b": [1, 2],
        "c": float("inf"),  # as this reader has it
        "d": "/w==",
    }


@pytest.mark.parametrize("value", [object(), dict, iter([1]), 1j])
def test_what_is_no_json_is_refused(value: object) -> None:
    """
    It is named by its type.
    """
    with pytest.raises(TypeError, match=f"{type(value).__name__} is not a JSON type"):
        as_json(value)
    assert not is_provider_object(value)
    assert fields_of(value) == {}
