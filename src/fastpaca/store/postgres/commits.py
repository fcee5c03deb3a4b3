"""
Commits, which are retried when they lose against others, and resolved when their response is lost.

The expected revisions make retries safe: a transaction based on a stale state changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastpaca.store.base import CommitFailed, CommitUnknown
from fastpaca.store.postgres import writes
from fastpaca.store.postgres.connections import jittered
from fastpaca.store.postgres.database import Database
from fastpaca.store.postgres.errors import FAILURES, TIES, Unreachable, described
from fastpaca.store.postgres.rows import PostgresBatch

RESOLVE_SECONDS: Final = 20.0
"""How long to look for the outcome of a commit whose response was lost."""

ATTEMPTS: Final = 6
"""How often to try a commit that loses against those of other nodes."""

PAUSE_SECONDS: Final = 0.02
"""How long to wait before the first retry; each pause is twice as long as the last."""


class PostgresCommits:
    """
    Commits batches to *database*.

    Args:
        database: The database.
        answer_seconds: How long to wait for the response to a commit.
        resolve_seconds: How long to look for the outcome of one whose response was lost.
    """

    def __init__(self, database: Database, answer_seconds: float, resolve_seconds: float) -> None:
        self._database = database
        self._answer_seconds = answer_seconds
        self._resolve_seconds = resolve_seconds

    async def commit(self, batch: PostgresBatch) -> None:
        """
        Commit *batch*; purged content is erased when this returns.

        Raises:
            CommitStale: Another node was first, or an id or a key is taken.
            CommitFailed: Certainly nothing was written.
            CommitUnknown: It may have been written.
        """
        await self._commit(batch)
        if not batch.purges:
            return
        timeout = self._database.timeout
        try:
            await self._database.write(lambda c: writes.erase(c, batch.purges, timeout))
        except CommitFailed as error:
            message = f"purged, but not yet erased: {error}"
            purged = [batch.ids[stored_id] for stored_id in batch.purges]
            raise CommitUnknown(message, fatal=False, context_ids=purged) from error

    async def _commit(self, batch: PostgresBatch) -> None:
        """Commit, and retry while it loses against other transactions."""
        for attempt in range(ATTEMPTS):
            try:
                await self._database.write(
                    lambda c: self._transact(c, batch),
                    passed_on=TIES,
                    about=batch.ids if len(batch.ids) == 1 else (),
                )
            except TIES as error:
                if attempt == ATTEMPTS - 1:
                    raise CommitFailed(described(error)) from error
                await asyncio.sleep(jittered(PAUSE_SECONDS * 2**attempt))
            except writes.AnswerLost as error:
                await self._resolve(batch, described(error.__cause__ or error))
                return
            else:
                return

    async def _transact(self, connection: Any, batch: PostgresBatch) -> None:
        database = self._database
        await writes.write(
            connection, batch, database.timeout, is_distributed=database.is_distributed
        )
        await writes.end(connection, self._answer_seconds)
        database.watch.note_use()

    async def _resolve(self, batch: PostgresBatch, reason: str) -> None:
        """Find out what became of a commit whose response was lost; return if it was committed."""
        try:
            async with asyncio.timeout(self._resolve_seconds):
                landed = await self._landed(batch)
        except TimeoutError:
            landed = None
        if landed is None:
            raise CommitUnknown(f"no answer to a commit: {reason}", fatal=False)
        if not landed:
            raise CommitFailed(f"the connection was lost at the commit: {reason}")

    async def _landed(self, batch: PostgresBatch) -> bool | None:
        """Ask until the database responds; None if it no longer knows."""
        database = self._database
        pause = PAUSE_SECONDS
        while True:
            try:
                async with database.connections.writer() as connection:
                    return await writes.find_out(
                        connection, batch, database.timeout, is_distributed=database.is_distributed
                    )
            except (*FAILURES, Unreachable, writes.AnswerLost, writes.OutcomeOpen):
                await asyncio.sleep(jittered(pause))
                pause = min(pause * 2, 1.0)
