"""
Forks: a new context with the path of another, copied in pieces.

While it is copied, the new context is *forming*: it can be neither read nor listed, and its id is
taken. The last piece makes it active in the same commit, so there is the whole fork or none. If a
node dies in between, what it has left counts as abandoned after a minute, and is erased by the next
fork to that id, by the periodic cleanup, or on a single node at its start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from fastpaca.context import ContextState
from fastpaca.context.draft import parse
from fastpaca.context.forking import ForkedWindow, forked_window
from fastpaca.context.ops import BeginFork, Copied, CopyMessages
from fastpaca.engine import Engine, Keyed, ResponseWriter, Written
from fastpaca.errors import (
    AlreadyExists,
    ContextNotFound,
    FastpacaError,
    IdempotencyConflict,
    OutcomeUnknown,
    Purged,
    Unavailable,
)
from fastpaca.offload import PARSE, REBUILD, offload
from fastpaca.store.base import MessageRow

logger = logging.getLogger(__name__)

PIECE_ROWS: Final = 500
"""The most messages of a piece."""

PIECE_BYTES: Final = 1024 * 1024
"""The most bytes of a piece, unless one message has more: so that other commits wait little."""

LEFT_MAX: Final = 1000
"""How many forks to remember that could not be erased, so that a retry need not wait a minute."""


class ForkRequest(NamedTuple):
    """
    A fork to make.

    Attributes:
        fork_id: The id of the new context.
        metadata: Its metadata.
        write_response: Writes the response, once it is there.
        keyed: The idempotency key that the response is stored under, or None.
    """

    fork_id: str
    metadata: bytes
    write_response: ResponseWriter
    keyed: Keyed | None


class Forks:
    """Makes forks in *engine*. One that has begun goes on, even if its caller leaves."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: dict[asyncio.Task[Written], Keyed | None] = {}
        self._left: dict[str, int] = {}  # by id, when those were created that are still to erase

    async def make(self, past: ContextState, request: ForkRequest) -> Written:
        """
        Make a fork of *past*, a context as it is or was after a version.

        Raises:
            AlreadyExists: Its id is taken.
            Purged: Its id can't be used again.
            ContextNotFound: The source was purged meanwhile.
            Unavailable: It can't be made now; nothing of it is left, or soon nothing.
            OutcomeUnknown: It may have been made.
        """
        task = asyncio.create_task(self._make(past, request))
        self._tasks[task] = request.keyed
        task.add_done_callback(self._end)
        try:
            return await asyncio.shield(task)
        except AlreadyExists:  # perhaps the same request has just ended
            made = await self.made(past, request.fork_id, request.keyed)
            if made is None:
                raise
            return made

    async def made(self, source: ContextState, fork_id: str, keyed: Keyed | None) -> Written | None:
        """
        Return what the same request made before, or is making; None if there is none.

        Raises:
            IdempotencyConflict: The key was used with another request.
            FastpacaError: As in `make`.
        """
        if keyed is None:
            return None
        running = await self._running(keyed)
        if running is not None:
            return running
        stored = await self._engine.stored_response(keyed)
        if stored is None:
            return None
        try:
            await self._engine.read(fork_id)
        except ContextNotFound:  # it was purged since
            return None
        return Written(source, (), stored, replayed=True)

    async def _running(self, keyed: Keyed) -> Written | None:
        """
        Wait for the fork that is being made here under this key; None if there is none.

        Raises:
            IdempotencyConflict: The key was used with another request.
            FastpacaError: As in `make`.
        """
        for task, other in self._tasks.items():
            if other is not None and other.key == keyed.key:
                if other.fingerprint != keyed.fingerprint:
                    raise IdempotencyConflict
                return replace(await asyncio.shield(task), replayed=True)
        return None

    def _end(self, task: asyncio.Task[Written]) -> None:
        del self._tasks[task]
        if not task.cancelled():
            task.exception()  # so that asyncio does not report it if the caller has left

    async def _make(self, past: ContextState, request: ForkRequest) -> Written:
        begun = await self._begun(past, request)
        try:
            return await self._copied(past, request, begun.created_at_us)
        except BaseException:
            with suppress(FastpacaError):  # a retry, or another node, then erases it
                await self._drop(request.fork_id, begun.created_at_us)
            raise

    async def _drop(self, fork_id: str, created_at_us: int | None) -> None:
        """Erase a fork of this node, or one that was abandoned."""
        try:
            await self._engine.drop_fork(fork_id, created_at_us)
        except (Unavailable, OutcomeUnknown):
            if created_at_us is not None:
                self._left[fork_id] = created_at_us
                if len(self._left) > LEFT_MAX:
                    del self._left[next(iter(self._left))]
            raise

    async def _begun(self, past: ContextState, request: ForkRequest) -> ContextState:
        """Create the new context, perhaps in place of one that was abandoned."""
        op = BeginFork(past.config, request.metadata, (past.id, past.version))
        begin = partial(self._engine.write, request.fork_id, op, _no_response)
        try:
            written = await begin()
        except Purged:
            raise Purged(
                "A context with this id was purged; choose another id.",
                field="id",
            ) from None
        except AlreadyExists:
            with suppress(ContextNotFound):  # it is gone already
                await self._drop(request.fork_id, self._left.pop(request.fork_id, None))
            written = await begin()
        return written.context

    async def _copied(
        self, past: ContextState, request: ForkRequest, created_at_us: int
    ) -> Written:
        """Copy the path of *past*, piece by piece."""
        places: list[int] = []
        end = past.window.end
        while True:
            after = places[-1] if places else 0
            rows = await self._engine.pages.path(
                past, after + 1, end, PIECE_ROWS, bytes_max=PIECE_BYTES
            )
            places += [row.place for row in rows]
            copied = await offload(
                PARSE, sum([len(row.body) for row in rows]), partial(_copy, rows)
            )
            op = CopyMessages(copied, len(places) - len(rows), created_at_us)
            if not rows or places[-1] == end:
                break
            await self._engine.write(request.fork_id, op, _no_response)
            logger.info(
                "forking: %d messages are copied",
                len(places),
                extra={"context_id": request.fork_id},
            )
        window = await self._window(past, places)
        await self._engine.read(past.id)  # it may have been purged meanwhile
        last = CopyMessages(
            op.messages,
            op.after_seq,
            created_at_us,
            ends=True,
            window=None if window is None else window.window,
            tokens=0 if window is None else window.tokens,
            replacement=() if window is None else window.replacement,
        )
        return await self._engine.write(
            request.fork_id, last, request.write_response, request.keyed
        )

    async def _window(self, past: ContextState, places: Sequence[int]) -> ForkedWindow | None:
        window = past.window.apart()
        make = partial(forked_window, window, places)
        return await offload(REBUILD, window.text_bytes, make, items=len(window))


def _copy(rows: Iterable[MessageRow]) -> tuple[Copied, ...]:
    return tuple(
        [
            Copied(
                row.body, row.counts, row.origin, parse(row.body, "message").message_id, row.at_us
            )
            for row in rows
        ]
    )


def _no_response(*_: object) -> bytes:
    return b""
