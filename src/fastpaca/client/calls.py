"""
The verbs of a client as flows, one method each: what `Fastpaca` and `AsyncFastpaca` have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fastpaca.client import compacting, protocol
from fastpaca.client.errors import UnexpectedAnswer
from fastpaca.client.flow import Ask, Flow, Give, exchange, key_or_new
from fastpaca.client.following import Position, follow
from fastpaca.client.protocol import Answer, Reader, Request, path_of
from fastpaca.client.terms import Retries, Timeouts
from fastpaca.client.values import (
    Appended,
    Compacted,
    Compaction,
    ContextInfo,
    Message,
    Policy,
    View,
)
from fastpaca.errors import VersionConflict

T = TypeVar("T")

CONFLICTS_MAX = 5
"""How often a compaction is overtaken, in a read or in its write, before it gives up."""


class Patience:
    """How many conflicts a call still overcomes."""

    def __init__(self, conflicts_max: int) -> None:
        self._left = conflicts_max

    def lose(self, conflict: VersionConflict) -> None:
        """
        Count a *conflict*.

        Raises:
            VersionConflict: It was the last that the call overcomes.
        """
        self._left -= 1
        if self._left == 0:
            raise conflict


class Calls:
    """Makes flows that go by the same terms."""

    def __init__(self, timeouts: Timeouts, retries: Retries) -> None:
        self._timeouts = timeouts
        self._retries = retries

    def _exchange(self, request: Request) -> Flow[Answer]:
        return exchange(request, self._timeouts, self._retries)

    def _read(self, request: Request, reader: Reader[T]) -> Flow[T]:
        """
        Send *request* until it is answered, and read the value of the answer.

        Raises:
            UnexpectedAnswer: It is none of a node.
        """
        answer = yield from self._exchange(request)
        try:
            return reader(answer.body)
        except UnexpectedAnswer as error:
            protocol.note_answer(error, answer)
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
        """Create a context, or change what is given of its configuration."""
        request = protocol.put(context_id, budget, trigger, policy, metadata)
        return (yield from self._read(request, protocol.context_info))

    def info(self, context_id: str) -> Flow[ContextInfo]:
        """Read how a context is configured."""
        return (yield from self._read(protocol.get(path_of(context_id)), protocol.context_info))

    def patch_metadata(self, context_id: str, changes: Mapping[str, Any]) -> Flow[ContextInfo]:
        """Merge *changes* into the metadata."""
        return (
            yield from self._read(
                protocol.patch_metadata(context_id, changes), protocol.context_info
            )
        )

    def delete(self, context_id: str, *, purge: bool) -> Flow[None]:
        """Delete a context."""
        yield from self._exchange(protocol.delete(context_id, purge=purge))

    def contexts(self, prefix: str | None, limit: int | None) -> Flow[None]:
        """Give all contexts, page by page."""
        after: str | None = None
        while True:
            request = protocol.get("/v1/contexts", prefix=prefix, after=after, limit=limit)
            page = yield from self._read(request, protocol.contexts_page)
            for found in page.contexts:
                yield Give(found)
            if page.next is None:
                return
            after = page.next

    # --- messages ---------------------------------------------------------------------------------

    def append(
        self,
        context_id: str,
        messages: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        if_version: int | None,
        token_count: int | None,
        key: str | None,
    ) -> Flow[Appended | list[Appended]]:
        """Append a message, or several."""
        key = yield from key_or_new(key)
        request = protocol.append(context_id, messages, if_version, token_count, key)
        if isinstance(messages, Mapping):
            return (yield from self._read(request, protocol.appended))
        return (yield from self._read(request, protocol.batch)).results

    def tail(self, context_id: str, offset: int | None, limit: int | None) -> Flow[list[Message]]:
        """Read the newest messages."""
        request = protocol.get(path_of(context_id, "tail"), offset=offset, limit=limit)
        return (yield from self._read(request, protocol.messages_page)).messages

    def messages(
        self, context_id: str, from_seq: int | None, to_seq: int | None, limit: int | None
    ) -> Flow[None]:
        """Give messages of the log, page by page, up to what is its end when that is reached."""
        path = path_of(context_id, "messages")
        while True:
            request = protocol.get(path, from_seq=from_seq, to_seq=to_seq, limit=limit)
            page = yield from self._read(request, protocol.messages_page)
            for message in page.messages:
                yield Give(message)
            last = page.messages[-1] if page.messages else None
            # A page has the version of its last message, unless it reaches the end of the log.
            if last is None or last.seq == to_seq or last.version != page.version:
                return
            assert last.seq is not None
            from_seq = last.seq + 1

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
        request = protocol.get(
            path_of(context_id, "context"),
            budget_tokens=budget_tokens,
            if_version=if_version,
            at_version=at_version,
            explain=explain or None,
        )
        return (yield from self._read(request, protocol.view))

    def compact(
        self,
        context_id: str,
        replacement: Sequence[Mapping[str, Any]],
        if_version: int | None,
        key: str | None = None,
    ) -> Flow[Compacted]:
        """Replace the window."""
        key = yield from key_or_new(key)
        request = protocol.compact(context_id, replacement, if_version, key)
        return (yield from self._read(request, protocol.compacted))

    def compactions(self, context_id: str, after: int | None, limit: int | None) -> Flow[None]:
        """Give what has rewritten the window, page by page."""
        path = path_of(context_id, "compactions")
        while True:
            request = protocol.get(path, after=after, limit=limit)
            page = yield from self._read(request, protocol.compactions_page)
            if not page.compactions:
                return
            compaction: Compaction
            for compaction in page.compactions:
                yield Give(compaction)
            after = page.compactions[-1].version

    def compact_if_needed(
        self,
        context_id: str,
        summarise: Callable[[list[Message]], Any],
        keep_last: int,
    ) -> Flow[Compacted | None]:
        """
        Replace old messages by a summary, if the window is above its trigger.

        What is appended while the summary is made stays: if the part that was summarised is as it
        was, the summary is committed before the messages of now; else all is read and summarised
        again.

        Raises:
            CannotCompact: What has to stay is above the trigger by itself.
            VersionConflict: The context moved on too often.
        """
        plan: compacting.Plan | None = None
        summary: list[Mapping[str, Any]] = []
        patience = Patience(CONFLICTS_MAX)
        while True:
            window = yield from self._whole_window(context_id, patience)
            if not window.needs_compaction:
                return None
            if plan is None or not plan.holds_for(window):
                trigger = compacting.trigger_of((yield from self.info(context_id)))
                plan = compacting.plan(window, keep_last, trigger)
                if plan is None:
                    return None
                summary = compacting.summary_of((yield Ask(summarise, plan.old)))
            replacement = plan.replacement(window, summary)
            try:
                return (yield from self.compact(context_id, replacement, window.version))
            except VersionConflict as conflict:
                patience.lose(conflict)

    def _whole_window(self, context_id: str, patience: Patience) -> Flow[View]:
        """Read the window with nothing left out, and whether it needs compaction as configured."""
        while True:
            seen = yield from self.view(context_id)
            if seen.fit == "whole" or not seen.needs_compaction:
                return seen
            try:
                whole = yield from self.view(context_id, seen.window_tokens, seen.version)
            except VersionConflict as conflict:
                patience.lose(conflict)
            else:
                return View(
                    version=whole.version,
                    messages=whole.messages,
                    used_tokens=whole.used_tokens,
                    needs_compaction=seen.needs_compaction,
                    segments=whole.segments,
                    token_budget=seen.token_budget,
                    window_tokens=whole.window_tokens,
                    fit=whole.fit,
                )

    # --- the stream -------------------------------------------------------------------------------

    def stream(self, context_id: str, cursor: int | None, *, include_messages: bool) -> Flow[None]:
        """Give the frames behind *cursor*, or from now on."""
        if cursor is None:
            # Asked for once: were it left to each connection, what happens between the first one
            # and its first frame would be lost if it breaks there.
            cursor = (yield from self.info(context_id)).version
        yield from follow(
            context_id, Position(cursor), self._retries, include_messages=include_messages
        )
