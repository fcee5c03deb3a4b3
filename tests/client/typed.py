"""
What a type checker says of formats where the providers' packages are installed.

`make check` reads this file; nothing runs it. `test_wheel.py` has the same without the packages.
"""

from __future__ import annotations

from typing import Any, assert_type

import anthropic
import openai
from anthropic.types import MessageParam, TextBlockParam
from google import genai
from google.genai.types import Content, ContentDict
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputItemParam

from fastpaca import AppendResult, AsyncContext, Context, ProviderView, TokenUsage, View
from fastpaca.client.signatures import FormatName


def plain_messages(chat: Context, anything: dict[str, Any]) -> None:
    """Texts and messages need no format."""
    assert_type(chat.append("Hi", if_version=0), AppendResult)
    assert_type(chat.append({"role": "user", "content": "Hi"}, token_count=3), AppendResult)
    assert_type(chat.append(anything), AppendResult)
    assert_type(chat.append([anything, anything]), list[AppendResult])
    assert_type(chat.append("Hi", format="gemini"), AppendResult)
    chat.append([anything], token_count=3)  # type: ignore[list-item]  # one for several
    chat.append("Hi", usage=TokenUsage(input_tokens=1, output_tokens=2))
    chat.append([anything], usage={"prompt_tokens": 1, "completion_tokens": 2})
    chat.append("Hi", usage=7)  # type: ignore[call-overload]  # no usage
    chat.append(7)  # type: ignore[call-overload]  # no message
    assert_type(chat.put(anything, id="m", if_version=0), AppendResult)
    chat.put([anything])  # type: ignore[list-item]  # one at a time
    chat.append("Hi", format="antropic")  # type: ignore[call-overload]  # no format


def openai_chat(chat: Context, client: openai.OpenAI) -> None:
    """OpenAI Chat."""
    view = chat.context(format="openai-chat", budget_tokens=1000)
    assert_type(view, ProviderView[ChatCompletionMessageParam, None])
    completion = client.chat.completions.create(model="m", messages=view.messages)
    assert_type(chat.append(completion), AppendResult)
    assert_type(chat.append(completion.choices[0].message), AppendResult)
    assert_type(chat.put(completion, id="m"), AppendResult)
    assert_type(
        chat.append(completion.choices[0].message, format="openai-chat", usage=completion.usage),
        AppendResult,
    )
    message: ChatCompletionMessageParam = {"role": "user", "content": "Hi"}
    assert_type(chat.append([message, message], format="openai-chat"), list[AppendResult])
    chat.append({"role": "usr", "content": "Hi"}, format="openai-chat")  # type: ignore[call-overload]  # no such role
    chat.compact(view.messages[2:], format="openai-chat")


def openai_responses(chat: Context, client: openai.OpenAI) -> None:
    """OpenAI Responses."""
    view = chat.context(format="openai-responses")
    assert_type(view, ProviderView[ResponseInputItemParam, None])
    response = client.responses.create(model="m", input=view.messages)
    assert_type(chat.append(response), list[AppendResult])
    assert_type(chat.append(response.output, format="openai-responses"), list[AppendResult])
    assert_type(chat.append(response.output[0], format="openai-responses"), AppendResult)
    item: ResponseInputItemParam = {
        "type": "function_call_output",
        "call_id": "c",
        "output": "a",
    }
    assert_type(chat.append(item, format="openai-responses"), AppendResult)


def claude(chat: Context, client: anthropic.Anthropic) -> None:
    """Anthropic."""
    view = chat.context(format="anthropic", cache=True, open_calls="drop")
    assert_type(view, ProviderView[MessageParam, list[TextBlockParam]])
    response = client.messages.create(
        model="m", max_tokens=9, system=view.system, messages=view.messages
    )
    assert_type(chat.append(response), AppendResult)
    assert_type(
        chat.append({"role": "user", "content": "Hi"}, format="anthropic", usage=response.usage),
        AppendResult,
    )
    chat.append({"role": "user", "contents": "Hi"}, format="anthropic")  # type: ignore[call-overload]  # no such key
    chat.context(cache=True)  # type: ignore[call-overload]  # of a format alone


def gemini(chat: Context, client: genai.Client) -> None:
    """Gemini."""
    view = chat.context(format="gemini")
    assert_type(view, ProviderView[ContentDict, ContentDict | None])
    response = client.models.generate_content(
        model="m", contents=view.messages, config={"system_instruction": view.system}
    )
    assert_type(chat.append(response), AppendResult)
    chat.append(Content(role="model"), format="gemini", usage=response.usage_metadata)
    assert_type(chat.append(Content(role="user"), format="gemini"), AppendResult)
    assert_type(
        chat.append({"role": "user", "parts": [{"text": "Hi"}]}, format="gemini"), AppendResult
    )
    assert_type(chat.append([Content(role="user")], format="gemini"), list[AppendResult])


def others(chat: Context, response: dict[str, Any]) -> None:
    """Bedrock and the AI SDK, which have no types, and what has no format."""
    assert_type(chat.context(format="bedrock"), ProviderView[Any, list[Any]])
    assert_type(chat.context(format="ai-sdk"), ProviderView[dict[str, Any], str | None])
    assert_type(chat.append(response), AppendResult)
    assert_type(chat.append([response], format="bedrock"), list[AppendResult])
    assert_type(chat.context(), View)
    assert_type(chat.context(format="parts", explain=True), View)


def chosen(chat: Context, name: FormatName) -> None:
    """A format that is chosen at run time."""
    view = chat.context(format=name)
    assert_type(view.used_tokens, int)


async def awaited(chat: AsyncContext, client: anthropic.AsyncAnthropic) -> None:
    """The same with asyncio."""
    assert_type(await chat.append("Hi"), AppendResult)
    view = await chat.context(format="anthropic")
    assert_type(view, ProviderView[MessageParam, list[TextBlockParam]])
    response = await client.messages.create(
        model="m", max_tokens=9, system=view.system, messages=view.messages
    )
    assert_type(await chat.append(response), AppendResult)
    await chat.compact(view.messages, format="anthropic")
