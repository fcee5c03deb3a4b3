"""
The handle of one conversation for asyncio: `AsyncContext`.

The overloads say what each format takes and returns; see `signatures`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from fastpaca.client.aio_driver import AsyncDriver, AsyncStream
from fastpaca.client.calls import Calls
from fastpaca.client.compacting import KEEP_LAST, Summary
from fastpaca.client.flow import Flow
from fastpaca.client.requests import path_of
from fastpaca.client.values import (
    AppendResult,
    Branch,
    Compaction,
    CompactResult,
    ContextInfo,
    Message,
    Policy,
    ProviderView,
    RewindResult,
    View,
)

if TYPE_CHECKING:
    from typing import Unpack

    from fastpaca.client.provider_types import MessageParam
    from fastpaca.client.signatures import (
        AISDKView,
        AnthropicView,
        AnyMessage,
        AnyUsage,
        AppendOptions,
        BatchOptions,
        BedrockView,
        ChatMessage,
        ChatView,
        FormatName,
        GeminiContent,
        GeminiView,
        HasCandidates,
        HasChoices,
        HasOutput,
        JSONMessage,
        MessageObject,
        OneMessage,
        OpenCalls,
        PathName,
        ProviderViewOptions,
        ResponsesItem,
        ResponsesView,
        ViewOptions,
    )


class AsyncContext:
    """
    A handle of one conversation, returned by `AsyncFastpaca.context`. It needs no closing.

    Attributes:
        id: The context's id.
    """

    def __init__(
        self,
        context_id: str,
        driver: AsyncDriver,
        calls: Calls,
        stream: Callable[[Flow[None]], AsyncStream],
    ) -> None:
        path_of(context_id)
        self.id = context_id
        self._driver = driver
        self._calls = calls
        self._stream = stream

    def __repr__(self) -> str:
        """Show the id."""
        return f"{type(self).__name__}({self.id!r})"

    async def opened(self, configuring: Flow[ContextInfo] | None) -> Self:
        """Return the handle, once *configuring* is done."""
        if configuring is not None:
            await self._driver.run(configuring)
        return self

    async def configure(
        self,
        *,
        budget: int | None = None,
        trigger: float | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ContextInfo:
        """Create the context, or change the settings that are given."""
        return await self._driver.run(
            self._calls.configure(self.id, budget, trigger, policy, metadata)
        )

    async def info(self) -> ContextInfo:
        """Read the context's configuration, version and last seq."""
        return await self._driver.run(self._calls.info(self.id))

    async def patch_metadata(self, changes: Mapping[str, Any]) -> ContextInfo:
        """Merge *changes* into the context's metadata; a value of None removes its key."""
        return await self._driver.run(self._calls.patch_metadata(self.id, changes))

    async def delete(self, *, purge: bool = False) -> None:
        """Make the context read-only; with *purge*, erase it permanently."""
        await self._driver.run(self._calls.delete(self.id, purge=purge))

    @overload
    async def append(
        self,
        message: str | JSONMessage | MessageObject,
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    async def append(
        self,
        message: Sequence[JSONMessage | MessageObject],
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    async def append(
        self,
        message: HasOutput,
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    async def append(
        self,
        message: HasChoices | HasCandidates | Sequence[HasCandidates],
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    async def append(
        self, message: str, *, format: FormatName, **options: Unpack[AppendOptions]
    ) -> AppendResult: ...

    @overload
    async def append(
        self,
        message: Sequence[ChatMessage],
        *,
        format: Literal["openai-chat"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    async def append(
        self,
        message: ChatMessage,
        *,
        format: Literal["openai-chat"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    async def append(
        self,
        message: Sequence[ResponsesItem],
        *,
        format: Literal["openai-responses"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    async def append(
        self,
        message: ResponsesItem,
        *,
        format: Literal["openai-responses"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    async def append(
        self,
        message: Sequence[MessageParam],
        *,
        format: Literal["anthropic"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    async def append(
        self,
        message: MessageParam,
        *,
        format: Literal["anthropic"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    async def append(
        self,
        message: Sequence[GeminiContent],
        *,
        format: Literal["gemini"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    async def append(
        self, message: GeminiContent, *, format: Literal["gemini"], **options: Unpack[AppendOptions]
    ) -> AppendResult: ...

    @overload
    async def append(
        self,
        message: Sequence[JSONMessage],
        *,
        format: Literal["bedrock", "ai-sdk"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    async def append(
        self,
        message: JSONMessage,
        *,
        format: Literal["bedrock", "ai-sdk"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    async def append(
        self,
        message: Any,
        *,
        format: FormatName | None = None,
        usage: AnyUsage | None = None,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> AppendResult | list[AppendResult]:
        """Append a message, a list of them, or the response of a provider; see `Context.append`."""
        return await self._driver.run(
            self._calls.append(
                self.id, message, if_version, token_count, idempotency_key, format, usage
            )
        )

    async def put(
        self,
        message: OneMessage,
        *,
        id: str | None = None,
        format: FormatName | None = None,
        usage: AnyUsage | None = None,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> AppendResult:
        """
        Append a message under its id, or let it take the place of the one that has the id.

        See `Context.put`.
        """
        return await self._driver.run(
            self._calls.put(
                self.id, message, id, if_version, token_count, idempotency_key, format, usage
            )
        )

    async def get(self, message_id: str) -> Message:
        """Read the newest message with an id on the path, or else of the log."""
        return await self._driver.run(self._calls.get(self.id, message_id))

    async def get_tail(
        self,
        *,
        offset: int | None = None,
        limit: int | None = None,
        path: PathName | None = None,
    ) -> list[Message]:
        """
        Skip the *offset* (0) newest messages and read the next *limit* (100), oldest first.

        See `Context.get_tail`.
        """
        return await self._driver.run(self._calls.tail(self.id, offset, limit, path))

    def messages(
        self,
        *,
        from_seq: int | None = None,
        to_seq: int | None = None,
        limit: int | None = None,
        path: PathName | None = None,
    ) -> AsyncIterator[Message]:
        """Iterate over the log, in pages of *limit* (100) messages; see `Context.messages`."""
        return self._driver.iterate(self._calls.messages(self.id, from_seq, to_seq, limit, path))

    async def rewind(
        self,
        *,
        to_version: int | None = None,
        to_seq: int | None = None,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> RewindResult:
        """Go back: path and window become what they were after a version; see `Context.rewind`."""
        return await self._driver.run(
            self._calls.rewind(self.id, to_version, to_seq, if_version, idempotency_key)
        )

    async def fork(
        self,
        fork_id: str,
        *,
        at_version: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncContext:
        """
        Make a new context with the path that this one had after a version, and return its handle.

        See `Context.fork`.
        """
        await self._driver.run(
            self._calls.fork(self.id, fork_id, at_version, metadata, idempotency_key)
        )
        return AsyncContext(fork_id, self._driver, self._calls, self._stream)

    async def branches(self) -> list[Branch]:
        """Read the whole history, and return the ends of the branches that rewinds have left."""
        return await self._driver.run(self._calls.branches(self.id))

    @overload
    async def context(
        self, *, format: Literal["parts"] | None = None, **options: Unpack[ViewOptions]
    ) -> View: ...

    @overload
    async def context(
        self, *, format: Literal["openai-chat"], **options: Unpack[ProviderViewOptions]
    ) -> ChatView: ...

    @overload
    async def context(
        self, *, format: Literal["openai-responses"], **options: Unpack[ProviderViewOptions]
    ) -> ResponsesView: ...

    @overload
    async def context(
        self, *, format: Literal["anthropic"], **options: Unpack[ProviderViewOptions]
    ) -> AnthropicView: ...

    @overload
    async def context(
        self, *, format: Literal["gemini"], **options: Unpack[ProviderViewOptions]
    ) -> GeminiView: ...

    @overload
    async def context(
        self, *, format: Literal["bedrock"], **options: Unpack[ProviderViewOptions]
    ) -> BedrockView: ...

    @overload
    async def context(
        self, *, format: Literal["ai-sdk"], **options: Unpack[ProviderViewOptions]
    ) -> AISDKView: ...

    async def context(
        self,
        *,
        format: FormatName | None = None,
        budget_tokens: int | None = None,
        if_version: int | None = None,
        at_version: int | None = None,
        explain: bool = False,
        open_calls: OpenCalls | None = None,
        cache: bool = False,
    ) -> View | ProviderView[Any, Any]:
        """Read the LLM context: the messages to send to a model; see `Context.context`."""
        return await self._driver.run(
            self._calls.context(
                self.id,
                format,
                budget_tokens,
                if_version,
                at_version,
                explain=explain,
                open_calls=open_calls,
                cache=cache,
            )
        )

    async def at_version(self, version: int, *, budget_tokens: int | None = None) -> View:
        """Read the LLM context as it was after *version*, fitted by the current configuration."""
        return await self._driver.run(self._calls.view(self.id, budget_tokens, None, version))

    async def compact(
        self,
        replacement: Sequence[AnyMessage],
        *,
        format: FormatName | None = None,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> CompactResult:
        """Set the window to exactly *replacement*; see `Context.compact`."""
        return await self._driver.run(
            self._calls.compact(self.id, replacement, if_version, idempotency_key, format)
        )

    async def compact_if_needed(
        self,
        summarise: Callable[[list[Message]], Summary | Awaitable[Summary]],
        *,
        keep_last: int = KEEP_LAST,
    ) -> CompactResult | None:
        """
        Replace old messages with a summary, if the window is above its trigger.

        See `Context.compact_if_needed`; here, *summarise* may also return an awaitable.
        """
        return await self._driver.run(self._calls.compact_if_needed(self.id, summarise, keep_last))

    def compactions(
        self, *, after: int | None = None, limit: int | None = None
    ) -> AsyncIterator[Compaction]:
        """Iterate over the rewrites of the window after the version *after*, oldest first."""
        return self._driver.iterate(self._calls.compactions(self.id, after, limit))

    def stream(self, *, cursor: int | None = None, include_messages: bool = True) -> AsyncStream:
        """
        Follow the context: an iterator of frames that reconnects, and ends with its deletion.

        See `Context.stream`.
        """
        return self._stream(self._calls.stream(self.id, cursor, include_messages=include_messages))
