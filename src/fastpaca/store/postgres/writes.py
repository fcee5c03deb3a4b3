"""
What writes to PostgreSQL: commits, finding out their outcome, erasing, and forgetting.

A commit is one transaction with one statement per table. It updates contexts that are still at the
expected revision; if some are not, another node was first, and it is rolled back.

When the response to COMMIT is lost, the transaction may still be running. But it locks the rows
that it has written until it ends. So a transaction that locks such a row waits for that end, and
then sees the result. That needs no privileges and works through any proxy. On a distributed
database, the commit may have ended on one server and be prepared on another, so every row is locked
before anything is concluded; if that takes too long, the outcome stays unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

from fastpaca.store.base import CommitFailed, CommitStale, CommitUnknown
from fastpaca.store.postgres import statements as sql
from fastpaca.store.postgres.errors import TIES
from fastpaca.store.postgres.primary import fetched
from fastpaca.store.postgres.rows import PostgresBatch, Rows, columns, is_landed, pieces

ANSWER_SECONDS: Final = 5.0
"""How long to wait for the response to COMMIT before looking for its outcome."""

_ERASURES: Final = (
    sql.ERASE_MESSAGES,
    sql.ERASE_SYNTHETICS,
    sql.ERASE_COMPACTIONS,
    sql.ERASE_ANSWERS,
)

# A context that is forming has no stored responses.
_FORK_ERASURES: Final = (sql.ERASE_MESSAGES, sql.ERASE_SYNTHETICS, sql.ERASE_COMPACTIONS)


def _noted(response: asyncio.Future[Any]) -> None:
    """Retrieve the error of *response*, so that asyncio does not report it."""
    if not response.cancelled():
        response.exception()


class AnswerLost(Exception):
    """COMMIT was sent, and no response says what became of it."""


class OutcomeOpen(Exception):
    """Some contexts have the commit and some don't: its outcome is still open."""


async def write(
    connection: Any,
    batch: PostgresBatch,
    timeout: float,  # noqa: ASYNC109  # that of a statement
    *,
    is_distributed: bool = False,
) -> None:
    """
    Begin a transaction and write *batch* in it.

    Raises:
        CommitStale: For some contexts, it is based on a stale state.
        CommitFailed: Some of its rows exist already.
    """
    await connection.execute(connection.begin, timeout=timeout)
    taken: list[Any] = []
    if batch.updates:
        update = sql.UPDATE_CONTEXTS.sql if is_distributed else sql.UPDATE_CONTEXTS_OF_ONE_SERVER
        taken += await connection.fetch(update, *columns(batch.updates), timeout=timeout)
    put = partial(_inserted, connection, timeout=timeout, is_distributed=is_distributed)
    taken += await put(sql.INSERT_CONTEXTS, batch.insertions)
    if len(taken) < len(batch.ids):
        stale_ids = batch.ids.keys() - {context_id for (context_id,) in taken}
        raise CommitStale(
            "a revision is not the expected one, or an id is taken",
            frozenset(batch.ids[context_id] for context_id in stale_ids),
        )
    if batch.purges and batch.keys:
        keys = list(batch.keys)
        await connection.execute(sql.FREE_KEYS.sql, keys, batch.purges, timeout=timeout)
    free = {key_hash for (key_hash,) in await put(sql.INSERT_ANSWERS, batch.records)}
    if len(free) < len(batch.keys):
        owners = frozenset(batch.keys[key_hash] for key_hash in batch.keys.keys() - free)
        raise CommitStale("a key is taken", owners)
    for statement, rows in batch.content:
        if await _insert(connection, statement, rows, timeout, is_distributed) < len(rows):
            raise CommitFailed(f"rows are there already: {statement.name}")


