"""
What `append`, `context` and `compact` take and return, by format. For type checkers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict

from fastpaca.client.values import ProviderView

if TYPE_CHECKING:
    from fastpaca.client.provider_types import (
        ChatCompletionMessage,
        ChatCompletionMessageParam,
        Content,
        ContentDict,
        MessageParam,
        ResponseInputItemParam,
        ResponseOutputItem,
        TextBlockParam,
    )

    ChatMessage: TypeAlias = ChatCompletionMessageParam | ChatCompletionMessage
    ResponsesItem: TypeAlias = ResponseInputItemParam | ResponseOutputItem
    GeminiContent: TypeAlias = ContentDict | Content

    ChatView: TypeAlias = ProviderView[ChatCompletionMessageParam, None]
    ResponsesView: TypeAlias = ProviderView[ResponseInputItemParam, None]
    AnthropicView: TypeAlias = ProviderView[MessageParam, list[TextBlockParam]]
    GeminiView: TypeAlias = ProviderView[ContentDict, ContentDict | None]

JSONMessage: TypeAlias = Mapping[str, object]
"""A message as JSON, also one of a provider; boto3 and the AI SDK have no types of their own."""

BedrockView: TypeAlias = "ProviderView[Any, list[Any]]"
AISDKView: TypeAlias = "ProviderView[dict[str, Any], str | None]"

FormatName: TypeAlias = Literal[
    "parts", "openai-chat", "openai-responses", "anthropic", "gemini", "bedrock", "ai-sdk"
]
"""The name of a format; `parts` is that of a node, the default."""

PathName: TypeAlias = Literal["current"]
"""Which path to read: the conversation as it is now."""

OpenCalls: TypeAlias = Literal["close", "drop", "keep"]
"""What becomes of calls that will not get their result any more."""


class MessageObject(Protocol):
    """A message of a provider's package that has `role` and `content`."""

    @property
    def role(self) -> str: ...

    @property
    def content(self) -> object: ...


class HasChoices(Protocol):
    """A response of OpenAI Chat."""

    @property
    def choices(self) -> Sequence[object]: ...


class HasCandidates(Protocol):
    """A response of Gemini."""

    @property
    def candidates(self) -> Sequence[object] | None: ...


class HasOutput(Protocol):
    """A response of OpenAI Responses."""

    @property
    def output(self) -> Sequence[object]: ...


if TYPE_CHECKING:
    AnyMessage: TypeAlias = (
        JSONMessage | MessageObject | ChatMessage | ResponsesItem | MessageParam | GeminiContent
    )
    OneMessage: TypeAlias = str | AnyMessage | HasChoices | HasCandidates | Sequence[HasCandidates]
    """What is one message for `put`: also a text, and the response of most providers."""


class HasInputTokens(Protocol):
    """A usage: a `TokenUsage`, or the report of OpenAI Responses or Anthropic."""

    @property
    def input_tokens(self) -> int: ...

    @property
    def output_tokens(self) -> int: ...


class HasPromptTokens(Protocol):
    """The report of OpenAI Chat."""

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def completion_tokens(self) -> int: ...


class HasPromptTokenCount(Protocol):
    """The report of Gemini."""

    @property
    def prompt_token_count(self) -> int | None: ...


AnyUsage: TypeAlias = Mapping[str, Any] | HasInputTokens | HasPromptTokens | HasPromptTokenCount
"""A usage, as a value, as its fields, or as the report of a provider."""


class BatchOptions(TypedDict, total=False):
    """The options of an append of several messages."""

    usage: AnyUsage | None
    if_version: int | None
    idempotency_key: str | None


class AppendOptions(BatchOptions, total=False):
    """The options of an append of one message."""

    token_count: int | None


class ViewOptions(TypedDict, total=False):
    """The options of a read of the LLM context."""

    budget_tokens: int | None
    if_version: int | None
    at_version: int | None
    explain: bool


class ProviderViewOptions(ViewOptions, total=False):
    """The options of a read of the LLM context in a format."""

    open_calls: OpenCalls
    cache: bool
