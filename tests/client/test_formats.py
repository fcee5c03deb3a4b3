"""
A conversation with each provider, through its own package, with both clients, on both nodes.

The packages are real, and so is what they send; the provider behind them answers from a list.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as gemini

from fastpaca import (
    AsyncContext,
    AsyncFastpaca,
    Context,
    Fastpaca,
    InvalidRequest,
    ProviderView,
    TokenUsage,
)
from fastpaca.client.values import View
from fastpaca.formats import FORMATS, render
from tests.formats.samples import LISTS
from tests.kit.process import Process
from tests.kit.provided import CACHED, JSON, response
from tests.kit.providers import Providers, providers

Json = dict[str, Any]


@pytest.fixture(scope="module")
def served() -> Iterator[Providers]:
    """The providers, for all tests."""
    with providers() as server:
        yield server


def ask(name: str, view: ProviderView[Any, Any], address: str) -> Any:
    """Send a view as the page shows it, with the provider's package."""
    if name == "openai-chat":
        with openai.OpenAI(api_key="k", base_url=address) as client:
            return client.chat.completions.create(model="m", messages=view.messages)
    if name == "openai-responses":
        with openai.OpenAI(api_key="k", base_url=address) as client:
            return client.responses.create(model="m", input=view.messages)
    if name == "anthropic":
        with anthropic.Anthropic(api_key="k", base_url=address) as claude:
            return claude.messages.create(
                model="m", max_tokens=9, system=view.system, messages=view.messages
            )
    assert name == "gemini"
    options = gemini.HttpOptions(base_url=address)
    with genai.Client(api_key="k", http_options=options) as google:
        return google.models.generate_content(
            model="m", contents=view.messages, config={"system_instruction": view.system}
        )


def streamed(name: str, address: str) -> Any:
    """Return what a package has put together of a stream."""
    if name == "anthropic":
        claude = anthropic.Anthropic(api_key="k", base_url=address)
        with claude, claude.messages.stream(model="m", max_tokens=9, messages=[]) as events:
            return events.get_final_message()
    with openai.OpenAI(api_key="k", base_url=address) as client:
        if name == "openai-responses":
            with client.responses.stream(model="m", input="Hi") as stream:
                return stream.get_final_response()
        with client.chat.completions.stream(model="m", messages=[]) as chunks:
            return chunks.get_final_completion()


SENT: Final[Mapping[str, tuple[str, str]]] = {
    "openai-chat": ("messages", ""),
    "openai-responses": ("input", ""),
    "anthropic": ("messages", "system"),
    "gemini": ("contents", "systemInstruction"),
}
"""By format, what a request calls the messages and the instructions."""


# --- both clients, on both nodes ---


@contextmanager
def client_of(place: str, node: Process, directory: Path) -> Iterator[Fastpaca]:
    """A client of a node, over the network or in this process."""
    local = place == "local"
    with (
        Fastpaca.local(directory, token_estimator="chars")
        if local
        else Fastpaca(node.address) as client
    ):
        yield client


@pytest.fixture(params=["network", "local"])
def context(request: pytest.FixtureRequest, node: Process, tmp_path: Path) -> Iterator[Context]:
    """A new context."""
    with client_of(request.param, node, tmp_path) as client:
        yield client.context(request.node.nodeid, budget=100_000)


@asynccontextmanager
async def async_context(place: str, node: Process, directory: Path) -> AsyncIterator[AsyncContext]:
    """A new context of the other client."""
    local = place == "local"
    async with AsyncFastpaca.local(directory) if local else AsyncFastpaca(node.address) as client:
        yield await client.context(f"async-{directory}", budget=100_000)


def test_a_text_is_a_message_of_the_user(context: Context) -> None:
    """
    In every format, and without one.
    """
    texts = ["Hi", *FORMATS]
    context.append("Hi")
    for name in FORMATS:
        context.append(name, format=name)  # type: ignore[call-overload]  # checked elsewhere
    log = context.get_tail()
    assert [message.role for message in log] == ["user"] * len(texts)
    assert [message.parts[0]["text"] for message in log] == texts
    assert all(message.parts[0]["type"] == "text" for message in log)


