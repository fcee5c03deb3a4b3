"""
One method per API verb: count the tokens, create the operation, return the response.

Arguments are valid values from `api/bodies.py`. A `ResponseWriter` encodes the response, since a
stored response must be written before its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastpaca.context import ContextState, WindowView
from fastpaca.context.config import REWIND
from fastpaca.context.draft import Draft
from fastpaca.context.events import Appended, Event
from fastpaca.context.explain import Explanation, Fate
from fastpaca.context.message import Counts, Entry
from fastpaca.context.ops import (
    Append,
    Compact,
    Counted,
    Delete,
    Past,
    PatchMetadata,
    Purge,
    Put,
    PutMessage,
    Rewind,
)
from fastpaca.context.persisted import Persisted
from fastpaca.context.usage import Usage
from fastpaca.context.window import Window
from fastpaca.engine import Engine, Keyed, ResponseWriter, Written
from fastpaca.engine.rows import log_entry_of
from fastpaca.errors import InvalidRequest, MessageNotFound
from fastpaca.forks import ForkRequest, Forks
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

NOT_COUNTED: Final = Counts(0, 0, (), ())
"""The counts of a message before they are known."""

PutResponseWriter = Callable[[Sequence[Event], Entry | None], bytes]
"""Writes a response from the events of a put and the message that was there before, if any."""


class PathPage(NamedTuple):
    """
    A page of the path.

    Attributes:
        messages: Its messages, by place.
        version: The current version.
        next: The place to continue from; None at the end.
    """

    messages: Sequence[MessageRow]
    version: int
    next: int | None


def no_body(*_: object) -> bytes:
    """Return the empty body of a 204."""
    return b""


class Service:
    """What fastpaca does, one method per verb. Errors are those of `fastpaca.errors`."""

    def __init__(self, engine: Engine, counter: TokenCounter, metrics: Metrics) -> None:
        self._engine = engine
        self._pages = engine.pages
        self._forks = Forks(engine)
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
        self._note_appended(written, usage)
        return written

    def _note_appended(self, written: Written, usage: Usage | None) -> None:
        """Count what was *written* in the metrics."""
        for event in written.events:
            if isinstance(event, Appended):
                self._metrics.appends.note(
                    event.entry.role,
                    event.entry.tokens,
                    counted_by_client=event.draft.token_count is not None,
                )
        if usage is not None and written.events:
            self._metrics.note_reported(usage.by_kind)

    async def put_message(
        self,
        context_id: str,
        message_id: str,
        draft: Draft,
        if_version: int | None,
        write_response: PutResponseWriter,
        keyed: Keyed | None,
        usage: Usage | None = None,
    ) -> Written:
        """Make *draft* the message with its id: append it, or let it revise the one there is."""
        (message,) = await self._counted((draft,))
        op = PutMessage(message, None, if_version, usage)
        present: list[Entry] = []

        async def prepare(context: ContextState) -> PutMessage:
            row = await self._pages.message_on_path(context, message_id)
            present[:] = [] if row is None else [log_entry_of(row)]
            return replace(op, current=present[0] if present else None)

        def respond(_: ContextState, events: Sequence[Event]) -> bytes:
            return write_response(events, present[0] if present else None)

        written = await self._engine.write(context_id, op, respond, keyed, prepare)
        self._note_appended(written, usage)
        return written

    async def message(self, context_id: str, message_id: str) -> MessageRow:
        """
        Return the newest message with an id on the path, else the newest in the log.

        Raises:
            MessageNotFound: There is none.
        """
        context = await self._engine.read(context_id)
        row = await self._pages.message_on_path(context, message_id)
        row = row or await self._pages.message_in_log(context, message_id)
        if row is None:
            await self._engine.read(context_id)  # it may have been purged meanwhile
            raise MessageNotFound
        return row

    async def tail_of_path(self, context_id: str, offset: int, limit: int) -> PathPage:
        """Skip the *offset* newest messages of the path and return the next ones, oldest first."""
        context = await self._engine.read(context_id)
        end = context.window.end
        page = await self._pages.path(context, 1, end, limit, skip=offset, newest_first=True)
        ranges = context.window.path.ranges(context.last_seq)
        next_ = page[-1].place - 1 if page and page[-1].place > ranges[0][0] else None
        return PathPage(page[::-1], context.version, next_)

    async def path(
        self, context_id: str, from_place: int | None, to_place: int | None, limit: int
    ) -> PathPage:
        """
        Return a page of the path, forward by place.

        A *from_place* of -n starts at the n newest messages of the path.
        """
        context = await self._engine.read(context_id)
        end = context.window.end
        first = 1 if from_place is None else from_place
        if first < 0:
            nth = await self._pages.path(context, 1, end, 1, skip=-first - 1, newest_first=True)
            first = nth[0].place if nth else 1
        last = end if to_place is None else min(to_place, end)
        page = await self._pages.path(context, first, last, limit) if first <= last else []
        next_ = page[-1].place + 1 if page and page[-1].place < last else None
        return PathPage(page, context.version, next_)

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
        Return what happened to each message of the path in a *view* of *context*.

        *window* is the window that was fitted.

        Raises:
            ContextNotFound: It was purged meanwhile.
        """
        places = await self._pages.places(context)
        begin = partial(Explanation, window, view.entries, places)
        explanation = await offload(FIT, window.text_bytes, begin, items=len(window))
        before = context.version + 1
        while not explanation.is_done:
            page = await self._pages.compactions_before(context, before, REWRITES_AT_ONCE)
            rewrites, before = _of_this_path(page, before)
            if rewrites or not page:
                size = sum(len(window) for _, window in rewrites)
                look_back = partial(explanation.look_back, rewrites)
                await offload(LOOK_BACK, size, look_back, items=len(rewrites))
        return explanation.ranges()

    async def follow(
        self, context_id: str, cursor: int | None, encode: Encode, *, wants_messages: bool
    ) -> Follower:
        """Follow the context after the version *cursor*; None means from now."""
        return await self._engine.hub.follow(
            context_id, cursor, encode, wants_messages=wants_messages
        )

    async def rewind(
        self,
        context_id: str,
        op: Rewind,
        write_response: ResponseWriter,
        keyed: Keyed | None,
    ) -> Written:
        """Let path and window become what they were after a version."""

        async def prepare(context: ContextState) -> Rewind:
            version, fault = op.target, ""
            if op.is_place:
                version, fault = await self._version_at(context, op.target)
            if fault or version >= context.version:
                return replace(op, fault=fault)
            past = await self._pages.at_version(context, version)
            return replace(op, past=Past(past.version, past.last_seq, past.window))

        return await self._engine.write(context_id, op, write_response, keyed, prepare)

    async def _version_at(self, context: ContextState, place: int) -> tuple[int, str]:
        """Return the version before the message after *place*; else why there is none."""
        window = context.window
        if place == window.end:
            return context.version, ""
        if place > context.last_seq:
            return 0, f"Must not be after the last place of the path, {window.end}."
        if place > window.end:
            return 0, await self._why_no_place(context, place)
        page = await self._pages.path(context, max(place, 1), window.end, 2)
        if place and (not page or page[0].place != place):
            return 0, await self._why_no_place(context, place)
        following = page[1 if place else 0].place
        (first,) = await self._pages.messages(context, following, following, 1)
        return first.version - 1, ""

    async def _why_no_place(self, context: ContextState, seq: int) -> str:
        (row,) = await self._pages.messages(context, seq, seq, 1)
        if row.revises is not None:
            return f"The row {seq} revises the message at place {row.place}: name that place."
        return f"The message {seq} is not on the path; name one that is, or a version."

    async def fork(
        self,
        source: ContextState,
        at_version: int | None,
        fork_id: str,
        metadata: bytes | None,
        write_response: ResponseWriter,
        keyed: Keyed | None,
    ) -> Written:
        """
        Make a new context with the path of *source* up to a version, its window and configuration.

        Raises:
            AlreadyExists: There is a context with the id *fork_id*.
        """
        made = await self._forks.made(source, fork_id, keyed)
        if made is not None:
            return made
        past = source if at_version is None else await self.at_version(source, at_version)
        metadata = source.metadata if metadata is None else metadata
        return await self._forks.make(past, ForkRequest(fork_id, metadata, write_response, keyed))

    async def compact(
        self,
        context_id: str,
        drafts: Sequence[Draft],
        if_version: int | None,
        write_response: ResponseWriter,
        keyed: Keyed | None,
    ) -> Written:
        """Replace the window with *drafts*; those that equal messages on the path refer to them."""
        if not any(draft.seq for draft in drafts):
            op = Compact(await self._counted(drafts), if_version)
            return await self._engine.write(context_id, op, write_response, keyed)

        async def prepare(context: ContextState) -> Compact:
            kept = await references(self._pages, context, drafts)
            rest = [draft for index, draft in enumerate(drafts) if index not in kept]
            counted = iter(await self._counted(rest))
            replacement = [
                kept[index] if index in kept else next(counted) for index in range(len(drafts))
            ]
            return Compact(tuple(replacement), if_version)

        uncounted = Compact(tuple([Counted(draft, NOT_COUNTED) for draft in drafts]), if_version)
        return await self._engine.write(context_id, uncounted, write_response, keyed, prepare)

    async def _counted(self, drafts: Sequence[Draft]) -> tuple[Counted, ...]:
        """Count the tokens of *drafts*, in a thread if that would block the event loop."""
        size = sum([len(draft.body) for draft in drafts])
        return await offload(COUNT, size, partial(self._count, drafts))

    def _count(self, drafts: Iterable[Draft]) -> tuple[Counted, ...]:
        return tuple([counted(draft, self._counter) for draft in drafts])


def counted(draft: Draft, counter: TokenCounter) -> Counted:
    """
    Count *draft*, and release the texts of its parts, which only counting needs.

    They take up to four times the bytes of the message: with a single emoji in a text, Python
    stores all of its characters in four bytes.
    """
    counts = count_message(counter, draft)
    return Counted(replace(draft, parts=()), counts)


def _of_this_path(
    page: Sequence[CompactionRow], before: int
) -> tuple[list[tuple[int, bytes]], int]:
    """
    Return the rewrites of a *page* before a version, newest first, that led to the window after it.

    A rewind drops everything after the version that it goes back to, and has the window of that
    version. The number is where the next page begins.
    """
    rewrites: list[tuple[int, bytes]] = []
    for row in page:
        if row.version >= before:
            continue
        before = row.version
        to_version = Persisted.decode(row.window).to_version if row.strategy == REWIND else None
        if to_version is None:
            rewrites.append((row.version, row.window))
        else:
            before = to_version + 1
    return rewrites, before


def _page_version(page: Sequence[MessageRow], first: int, context: ContextState) -> int:
    if page:
        newest = page[-1]
        return context.version if newest.seq == context.last_seq else newest.version
    return context.version if first > context.last_seq else 0
