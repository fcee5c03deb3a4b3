"""
Objects of the providers' own packages go in, and what comes out is of their types.

Every kind of block that a package knows is met here, so that a new kind in a newer release fails
the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
from anthropic.types import ContentBlock, ContentBlockParam
from anthropic.types.beta import BetaContentBlock, BetaContentBlockParam, BetaMessageParam
from google.genai.types import Content, Part
from openai.types.chat import (
    ChatCompletionContentPartParam,
    ChatCompletionMessage,
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionMessageParam,
    ChatCompletionMessageToolCallUnionParam,
)
from openai.types.responses import (
    ResponseInputContentParam,
    ResponseInputItemParam,
    ResponseInputParam,
    ResponseOutputItem,
)
from typing_extensions import is_typeddict

from fastpaca.formats import anthropic, gemini, openai_chat, openai_items, render
from fastpaca.formats.blocks import Block
from tests.formats.histories import history
from tests.formats.official import fields, is_object, members, problem, sample, samples, tag
from tests.formats.samples import LISTS, NAMES, VALIDATORS, Appended, Json

UNIONS: Final[Mapping[str, tuple[Any, Mapping[str, Block]]]] = {
    "anthropic ContentBlock": (ContentBlock, anthropic.BLOCKS),
    "anthropic ContentBlockParam": (ContentBlockParam, anthropic.BLOCKS),
    "anthropic BetaContentBlock": (BetaContentBlock, anthropic.BLOCKS),
    "anthropic BetaContentBlockParam": (BetaContentBlockParam, anthropic.BLOCKS),
    "openai ChatCompletionContentPartParam": (ChatCompletionContentPartParam, openai_chat.BLOCKS),
    "openai ResponseInputContentParam": (ResponseInputContentParam, openai_items.CONTENT),
    "openai ResponseInputItemParam": (ResponseInputItemParam, openai_items.ITEMS),
    "openai ResponseOutputItem": (ResponseOutputItem, openai_items.ITEMS),
}

OFFICIAL: Final[Mapping[str, Any]] = {
    "openai-chat": list[ChatCompletionMessageParam],
    "openai-responses": ResponseInputParam,
    "anthropic": list[BetaMessageParam],
    "gemini": list[Content],
}
"""What a list is, by the package of its provider."""

HELLO: Final[Json] = {"role": "user", "content": "Hello"}
BYE: Final[Json] = {"role": "user", "content": "Bye"}


@pytest.mark.parametrize("union", UNIONS)
def test_every_kind_is_known(union: str) -> None:
    """
    The table of a format has every kind of block of the package, with all its keys.
    """
    kind, blocks = UNIONS[union]
    for member in members(kind):
        assert is_object(member), member
        name = tag(member)
        if name == "message":
            continue
        assert name in blocks, f"{member.__name__} is new: {name}"
        assert fields(member).keys() <= blocks[name].known, member
        if is_typeddict(member):
            needed = {key for key, (_, is_required) in fields(member).items() if is_required}
            assert needed - {"type"} <= blocks[name].needed, member


def test_every_key_of_a_message_is_known() -> None:
    """
    The same is true of the keys of messages of OpenAI Chat, and of parts of Gemini.
    """
    known = openai_chat.MESSAGE_KEYS | {"role", "content", "tool_calls", "tool_call_id"}
    for member in (*members(ChatCompletionMessageParam), ChatCompletionMessage):
        assert fields(member).keys() <= known, member
    assert fields(Part).keys() <= gemini.DATA_KEYS.keys() | gemini.OTHER_KEYS
    assert Part.model_fields.keys() <= gemini.DATA_KEYS.keys() | gemini.OTHER_KEYS


def anthropic_lists() -> list[list[Json]]:
    """Each block of Anthropic's package, in a list that the provider accepts."""
    listed = []
    for kind in (BetaContentBlockParam, BetaContentBlock):
        for _, block in samples(kind):
            name = block["type"]
            text = {"type": "text", "text": "So."}
            if name == "tool_use":
                told = {"type": "tool_result", "tool_use_id": "a", "content": "so"}
                listed.append([HELLO, _reply(block), {"role": "user", "content": [told]}])
            elif name == "tool_result":
                call = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
                listed.append([HELLO, _reply(call), {"role": "user", "content": [block]}])
            elif name.endswith("_tool_use"):
                kind_ = "mcp_tool_result" if name.startswith("mcp") else "web_search_tool_result"
                result: Json = {"type": kind_, "tool_use_id": "a", "content": []}
                listed.append([HELLO, _reply(block, result, text), BYE])
            elif name.endswith("_tool_result"):
                kind_ = "mcp_tool_use" if name.startswith("mcp") else "server_tool_use"
                call = {"type": kind_, "id": "a", "name": "f", "input": {}}
                call |= {"server_name": "s"} if name.startswith("mcp") else {}
                listed.append([HELLO, _reply(call, block, text), BYE])
            elif name in ("image", "document", "search_result", "container_upload"):
                listed.append([{"role": "user", "content": [block]}])
            else:
                listed.append([HELLO, _reply(block, text), BYE])
    return listed