@pytest.mark.parametrize("name", FORMATS)
def test_messages_come_back_as_they_were(name: str, context: Context) -> None:
    """
    Each list of a provider goes in, one by one or at once, and comes out equal.
    """
    call: Any = context
    for listed in LISTS[name]:
        before = len(context.get_tail())
        if before == 0:
            results = [call.append(one, format=name) for one in listed]
        else:
            results = call.append(listed, format=name)
        assert [result.seq for result in results] == [*range(before + 1, before + len(listed) + 1)]
        if before == 0:
            view = call.context(format=name)
            assert plain(view.messages) == listed
            assert view.format == name
            assert view.repairs == []
            assert view.losses == []


def plain(messages: Any) -> Any:
    """Return messages as JSON; those of Bedrock have bytes."""
    from fastpaca.client.provider_objects import as_json

    return json.loads(json.dumps(messages, default=as_json))


@pytest.mark.parametrize("name", SENT)
def test_a_conversation_with_a_provider(name: str, context: Context, served: Providers) -> None:
    """
    What a view has is passed on as it is, and the response is appended as it is.
    """
    call: Any = context
    served.sent.clear()
    messages_key, system_key = SENT[name]
    context.append({"role": "system", "content": "Be brief."})
    context.append("How far is it?")
    for turn in (1, 2):
        view = call.context(format=name)
        answer = ask(name, view, served.address)
        results = call.append(answer, if_version=view.version)
        assert isinstance(results, list) == (name == "openai-responses")
        body = served.sent[-1]
        if system_key:
            assert "Be brief." in json.dumps(body[system_key])
        listed = body[messages_key]
        assert "How far is it?" in json.dumps(listed[0 if system_key else 1])
        assert len(listed) == len(view.messages)
        if turn == 1:
            answer_call(name, context)
    reply = json.dumps(served.sent[1][messages_key])
    assert "Let me see." in reply
    assert reply.count("12 km") == 1
    if name == "gemini":
        assert "-_-_c2ln" in reply  # the signature, to the byte
    said = [message.role for message in context.get_tail()]
    assert said.count("user") + said.count("tool") == 2


def answer_call(name: str, context: Context) -> None:
    """Append the result of the call that each response makes."""
    call: Any = context
    results: dict[str, Json] = {
        "openai-chat": {"role": "tool", "tool_call_id": "c1", "content": "12 km"},
        "openai-responses": {"type": "function_call_output", "call_id": "c1", "output": "12 km"},
        "anthropic": {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "12 km"}],
        },
        "gemini": {
            "role": "user",
            "parts": [{"functionResponse": {"name": "open", "response": {"output": "12 km"}}}],
        },
    }
    call.append(results[name], format=name)


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "anthropic"])
def test_what_a_stream_came_to_is_appended(name: str, context: Context, served: Providers) -> None:
    """
    The packages put it together, and it is as good as a response that came at once.
    """
    context.append("How far is it?")
    context.append(streamed(name, served.address))
    context.append(response(name))
    log = context.get_tail()[1:]
    half = len(log) // 2
    for one, other in zip(log[:half], log[half:], strict=True):
        assert one.role == other.role
        assert without_spaces(one.parts) == without_spaces(other.parts)


def without_spaces(parts: list[Json]) -> list[Json]:
    """Strip texts, which the stream ends with a space."""
    return [
        {key: value.strip() if key == "text" else value for key, value in part.items()}
        for part in parts
    ]


@pytest.mark.parametrize("name", JSON)
def test_a_usage_is_summed_in_the_context(name: str, context: Context) -> None:
    """
    That of a response, that of a list, and what a caller reports.
    """
    context.append("How far is it?")
    context.append(response(name))
    usage = context.info().usage
    assert (usage.input_tokens, usage.output_tokens) == (100, 20)
    assert usage.cached_input_tokens == 64
    assert usage.cache_write_tokens == (CACHED[name] or 0)
    context.append("And back?", usage=TokenUsage(input_tokens=5, output_tokens=1, model="m"))
    context.append(
        [{"role": "user", "content": "a"}], usage={"input_tokens": 2, "output_tokens": 0}
    )
    usage = context.info().usage
    assert (usage.input_tokens, usage.output_tokens) == (107, 21)


