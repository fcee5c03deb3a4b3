"""
The handle of one conversation: `Context`.

The overloads say what each format takes and returns; see `signatures`. The file is long because it
is every verb of a conversation, with its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from fastpaca.client.calls import Calls
from fastpaca.client.compacting import KEEP_LAST, Summary
from fastpaca.client.flow import Flow
from fastpaca.client.requests import path_of
from fastpaca.client.sync_driver import Driver, Stream
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


class Context:
    """
    A handle of one conversation, returned by `Fastpaca.context`. It needs no closing.

    Attributes:
        id: The context's id.
    """

    def __init__(
        self,
        context_id: str,
        driver: Driver,
        calls: Calls,
        stream: Callable[[Flow[None]], Stream],
    ) -> None:
        path_of(context_id)
        self.id = context_id
        self._driver = driver
        self._calls = calls
        self._stream = stream

    def __repr__(self) -> str:
        """Show the id."""
        return f"{type(self).__name__}({self.id!r})"

    def __enter__(self) -> Self:
        """Return the handle."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the context stays as it is."""

    def configure(
        self,
        *,
        budget: int | None = None,
        trigger: float | None = None,
        policy: Policy | Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ContextInfo:
        """Create the context, or change the settings that are given."""
        return self._driver.run(self._calls.configure(self.id, budget, trigger, policy, metadata))

    def info(self) -> ContextInfo:
        """Read the context's configuration, version and last seq."""
        return self._driver.run(self._calls.info(self.id))

    def patch_metadata(self, changes: Mapping[str, Any]) -> ContextInfo:
        """Merge *changes* into the context's metadata; a value of None removes its key."""
        return self._driver.run(self._calls.patch_metadata(self.id, changes))

    def delete(self, *, purge: bool = False) -> None:
        """Make the context read-only; with *purge*, erase it permanently."""
        self._driver.run(self._calls.delete(self.id, purge=purge))

    @overload
    def append(
        self,
        message: str | JSONMessage | MessageObject,
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    def append(
        self,
        message: Sequence[JSONMessage | MessageObject],
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    def append(
        self,
        message: HasOutput,
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    def append(
        self,
        message: HasChoices | HasCandidates | Sequence[HasCandidates],
        *,
        format: Literal["parts"] | None = None,
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    def append(
        self, message: str, *, format: FormatName, **options: Unpack[AppendOptions]
    ) -> AppendResult: ...

    @overload
    def append(
        self,
        message: Sequence[ChatMessage],
        *,
        format: Literal["openai-chat"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    def append(
        self,
        message: ChatMessage,
        *,
        format: Literal["openai-chat"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    def append(
        self,
        message: Sequence[ResponsesItem],
        *,
        format: Literal["openai-responses"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    def append(
        self,
        message: ResponsesItem,
        *,
        format: Literal["openai-responses"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    def append(
        self,
        message: Sequence[MessageParam],
        *,
        format: Literal["anthropic"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    def append(
        self,
        message: MessageParam,
        *,
        format: Literal["anthropic"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    @overload
    def append(
        self,
        message: Sequence[GeminiContent],
        *,
        format: Literal["gemini"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    def append(
        self, message: GeminiContent, *, format: Literal["gemini"], **options: Unpack[AppendOptions]
    ) -> AppendResult: ...

    @overload
    def append(
        self,
        message: Sequence[JSONMessage],
        *,
        format: Literal["bedrock", "ai-sdk"],
        **options: Unpack[BatchOptions],
    ) -> list[AppendResult]: ...

    @overload
    def append(
        self,
        message: JSONMessage,
        *,
        format: Literal["bedrock", "ai-sdk"],
        **options: Unpack[AppendOptions],
    ) -> AppendResult: ...

    def append(
        self,
        message: Any,
        *,
        format: FormatName | None = None,
        usage: AnyUsage | None = None,
        if_version: int | None = None,
        token_count: int | None = None,
        idempotency_key: str | None = None,
    ) -> AppendResult | list[AppendResult]:
        """
        Append a message, a list of 1 to 1000, all or none, or the response of a provider.

        Retries never append twice.

        Args:
            message: A text of the user; a message or a list, of a node or in *format*, as JSON or
                as objects of the provider's package; or the whole response of a provider, which
                appends what it says with its usage.
            format: The format of the messages. Those with `content` need none, and responses have
                their own.
            usage: What the provider billed for the call that gave the message: a `TokenUsage`, its
                fields, or the provider's own report.
            if_version: Append only if this is the current version.
            token_count: Use this count instead of the node's.
            idempotency_key: The caller's own key.

        Returns:
            The result of each message; a list for a list, and for OpenAI Responses.

        Raises:
            VersionConflict: *if_version* is not the current version.
            ContextNotFound: The context doesn't exist; an append doesn't create it.
            InvalidRequest: This is not a message, or a response that is not finished, says nothing,
                or has several choices.
        """
        return self._driver.run(
            self._calls.append(
                self.id, message, if_version, token_count, idempotency_key, format, usage
            )
        )

    def put(
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

        The log keeps every form; the path and the LLM context have the newest. Use it for a message
        that grows or is edited. An equal message changes nothing, and retries never write twice.

        Args:
            message: One message, as `append` takes it; the response of a provider needs an *id*.
            id: The id; by default that of the message.
            format: The format of the message.
            usage: What the provider billed for the call that gave it.
            if_version: Write only if this is the current version.
            token_count: Use this count instead of the node's.
            idempotency_key: The caller's own key.

        Raises:
            VersionConflict: *if_version* is not the current version.
            ContextNotFound: The context doesn't exist.
            InvalidRequest: There is no id, or the message with this id has another role.
        """
        return self._driver.run(
            self._calls.put(
                self.id, message, id, if_version, token_count, idempotency_key, format, usage
            )
        )

    def get(self, message_id: str) -> Message:
        """Read the newest message with an id on the path, or else of the log."""
        return self._driver.run(self._calls.get(self.id, message_id))

    def get_tail(
        self,
        *,
        offset: int | None = None,
        limit: int | None = None,
        path: PathName | None = None,
    ) -> list[Message]:
        """
        Skip the *offset* (0) newest messages and read the next *limit* (100), oldest first.

        A *path* of `current` reads the conversation as it is now, in place of the log.
        """
        return self._driver.run(self._calls.tail(self.id, offset, limit, path))

    def messages(
        self,
        *,
        from_seq: int | None = None,
        to_seq: int | None = None,
        limit: int | None = None,
        path: PathName | None = None,
    ) -> Iterator[Message]:
        """
        Iterate over the log, both ends inclusive, in pages of *limit* (100) messages.

        A *from_seq* of -n starts at the n newest messages. The iteration stops at the end of the
        log as it is when it gets there. A *path* of `current` reads the conversation as it is now,
        in place of the log: each message once, where it stands.
        """
        return self._driver.iterate(self._calls.messages(self.id, from_seq, to_seq, limit, path))

    def rewind(
        self,
        *,
        to_version: int | None = None,
        to_seq: int | None = None,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> RewindResult:
        """
        Go back: path and window become what they were after a version; the log keeps everything.

        Args:
            to_version: The version.
            to_seq: In its place, the seq of a message: everything after it leaves the path.
            if_version: Go back only if this is the current version.
            idempotency_key: The caller's own key.
        """
        return self._driver.run(
            self._calls.rewind(self.id, to_version, to_seq, if_version, idempotency_key)
        )

    def fork(
        self,
        fork_id: str,
        *,
        at_version: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Context:
        """
        Make a new context with the path that this one had after a version, and return its handle.

        It has the same messages, renumbered from 1, the same window and the same configuration.

        Args:
            fork_id: The id of the new context.
            at_version: The version; by default the current one.
            metadata: Its metadata; by default that of this context.
            idempotency_key: The caller's own key.

        Raises:
            AlreadyExists: A context has this id.
        """
        self._driver.run(self._calls.fork(self.id, fork_id, at_version, metadata, idempotency_key))
        return Context(fork_id, self._driver, self._calls, self._stream)

    def branches(self) -> list[Branch]:
        """Read the whole history, and return the ends of the branches that rewinds have left."""
        return self._driver.run(self._calls.branches(self.id))

    @overload
    def context(
        self, *, format: Literal["parts"] | None = None, **options: Unpack[ViewOptions]
    ) -> View: ...

    @overload
    def context(
        self, *, format: Literal["openai-chat"], **options: Unpack[ProviderViewOptions]
    ) -> ChatView: ...

    @overload
    def context(
        self, *, format: Literal["openai-responses"], **options: Unpack[ProviderViewOptions]
    ) -> ResponsesView: ...

    @overload
    def context(
        self, *, format: Literal["anthropic"], **options: Unpack[ProviderViewOptions]
    ) -> AnthropicView: ...

    @overload
    def context(
        self, *, format: Literal["gemini"], **options: Unpack[ProviderViewOptions]
    ) -> GeminiView: ...

    @overload
    def context(
        self, *, format: Literal["bedrock"], **options: Unpack[ProviderViewOptions]
    ) -> BedrockView: ...

    @overload
    def context(
        self, *, format: Literal["ai-sdk"], **options: Unpack[ProviderViewOptions]
    ) -> AISDKView: ...

    def context(
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
        """
        Read the LLM context: the messages to send to a model.

        Args:
            format: Read it as the messages of this provider, to be sent as they are.
            budget_tokens: Fit it under this budget instead of the context's own.
            if_version: Read only if this is the current version.
            at_version: Read the window as it was after this version.
            explain: Fill in `explained`: what happened to each message of the path.
            open_calls: With a format: whether calls that will not get their result any more are
                closed with one (`close`, the default), dropped, or kept.
            cache: With a format: set Anthropic's marks for its prompt cache.
        """
        return self._driver.run(
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

    def at_version(self, version: int, *, budget_tokens: int | None = None) -> View:
        """Read the LLM context as it was after *version*, fitted by the current configuration."""
        return self._driver.run(self._calls.view(self.id, budget_tokens, None, version))

    def compact(
        self,
        replacement: Sequence[AnyMessage],
        *,
        format: FormatName | None = None,
        if_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> CompactResult:
        """
        Set the window to exactly *replacement*; the log doesn't change.

        Messages of the log that you pass unchanged stay references to the log. With *format*, the
        messages are those of a provider.
        """
        return self._driver.run(
            self._calls.compact(self.id, replacement, if_version, idempotency_key, format)
        )

    def compact_if_needed(
        self,
        summarise: Callable[[list[Message]], Summary],
        *,
        keep_last: int = KEEP_LAST,
    ) -> CompactResult | None:
        """
        Replace old messages with a summary, if the window is above its trigger.

        The leading instructions and the newest messages stay: at least *keep_last* of them, or
        fewer if these take more than half of the tokens between the instructions and the trigger.
        The other half is for the summary. A tool call is never separated from its result. Messages
        that are appended in the meantime stay.

        Args:
            summarise: Takes the old messages and returns a summary: a text, a message or several.
            keep_last: How many messages to keep, if they are not too large.

        Returns:
            The new version; None if there was nothing to do.

        Raises:
            CannotCompact: What has to stay is above the trigger by itself; nothing was changed.
            VersionConflict: Other writers changed the context again and again.
        """
        return self._driver.run(self._calls.compact_if_needed(self.id, summarise, keep_last))

    def compactions(
        self, *, after: int | None = None, limit: int | None = None
    ) -> Iterator[Compaction]:
        """Iterate over the rewrites of the window after the version *after*, oldest first."""
        return self._driver.iterate(self._calls.compactions(self.id, after, limit))

    def stream(self, *, cursor: int | None = None, include_messages: bool = True) -> Stream:
        """
        Follow the context: an iterator of frames that reconnects, and ends with its deletion.

        Args:
            cursor: The last version that you processed; 0 replays everything, None starts now.
            include_messages: Whether to receive message frames; the cursor moves either way.
        """
        return self._stream(self._calls.stream(self.id, cursor, include_messages=include_messages))