async def _inserted(
    connection: Any,
    statement: sql.Rows,
    rows: Rows,
    *,
    timeout: float,  # noqa: ASYNC109  # that of a statement
    is_distributed: bool,
) -> list[Any]:
    """Insert those of *rows* that don't exist, and return what the statement returns for them."""
    results: list[Any] = []
    for text, values in _texts(statement, rows, is_distributed):
        results += await connection.fetch(text, *values, timeout=timeout)
    return results


async def _insert(
    connection: Any,
    statement: sql.Rows,
    rows: Rows,
    timeout: float,  # noqa: ASYNC109  # that of a statement
    is_distributed: bool,  # it has no default
) -> int:
    """Insert *rows*, and return how many were new."""
    done = [
        await connection.execute(text, *values, timeout=timeout)
        for text, values in _texts(statement, rows, is_distributed)
    ]
    return sum(int(tag.rpartition(" ")[2]) for tag in done)


def _texts(
    statement: sql.Rows,
    rows: Rows,
    is_distributed: bool,  # it has no default
) -> Iterable[tuple[str, Iterable[object]]]:
    """Return the texts that insert *rows*, each with its parameters."""
    if is_distributed or not rows:
        return pieces(statement, rows)
    return [(statement.arrays, columns(rows))]


async def end(connection: Any, timeout: float) -> None:  # noqa: ASYNC109  # that of a statement
    """
    Commit what was written.

    Raises:
        AnswerLost: The outcome is unknown, and *connection* can't be used again.
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It was written, and the server warns that it may not be durable.
    """
    warnings: list[str] = []

    def note(_: object, message: Any) -> None:
        if message.severity_en == "WARNING":
            warnings.append(message.message)

    connection.add_log_listener(note)
    # On a timeout, the driver would ask the server to cancel. But while the server waits for a
    # standby, it has already committed: the commit would become visible without being durable.
    response = asyncio.ensure_future(connection.execute("COMMIT"))
    response.add_done_callback(_noted)
    await asyncio.wait([response], timeout=timeout)
    if not response.done():
        connection.terminate()
        await asyncio.wait([response])
    connection.remove_log_listener(note)
    error = response.exception()
    if isinstance(error, TIES):
        raise error
    if error is not None:
        raise AnswerLost from error
    if response.result() != "COMMIT":
        raise CommitFailed("the database rolled the transaction back")
    if warnings:
        raise CommitUnknown(f"committed with a warning: {warnings[0]}", fatal=False)


async def find_out(
    connection: Any,
    batch: PostgresBatch,
    timeout: float,  # noqa: ASYNC109  # that of a statement
    *,
    is_distributed: bool = False,
) -> bool | None:
    """
    Wait until the commit of *batch* has ended everywhere, and return whether it succeeded.

    This locks all of its contexts, each of which the commit locks until it ends. A distributed
    database ends a transaction on one server after the other, so one context says nothing about the
    next: the commit has succeeded only if all have it. None if so many commits came after it that
    the outcome is no longer known.

    Raises:
        OutcomeOpen: Some contexts have it and some don't, so it may still be running.
        AnswerLost, CommitFailed, CommitUnknown: The database may not keep what it shows.
    """
    insert = partial(_inserted, connection, timeout=timeout, is_distributed=is_distributed)
    if batch.records:
        # A repeated request must find its record. But a missing one proves nothing, since a purge
        # may have deleted it meanwhile.
        await connection.execute(connection.begin, timeout=timeout)
        await insert(sql.INSERT_ANSWERS, batch.records)
        await connection.execute("ROLLBACK", timeout=timeout)
    await connection.execute(connection.begin, timeout=timeout)
    told = await _testimonies(connection, batch, insert, timeout)
    if True not in told:
        await connection.execute("ROLLBACK", timeout=timeout)
        return False if False in told else None
    if False in told:
        await connection.execute("ROLLBACK", timeout=timeout)
        raise OutcomeOpen
    # If the wait for a standby was ended early, the commit is visible before it is durable. A later
    # commit waits for the same standby, and is durable only if this one is.
    await end(connection, timeout)
    return True