def test_bedrock_has_bytes(context: Context) -> None:
    """
    boto3 takes and gives bytes, and a log has base64.
    """
    context.append(
        {
            "role": "user",
            "content": [
                {"text": "What is this?"},
                {"image": {"format": "png", "source": {"bytes": b"\x89PNG\xff"}}},
                {"guardContent": {"image": {"format": "png", "source": {"bytes": b"\xff"}}}},
            ],
        },
        format="bedrock",
    )
    context.append(JSON["bedrock"])
    result = {
        "toolUseId": "t1",
        "content": [{"image": {"format": "png", "source": {"bytes": b"\xfe"}}}, {"text": "a"}],
    }
    context.append({"role": "user", "content": [{"toolResult": result}]}, format="bedrock")
    (first, *_), reply, last = (m.parts for m in context.get_tail())
    assert first == {"type": "text", "text": "What is this?"}
    assert reply[0]["reasoningContent"]["redactedContent"] == "//4A"
    view = context.context(format="bedrock")
    assert view.system == []
    assert view.messages[0]["content"][1]["image"]["source"]["bytes"] == b"\x89PNG\xff"
    assert view.messages[0]["content"][2]["guardContent"]["image"]["source"]["bytes"] == b"\xff"
    assert view.messages[1] == JSON["bedrock"]["output"]["message"]
    assert view.messages[2]["content"] == [{"toolResult": result}]
    assert last[0]["toolResult"]["content"][0]["image"]["source"]["bytes"] == "/g=="


def test_bytes_that_are_no_base64_stay(context: Context) -> None:
    """
    What came in from elsewhere is for the provider to judge.
    """
    image = {"format": "png", "source": {"bytes": "not base64!"}}
    context.append({"role": "user", "content": [{"image": image}, {"text": "a"}]}, format="bedrock")
    view = context.context(format="bedrock")
    assert {"image": image} in view.messages[0]["content"] or view.losses


def test_objects_of_gemini_are_appended_as_they_are(context: Context) -> None:
    """
    A content of the package, alone and in a list.
    """
    content = gemini.Content(
        role="user",
        parts=[
            gemini.Part(text="Hi"),
            gemini.Part.from_bytes(data=b"\x89PNG\xff", mime_type="image/png"),
        ],
    )
    context.append(content, format="gemini")
    context.append([content, content], format="gemini")
    view = context.context(format="gemini")
    assert len(view.messages) >= 1
    parts = gemini.Content.model_validate(view.messages[0]).parts
    assert parts is not None
    assert parts[:2] == content.parts


def test_parameters_of_a_view(context: Context) -> None:
    """
    Open calls, marks for a cache, a budget, a past version, and what was kept of the log.
    """
    context.append("Hi")
    context.append(JSON["anthropic"])
    context.append("Never mind.")
    view = context.context(format="anthropic")
    assert [repair.code for repair in view.repairs] == ["closed_call", "merged"]
    assert view.repairs[0].call == "t1"
    assert context.context(format="anthropic", open_calls="keep").repairs == []
    context.append({"role": "assistant", "content": "Well."})
    context.append("And back?")
    marked = context.context(format="anthropic", cache=True)
    assert json.dumps(marked.messages[: marked.stable_messages]).count("cache_control") == 2
    past = context.context(format="anthropic", at_version=1, explain=True)
    assert past.messages == [{"role": "user", "content": "Hi"}]
    assert past.explained is not None
    assert past.explained[0].state == "kept"
    assert context.context(format="openai-chat", budget_tokens=30).token_budget == 30
    assert isinstance(context.context(format="parts"), View)


