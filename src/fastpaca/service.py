"""
One method per API verb: count the tokens, create the operation, return the response.

Arguments are valid values from `api/bodies.py`. A `ResponseWriter` encodes the response, since a
stored response must be written before its commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from fastpaca.context import ContextState, WindowView
from fastpaca.context.draft import Draft
from fastpaca.context.events import Appended
from fastpaca.context.explain import Explanation, Fate
from fastpaca.context.message import Entry
from fastpaca.context.ops import Append, Compact, Counted, Delete, PatchMetadata, Purge, Put
from fastpaca.context.usage import Usage
from fastpaca.context.window import Window
from fastpaca.engine import Engine, Keyed, ResponseWriter, Written
from fastpaca.errors import ContextNotFound, InvalidRequest
from fastpaca.formats import AskedFormat, RenderedView, rendered_view
from fastpaca.offload import COUNT, FIT, LOOK_BACK, RENDER, offload
from fastpaca.references import references
from fastpaca.store.base import CompactionRow, ContextRow, MessageRow
from fastpaca.stream.follower import Follower
from fastpaca.stream.subscription import Encode
from fastpaca.telemetry import Metrics
from fastpaca.tokens import TokenCounter, count_message

REWRITES_AT_ONCE: Final = 100
"""How many rewrites of a window are read at once to find out what became of its messages."""


def no_body(*_: object) -> bytes:
    """Return the empty body of a 204."""
    return b""


class Service:
    """What fastpaca does, one method per verb. Errors are those of `fastpaca.errors`."""

    def __init__(self, engine: Engine, counter: TokenCounter, metrics: Metrics) -> None:
        self._engine = engine
        self._pages = engine.pages
        self._counter = counter
        self._metrics = metrics

    async def put(self, context_id: str, op: Put, write_response: ResponseWriter) -> Written:
        """Create the context or change its configuration."""
        return await self._engine.write(context_id, op, write_response)

    async def get(self, context_id: str) -> ContextState:
        """Return the context."""
        return await self._engine.read(context_id)

    async def contexts(self, prefix: str, after: str, limit: int) -> Sequence[ContextRow]:
        """Return contexts in byte order of their ids; *after* is exclusive."""
        return await self._pages.contexts(prefix, after, limit)

    async def patch_metadata(
        self, context_id: str, op: PatchMetadata, write_response: ResponseWriter
    ) -> Written:
        """Merge *op* into the metadata of the context."""
        return await self._engine.write(context_id, op, write_response)

    async def delete(self, context_id: str, *, purge: bool) -> None:
        """Tombstone the context, or erase it permanently."""
        await self._engine.write(context_id, Purge() if purge else Delete(), no_body)

    async def append(
        self,
        context_id: str,
        drafts: Sequence[Draft],
        if_version: int | None,
        write_response: ResponseWriter,
        keyed: Keyed | None,
        usage: Usage | None = None,
    ) -> Written:
        """Append messages, all or none; *usage* is what the call cost that gave the last one."""
        op = Append(await self._counted(drafts), if_version, usage)
        written = await self._engine.write(context_id, op, write_response, keyed)
        for event in written.events:
            if isinstance(event, Appended):
                self._metrics.appends.note(
                    event.entry.role,
                    event.entry.tokens,
                    counted_by_client=event.draft.token_count is not None,
                )
        if usage is not None and written.events:
            self._metrics.note_reported(usage.by_kind)
        return written

    async def tail(self, context_id: str, offset: int, limit: int) -> Sequence[MessageRow]:
        """Skip the *offset* newest messages and return the next ones, oldest first."""
        return await self._pages.tail(await self._engine.read(context_id), offset, limit)

    async def messages(
        self, context_id: str, from_seq: int | None, to_seq: int | None, limit: int
    ) -> tuple[Sequence[MessageRow], int]:
        """
        Return a page of the log forward, and the version to continue from.

        A *from_seq* of -n starts at the n newest messages. The version is the current one if the
        page reaches the end, else that of its last message.
        """
        context = await self._engine.read(context_id)
        first = 1 if from_seq is None else from_seq
        if first < 0:
            first = max(context.last_seq + first + 1, 1)
        last = context.last_seq if to_seq is None else min(to_seq, context.last_seq)
        page = await self._pages.messages(context, max(first, 1), last, limit)
        return page, _page_version(page, first, context)

    async def at_version(self, context: ContextState, version: int) -> ContextState:
        """
        Return *context* as it was after *version*, under its current configuration.

        Raises:
            InvalidRequest: It has no such version.
        """
        if version > context.version:
            raise InvalidRequest(
                f"Must not be above the current version, {context.version}.", "at_version"
            )
        return await self._pages.at_version(context, version)

    async def compactions(self, context_id: str, after: int, limit: int) -> Sequence[CompactionRow]:
        """Return compactions, oldest first; the version *after* is exclusive."""
        context = await self._engine.read(context_id)
        return await self._pages.compactions(context, after, limit)

    async def view(self, context: ContextState, budget_tokens: int | None) -> WindowView:
        """Return the LLM context: the window fitted to *budget_tokens* or to its own budget."""
        budget = context.config.token_budget if budget_tokens is None else budget_tokens
        window = context.window
        if window.tokens <= budget:
            return context.view(budget_tokens)  # nothing needs to be fitted
        view = partial(context.view, budget_tokens)
        return await offload(FIT, window.text_bytes, view, items=len(window))

    async def rendered(
        self, context: ContextState, budget_tokens: int | None, asked: AskedFormat
    ) -> RenderedView:
        """Return the LLM context in the form of a provider, fitted as in `view`."""
        window = context.window
        render = partial(rendered_view, context, budget_tokens, asked)
        return await offload(RENDER, window.text_bytes, render, items=len(window))

    async def explained(
        self, context: ContextState, view: WindowView, window: Window
    ) -> list[Fate]:
        """
        Return what happened to each message of the log in a *view* of *context*.

        *window* is the window that was fitted.

        Raises:
            ContextNotFound: It was purged meanwhile.
        """
        begin = partial(Explanation, window, view.entries, context.last_seq)
        explanation = await offload(FIT, window.text_bytes, begin, items=len(window))
        before = context.version + 1
        while not explanation.is_done:
            page = await self._pages.compactions_before(context, before, REWRITES_AT_ONCE)
            look_back = partial(explanation.look_back, [(row.version, row.window) for row in page])
            size = sum(len(row.window) for row in page)
            await offload(LOOK_BACK, size, look_back, items=len(page))
            before = page[-1].version if page else 0
        return explanation.ranges()

    async def follow(
        self, context_id: str, cursor: int | None, encode: Encode, *, wants_messages: bool
    ) -> Follower:
        """Follow the context after the version *cursor*; None means from now."""
        return await self._engine.hub.follow(
            context_id, cursor, encode, wants_messages=wants_messages
        )

    async def compact(
        self,
        context_id: str,
        drafts: Sequence[Draft],
        if_version: int | None,
        write_response: ResponseWriter,
        keyed: Keyed | None,
    ) -> Written:
        """Replace the window with *drafts*; those that equal messages of the log are references."""
        kept = await self._references(context_id, drafts)
        rest = [draft for index, draft in enumerate(drafts) if index not in kept]
        counted = iter(await self._counted(rest))
        replacement = tuple(
            kept[index] if index in kept else next(counted) for index in range(len(drafts))
        )
        return await self._engine.write(
            context_id, Compact(replacement, if_version), write_response, keyed
        )

    async def _counted(self, drafts: Sequence[Draft]) -> tuple[Counted, ...]:
        """Count the tokens of *drafts*, in a thread if that would block the event loop."""
        size = sum([len(draft.body) for draft in drafts])
        return await offload(COUNT, size, partial(self._count, drafts))

    def _count(self, drafts: Iterable[Draft]) -> tuple[Counted, ...]:
        return tuple([counted(draft, self._counter) for draft in drafts])

    async def _references(self, context_id: str, drafts: Sequence[Draft]) -> dict[int, Entry]:
        """Return the messages of the log that *drafts* repeat unchanged, by index of the draft."""
        if not any(draft.seq for draft in drafts):
            return {}
        try:
            return await references(self._pages, await self._engine.read(context_id), drafts)
        except ContextNotFound:
            return {}  # the op reports whether it never existed or was purged


def counted(draft: Draft, counter: TokenCounter) -> Counted:
    """
    Count *draft*, and release the texts of its parts, which only counting needs.

    They take up to four times the bytes of the message: with a single emoji in a text, Python
    stores all of its characters in four bytes.
    """
    counts = count_message(counter, draft)
    return Counted(replace(draft, parts=()), counts)


def _page_version(page: Sequence[MessageRow], first: int, context: ContextState) -> int:
    if page:
        newest = page[-1]
        return context.version if newest.seq == context.last_seq else newest.version
    return context.version if first > context.last_seq else 0