def _reply(*blocks: Json) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def chat_lists() -> list[list[Json]]:
    """Each part and each call of OpenAI Chat, in a list that the provider accepts."""
    listed = []
    for _, part in samples(ChatCompletionContentPartParam):
        listed.append([{"role": "user", "content": [part]}])
    for _, call in samples(ChatCompletionMessageToolCallUnionParam):
        reply = {"role": "assistant", "tool_calls": [call]}
        listed.append([HELLO, reply, {"role": "tool", "tool_call_id": "a", "content": "so"}])
    for is_full in (True, False):
        reply = sample(ChatCompletionMessage, is_full=is_full) | {"content": "So."}
        reply.pop("function_call", None)
        reply.pop("tool_calls", None)
        reply.pop("audio", None)
        listed.append([HELLO, reply])
    call = sample(ChatCompletionMessageFunctionToolCallParam, is_full=True)
    nothing: Json = {"content": None, "refusal": None, "audio": None, "function_call": None}
    reply = {**nothing, "role": "assistant", "annotations": [], "tool_calls": [call]}
    listed.append([HELLO, reply, {"role": "tool", "tool_call_id": "a", "content": "so"}])
    return listed


def responses_lists() -> list[list[Json]]:
    """Each item of OpenAI Responses, in a list that the provider accepts."""
    listed = []
    every = [*samples(ResponseInputItemParam), *samples(ResponseOutputItem)]
    by_type = {item["type"]: item for _, item in every}
    said = {"type": "message", "role": "assistant", "content": "So."}
    for member, item in every:
        name = tag(member)
        if name == "message":
            listed.append([item])
        elif name == "reasoning":
            listed.append([HELLO, item, said])
        elif name.endswith("_output") and name != "program_output":
            call = dict(by_type[openai_call_of(name)])
            listed.append([HELLO, _with_id(call, item), _with_id(item, call)])
        elif f"{name}_output" in by_type and name != "program":
            output = dict(by_type[f"{name}_output"])
            listed.append([HELLO, _with_id(item, output), _with_id(output, item)])
        elif name == "mcp_approval_response":
            listed.append([HELLO, by_type["mcp_approval_request"], item])
        elif name == "tool_search_call":
            listed.append([HELLO, _with_id(item, {}), _with_id(by_type["tool_search_output"], {})])
        else:
            listed.append([HELLO, item])
    return listed


def openai_call_of(output: str) -> str:
    """Return the type of the call that an output is of."""
    return "tool_search_call" if output == "tool_search_output" else output.removesuffix("_output")


def _with_id(item: Json, other: Json) -> Json:
    """Let an item that may be without a `call_id` have one, as its partner has."""
    if "call_id" in item or item["type"] == "local_shell_call_output":
        return {**item, "call_id": "a"} if "call_id" in item else item
    return {**item, "call_id": "a"}


def gemini_lists() -> list[list[Json]]:
    """Each data of a part of Gemini, in a list that the provider accepts."""
    listed = []
    hello = {"role": "user", "parts": [{"text": "Hello"}]}
    whole = sample(Part, is_full=True)
    for key in gemini.DATA_KEYS:
        if key not in whole:
            continue
        part = {key: whole[key]}
        call = {"functionCall": {"name": "a", "args": {}}, "thoughtSignature": "aGk="}
        answer = {"functionResponse": {"name": "a", "response": {"output": "so"}}}
        if key == "functionCall":
            part["thoughtSignature"] = "aGk="
            turns = [{"role": "model", "parts": [part]}, {"role": "user", "parts": [answer]}]
        elif key == "functionResponse":
            turns = [{"role": "model", "parts": [call]}, {"role": "user", "parts": [part]}]
        else:
            turns = [{"role": "user", "parts": [part]}]
        listed.append([hello, *turns] if turns[0]["role"] == "model" else turns)
    return listed


MADE: Final[Mapping[str, list[list[Json]]]] = {
    "openai-chat": chat_lists(),
    "openai-responses": responses_lists(),
    "anthropic": anthropic_lists(),
    "gemini": gemini_lists(),
}


@pytest.mark.parametrize("name", MADE)
def test_objects_of_the_package_come_back_equal(name: str) -> None:
    """
    Whatever kind of object the package has, it is appended as it is and comes back as it was.
    """
    for listed in MADE[name]:
        rendering = Appended(listed, name).rendered(name)
        end = len(listed)
        assert rendering.messages[:end] == listed
        assert {repair.code for repair in rendering.repairs} <= {"added_last"}
        assert list(rendering.losses) == []


@pytest.mark.parametrize("name", MADE)
def test_objects_of_the_package_go_to_other_providers(name: str) -> None:
    """
    The same objects are rendered for every other provider, and what is lost is listed.
    """
    for listed in MADE[name]:
        appended = Appended([*listed, *([] if name == "gemini" else [BYE])], name)
        for other, violations in VALIDATORS.items():
            messages = appended.rendered(other).messages
            assert violations(messages) == [] or not messages, (other, listed)


@pytest.mark.parametrize("name", OFFICIAL)
def test_samples_are_of_the_package_s_types(name: str) -> None:
    """
    The package accepts the lists of these tests, and every rendering of every other list.
    """
    for source, (*_, listed) in LISTS.items():
        messages = _without_keys_of_replies(Appended(listed, source).rendered(name).messages)
        assert problem(messages, OFFICIAL[name]) == "", (source, messages)


def _without_keys_of_replies(messages: list[Json]) -> list[Json]:
    """Leave out what OpenAI Chat, and what speaks like it, takes back but has no types for."""
    unknown = {"annotations", "reasoning", "reasoning_content", "reasoning_details"}
    return [
        {key: value for key, value in message.items() if key not in unknown} for message in messages
    ]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", OFFICIAL)
def test_random_conversations_are_of_the_package_s_types(name: str) -> None:
    """
    Random conversations, too, are rendered as the types of the package say.
    """
    for seed in range(60):
        messages = history(seed)
        rendered = _without_keys_of_replies(render(messages, name).messages)
        assert problem(rendered, OFFICIAL[name]) == "", seed


def test_every_format_has_its_lists() -> None:
    """
    No format is without a list of its own.
    """
    assert set(NAMES) == LISTS.keys()