def test_what_belongs_to_a_format_needs_one(context: Context) -> None:
    """
    It is refused, rather than ignored; and so is a format that there is not.
    """
    call: Any = context
    for wrong in ({"cache": True}, {"open_calls": "drop"}, {"format": "parts", "cache": True}):
        with pytest.raises(InvalidRequest) as refused:
            call.context(**wrong)
        assert refused.value.field == "format"
    for wrong in ({"format": "antropic"}, {"format": ""}):
        with pytest.raises(InvalidRequest) as refused:
            call.context(**wrong)
        assert refused.value.field == "format"
        with pytest.raises(InvalidRequest) as refused:
            call.append({"role": "user", "content": "Hi"}, **wrong)
        assert refused.value.field == "format"


def test_an_error_names_the_field_of_the_caller(context: Context) -> None:
    """
    In the provider's own message, and in the traceback too.
    """
    call: Any = context
    with pytest.raises(InvalidRequest) as refused:
        call.append({"role": "user", "content": [{"type": "text"}]}, format="anthropic")
    assert refused.value.field == "message.content[0].text"
    assert str(refused.value) == f"message.content[0].text: {refused.value.message}"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "function_call_output", "call_id": "c", "output": "It is late."},
        {"role": "user", "parts": [{"text": "Hi"}]},
    ],
)
def test_a_message_whose_format_was_forgotten_is_told_so(message: Any, context: Context) -> None:
    """
    An item of OpenAI Responses has no role, and a part of Gemini no type.
    """
    with pytest.raises(InvalidRequest, match="name its format"):
        context.append(message)


def test_a_replacement_may_be_in_a_format(context: Context) -> None:
    """
    What a view has can be put back.
    """
    context.append([{"role": "user", "content": "Hi"}] * 3)
    said: list[anthropic.types.MessageParam] = [
        {"role": "user", "content": "A summary."},
        {"role": "assistant", "content": [{"type": "text", "text": "Well."}]},
    ]
    context.compact(said, format="anthropic")
    view = context.context(format="anthropic")
    assert view.system == [{"type": "text", "text": "A summary."}]
    assert view.messages[1] == said[1]
    context.compact(view.messages[:2], format="anthropic")
    assert [message.role for message in context.context().messages] == ["user", "assistant"]
    with pytest.raises(InvalidRequest) as refused:
        context.compact([3])  # type: ignore[list-item]  # that is the point
    assert refused.value.field == "replacement[0]"


def test_a_count_of_the_caller_s_is_of_the_message(context: Context) -> None:
    """
    Also of an item of OpenAI Responses, which has no place for it.
    """
    item = {"type": "function_call_output", "call_id": "c", "output": "a"}
    call: Any = context
    call.append(
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        format="openai-responses",
        token_count=7,
    )
    call.append([{**item, "token_count": 9, "metadata": {"k": 1}}], format="openai-responses")
    first, second = context.get_tail()
    assert (first.token_count, second.token_count) == (7, 9)
    assert second.metadata == {"k": 1}
    assert second.parts == [item]


def test_a_view_is_rendered_without_a_node(context: Context) -> None:
    """
    The same, from the messages as they are stored.
    """
    context.append("Hi")
    context.append(JSON["anthropic"])
    view = context.context()
    asked = context.context(format="gemini")
    rendered = render(view, "gemini")
    assert rendered.messages == asked.messages
    assert rendered.system == asked.system
    assert rendered.stable_messages == asked.stable_messages


@pytest.mark.parametrize("place", ["network", "local"])
async def test_the_other_client_does_the_same(
    place: str, node: Process, tmp_path: Path, served: Providers
) -> None:
    """
    Texts, responses, formats and replacements, awaited.
    """
    async with async_context(place, node, tmp_path) as context:
        assert (await context.append("Hi")).seq == 1
        view = await context.context(format="anthropic")
        answer: anthropic.types.Message = ask("anthropic", view, served.address)
        assert (await context.append(answer)).seq == 2
        items = await context.append(
            [{"type": "message", "role": "user", "content": "And back?"}],
            format="openai-responses",
        )
        assert [item.seq for item in items] == [3]
        chat = await context.context(format="openai-chat", open_calls="drop")
        assert [message["role"] for message in chat.messages] == ["user", "assistant", "user"]
        await context.compact(view.messages, format="anthropic")
        assert [one.parts[0]["text"] for one in (await context.context()).messages] == ["Hi"]