async def _testimonies(
    connection: Any,
    batch: PostgresBatch,
    insert: Callable[[sql.Rows, Rows], Awaitable[list[Any]]],
    timeout: float,  # noqa: ASYNC109  # that of a statement
) -> set[bool | None]:
    """
    Lock all contexts of *batch*, and return what they say about its commit.

    The locks are taken in the order of a commit, to avoid deadlocks.
    """

    async def touched(ids: list[bytes]) -> list[Any]:
        rows: list[Any] = await connection.fetch(sql.TOUCH_CONTEXTS.sql, ids, timeout=timeout)
        return rows

    witnesses = batch.witnesses()
    old = [key for key, witness in witnesses.items() if witness.insertion is None]
    # An uncommitted row can't be seen or locked, but inserting the same row waits for it.
    insertions = [w.insertion for w in witnesses.values() if w.insertion is not None]
    rows = await touched(old) if old else []
    missing = {context_id for (context_id,) in await insert(sql.INSERT_CONTEXTS, insertions)}
    new = sorted(witnesses.keys() - {*old, *missing})
    rows += await touched(new) if new else []
    told = {is_landed(witnesses[context_id], *state) for context_id, *state in rows}
    return told if len(rows) == len(witnesses) else {*told, False}


async def secure(connection: Any, key_hashes: list[bytes], timeout: float) -> None:  # noqa: ASYNC109  # that of a statement
    """
    Make sure that the idempotency records of these keys, which can be read, are also durable.

    Their commit may not have waited for a standby, after an intervention or a crash. A later commit
    waits for the same standby, and is durable only if theirs is.

    Raises:
        AnswerLost, CommitFailed, CommitUnknown: They may not be durable.
    """
    await connection.execute(connection.begin, timeout=timeout)
    await connection.execute(sql.TOUCH_ANSWERS.sql, key_hashes, timeout=timeout)
    await end(connection, timeout)


async def erase(
    connection: Any,
    purged: Iterable[bytes],
    timeout: float,  # noqa: ASYNC109  # that of a statement
) -> None:
    """Erase content of purged contexts, piece by piece; other nodes may do so at the same time."""
    for context_id in purged:
        for statement in _ERASURES:
            while (
                await connection.execute(statement.sql, context_id, timeout=timeout) != "DELETE 0"
            ):
                pass
        await connection.execute(sql.ERASED.sql, context_id, timeout=timeout)


async def drop(
    connection: Any,
    context_id: bytes,
    revision: int,
    timeout: float,  # noqa: ASYNC109  # that of a statement
) -> None:
    """
    Erase a forming context at *revision*, piece by piece, and its row at last.

    Its revision shows that no other node copies into it any more.
    """
    touched = await connection.execute(sql.TOUCH_FORK.sql, context_id, revision, timeout=timeout)
    if touched == "UPDATE 0":
        return
    for statement in _FORK_ERASURES:
        while await connection.execute(statement.sql, context_id, timeout=timeout) != "DELETE 0":
            pass
    await connection.execute(sql.DROP_FORK.sql, context_id, revision, timeout=timeout)


async def left_to_erase(connection: Any, timeout: float) -> list[bytes]:  # noqa: ASYNC109  # that of a statement
    """Return some purged contexts whose content is still to be erased."""
    rows = await fetched(connection, sql.TO_ERASE.sql, timeout=timeout)
    return [context_id for (context_id,) in rows]


async def forget(connection: Any, before_us: int, timeout: float) -> None:  # noqa: ASYNC109  # that of a statement
    """Delete idempotency records older than *before_us*, piece by piece."""
    while True:
        rows = await fetched(connection, sql.OLD_ANSWERS.sql, before_us, timeout=timeout)
        if not rows:
            return
        await connection.execute(sql.FORGET_ANSWERS.sql, rows[0]["at_us"], timeout=timeout)
