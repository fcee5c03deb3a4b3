"""
The verbs of a client as flows, one method each, shared by `Fastpaca` and `AsyncFastpaca`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from fastpaca.client import branching, compacting, requests, responses
from fastpaca.client.appending import read_appended, read_listed
from fastpaca.client.errors import UnexpectedResponse
from fastpaca.client.flow import Flow, Invoke, Yield, exchange, key_or_new
from fastpaca.client.following import Position, follow
from fastpaca.client.options import Retries, Timeouts
from fastpaca.client.provider_views import for_package
from fastpaca.client.requests import ClientRequest, path_of
from fastpaca.client.responses import BodyReader, ClientResponse
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
from fastpaca.errors import InvalidRequest, VersionConflict

T = TypeVar("T")

CONFLICTS_MAX = 5
"""A compaction fails at this many conflicts, those of its reads and of its write together."""


class ConflictLimit:
    """Counts the conflicts of a call, up to a limit."""

    def __init__(self, conflicts_max: int) -> None:
        self._left = conflicts_max

    def count(self, conflict: VersionConflict) -> None:
        """
        Count a *conflict*.

        Raises:
            VersionConflict: The limit is reached.
        """
        self._left -= 1
        if self._left == 0:
            raise conflict


class Calls:
    """Makes flows that share their timeouts and retries."""

    def __init__(self, timeouts: Timeouts, retries: Retries) -> None:
        self._timeouts = timeouts
        self._retries = retries

    def _exchange(self, request: ClientRequest) -> Flow[ClientResponse]:
        return exchange(request, self._timeouts, self._retries)

    def _read(self, request: ClientRequest, reader: BodyReader[T]) -> Flow[T]:
        """
        Send *request* until it succeeds, and decode the body of the response.

        Raises:
            UnexpectedResponse: No node would send this body.
        """
        response = yield from self._exchange(request)
        try:
            return reader(response.body)
        except UnexpectedResponse as error:
            responses.note_response(error, response)
            error.idempotency_key = request.key
            raise

    # --- contexts ---------------------------------------------------------------------------------

    def configure(
        self,
        context_id: str,
        budget: int | None,
        trigger: float | None,
        policy: Policy | Mapping[str, Any] | str | None,
        metadata: Mapping[str, Any] | None,
    ) -> Flow[ContextInfo]:
        """Create a context, or change the settings that are given."""
        request = requests.put(context_id, budget, trigger, policy, metadata)
        return (yield from self._read(request, responses.context_info))

    def info(self, context_id: str) -> Flow[ContextInfo]:
        """Read a context's configuration."""
        return (yield from self._read(requests.get(path_of(context_id)), responses.context_info))

    def patch_metadata(self, context_id: str, changes: Mapping[str, Any]) -> Flow[ContextInfo]:
        """Merge *changes* into the metadata."""
        return (
            yield from self._read(
                requests.patch_metadata(context_id, changes), responses.context_info
            )
        )

    def fork(
        self,
        context_id: str,
        fork_id: str,
        at_version: int | None,
        metadata: Mapping[str, Any] | None,
        key: str | None,
    ) -> Flow[ContextInfo]:
        """Make a new context from another."""
        key = yield from key_or_new(key)
        request = requests.fork(context_id, fork_id, at_version, metadata, key)
        return (yield from self._read(request, responses.context_info))

    def delete(self, context_id: str, *, purge: bool) -> Flow[None]:
        """Delete a context."""
        yield from self._exchange(requests.delete(context_id, purge=purge))

    def contexts(self, prefix: str | None, limit: int | None) -> Flow[None]:
        """Yield all contexts, page by page."""
        after: str | None = None
        while True:
            request = requests.get("/v1/contexts", prefix=prefix, after=after, limit=limit)
            page = yield from self._read(request, responses.contexts_page)
            for context in page.contexts:
                yield Yield(context)
            if page.next is None:
                return
            after = page.next

    # --- messages ---------------------------------------------------------------------------------

    def append(
        self,
        context_id: str,
        message: object,
        if_version: int | None,
        token_count: int | None,
        key: str | None,
        format_: str | None = None,
        usage: object = None,
    ) -> Flow[AppendResult | list[AppendResult]]:
        """Append one message or several, or the response of a provider."""
        key = yield from key_or_new(key)
        appending = read_appended(message, format_, usage)
        request = requests.append(context_id, appending, if_version, token_count, key)
        if not appending.is_batch:
            return (yield from self._read(request, responses.appended))
        return (yield from self._read(request, responses.batch)).results

    def put(
        self,
        context_id: str,
        message: object,
        message_id: str | None,
        if_version: int | None,
        token_count: int | None,
        key: str | None,
        format_: str | None,
        usage: object,
    ) -> Flow[AppendResult]:
        """Append a message under its id, or let it revise the one that has it."""
        key = yield from key_or_new(key)
        appending = read_appended(message, format_, usage)
        request = requests.put_message(
            context_id, message_id, appending, if_version, token_count, key
        )
        return (yield from self._read(request, responses.appended))

    def get(self, context_id: str, message_id: str) -> Flow[Message]:
        """Read the newest message with an id."""
        request = requests.get(requests.message_path(context_id, message_id))
        return (yield from self._read(request, responses.message))

    def tail(
        self, context_id: str, offset: int | None, limit: int | None, path: str | None
    ) -> Flow[list[Message]]:
        """Read the newest messages of the log, or of the path."""
        request = requests.get(path_of(context_id, "tail"), offset=offset, limit=limit, path=path)
        return (yield from self._read(request, responses.messages_page)).messages

    def messages(
        self,
        context_id: str,
        from_seq: int | None,
        to_seq: int | None,
        limit: int | None,
        of_path: str | None,
    ) -> Flow[None]:
        """Yield messages of the log or the path, up to its end as of the last page."""
        path = path_of(context_id, "messages")
        while True:
            request = requests.get(
                path, from_seq=from_seq, to_seq=to_seq, limit=limit, path=of_path
            )
            page = yield from self._read(request, responses.messages_page)
            for message in page.messages:
                yield Yield(message)
            if of_path is not None:
                from_seq = page.next
                if from_seq is None:
                    return
                continue
            last = page.messages[-1] if page.messages else None
            # A page has the version of its last message, or the current one at the end of the log.
            if last is None or last.seq == to_seq or last.version != page.version:
                return
            assert last.seq is not None
            from_seq = last.seq + 1

    def rewind(
        self,
        context_id: str,
        to_version: int | None,
        to_seq: int | None,
        if_version: int | None,
        key: str | None,
    ) -> Flow[RewindResult]:
        """Let path and window become what they were."""
        key = yield from key_or_new(key)
        request = requests.rewind(context_id, to_version, to_seq, if_version, key)
        return (yield from self._read(request, responses.rewound))

    def branches(self, context_id: str) -> Flow[list[Branch]]:
        """Read the whole history, and tell which ends were left."""
        history: list[Compaction] = []
        after: int | None = None
        while page := (yield from self._history(context_id, after, None)):
            history += page
            after = page[-1].version
        return branching.branches(history)

    # --- the LLM context --------------------------------------------------------------------------

    def view(
        self,
        context_id: str,
        budget_tokens: int | None = None,
        if_version: int | None = None,
        at_version: int | None = None,
        *,
        explain: bool = False,
    ) -> Flow[View]:
        """Read the LLM context."""
        request = requests.get(
            path_of(context_id, "context"),
            budget_tokens=budget_tokens,
            if_version=if_version,
            at_version=at_version,
            explain=explain or None,
        )
        return (yield from self._read(request, responses.view))

    def context(
        self,
        context_id: str,
        format_: str | None,
        budget_tokens: int | None,
        if_version: int | None,
        at_version: int | None,
        *,
        explain: bool,
        open_calls: str | None,
        cache: bool,
    ) -> Flow[View | ProviderView[Any, Any]]:
        """
        Read the LLM context, in a format if one is named.

        Raises:
            InvalidRequest: There is no format for *open_calls* or *cache*.
        """
        if format_ in (None, "parts"):
            if open_calls is not None or cache:
                raise InvalidRequest("Name the format of a provider.", "format")
            return (
                yield from self.view(
                    context_id, budget_tokens, if_version, at_version, explain=explain
                )
            )
        request = requests.get(
            path_of(context_id, "context"),
            budget_tokens=budget_tokens,
            if_version=if_version,
            at_version=at_version,
            explain=explain or None,
            format=format_,
            open_calls=open_calls,
            cache=cache or None,
        )
        return for_package((yield from self._read(request, responses.provider_view)))

    def compact(
        self,
        context_id: str,
        replacement: Sequence[object],
        if_version: int | None,
        key: str | None = None,
        format_: str | None = None,
    ) -> Flow[CompactResult]:
        """Replace the window."""
        key = yield from key_or_new(key)
        messages = read_listed(replacement, "replacement")
        request = requests.compact(context_id, messages, if_version, key, format_)
        return (yield from self._read(request, responses.compacted))

    def compactions(self, context_id: str, after: int | None, limit: int | None) -> Flow[None]:
        """Yield the rewrites of the window, page by page."""
        while page := (yield from self._history(context_id, after, limit)):
            for compaction in page:
                yield Yield(compaction)
            after = page[-1].version

    def _history(
        self, context_id: str, after: int | None, limit: int | None
    ) -> Flow[list[Compaction]]:
        """Read a page of rewrites of the window; it is empty at the end."""
        request = requests.get(path_of(context_id, "compactions"), after=after, limit=limit)
        return (yield from self._read(request, responses.compactions_page)).compactions

    def compact_if_needed(
        self,
        context_id: str,
        summarise: Callable[[list[Message]], Any],
        keep_last: int,
    ) -> Flow[CompactResult | None]:
        """
        Replace old messages with a summary, if the window is above its trigger.

        Messages that are appended while the summary is made stay. If the summarised messages are
        unchanged, the summary is committed in front of the current ones; otherwise everything is
        read and summarised again.

        Raises:
            CannotCompact: What has to stay is above the trigger by itself.
            VersionConflict: The context changed too often.
        """
        plan: compacting.Plan | None = None
        summary: list[Mapping[str, Any]] = []
        conflicts = ConflictLimit(CONFLICTS_MAX)
        while True:
            window = yield from self._whole_window(context_id, conflicts)
            if not window.needs_compaction:
                return None
            if plan is None or not plan.holds_for(window):
                trigger = compacting.trigger_of((yield from self.info(context_id)))
                plan = compacting.plan(window, keep_last, trigger)
                if plan is None:
                    return None
                summary = compacting.summary_of((yield Invoke(summarise, plan.old)))
            replacement = plan.replacement(window, summary)
            try:
                return (yield from self.compact(context_id, replacement, window.version))
            except VersionConflict as conflict:
                conflicts.count(conflict)

    def _whole_window(self, context_id: str, conflicts: ConflictLimit) -> Flow[View]:
        """Read the window without fitting it, with the *needs_compaction* of its own budget."""
        while True:
            fitted = yield from self.view(context_id)
            if fitted.fit == "whole" or not fitted.needs_compaction:
                return fitted
            try:
                whole = yield from self.view(context_id, fitted.window_tokens, fitted.version)
            except VersionConflict as conflict:
                conflicts.count(conflict)
            else:
                return replace(
                    whole,
                    needs_compaction=fitted.needs_compaction,
                    token_budget=fitted.token_budget,
                )

    # --- the stream -------------------------------------------------------------------------------

    def stream(self, context_id: str, cursor: int | None, *, include_messages: bool) -> Flow[None]:
        """Yield the frames after *cursor*; None starts at the current version."""
        if cursor is None:
            # Resolve "now" once. If each connection did, a break before the first frame would lose
            # the changes up to the next connection.
            cursor = (yield from self.info(context_id)).version
        yield from follow(
            context_id, Position(cursor), self._retries, include_messages=include_messages
        )
