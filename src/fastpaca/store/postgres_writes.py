"""
What writes to PostgreSQL: commits, what becomes of one that got no answer, erasing, forgetting.

A commit is one transaction with one statement per table. It updates the contexts that are at the
revision it rests on; if these are not all, another node was first, and it is rolled back.

When the answer to COMMIT is lost, the transaction may be under way still. But it holds the rows
that it has written until it ends. So whoever locks such a row waits for its end, and then sees what
came of it: that needs no privilege, no view into the server, and works through any proxy. On a
distributed database it may have ended on one server and be prepared on another, so every row is
locked before anything is concluded, and what can't be locked in time leaves the outcome unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from fastpaca.store.base import CommitFailed, CommitOvertaken, CommitUnknown
from fastpaca.store.postgres_errors import TIES
from fastpaca.store.postgres_primary import TAKES_WRITES, fetched
from fastpaca.store.postgres_rows import (
    INSERT_CONTEXTS,
    UPDATE_CONTEXTS,
    Batch,
    columns,
    is_landed,
)

ANSWER_SECONDS: Final = 5.0
"""How long to wait for the answer to COMMIT before its outcome is looked for elsewhere."""

PIECE_ROWS: Final = 1000
"""How many rows a transaction erases or forgets."""

_FORGET_ANSWERS_OF: Final = "DELETE FROM fastpaca.answers WHERE context_id = ANY($1::bytea[])"

_TAKEN_KEYS: Final = "SELECT key_hash FROM fastpaca.answers WHERE key_hash = ANY($1::bytea[])"

_TOUCH_ANSWERS: Final = """
UPDATE fastpaca.answers SET at_us = at_us WHERE key_hash = ANY($1::bytea[])
"""

# It locks: a distributed database refuses FOR UPDATE on the rows of several servers.
_TOUCH_CONTEXTS: Final = """
UPDATE fastpaca.contexts SET revision = revision WHERE context_id = ANY($1::bytea[])
RETURNING context_id, revision, commit_ids
"""

_TO_ERASE: Final = f"""
SELECT context_id FROM fastpaca.contexts WHERE must_erase AND {TAKES_WRITES} LIMIT 100
"""

_ERASE_MESSAGES: Final = f"""
DELETE FROM fastpaca.messages WHERE context_id = $1 AND seq < {PIECE_ROWS} + (
    SELECT min(seq) FROM fastpaca.messages WHERE context_id = $1
)
"""

_ERASE_SYNTHETICS: Final = f"""
DELETE FROM fastpaca.synthetics WHERE context_id = $1 AND version < {PIECE_ROWS} + (
    SELECT min(version) FROM fastpaca.synthetics WHERE context_id = $1
)
"""

_ERASE_COMPACTIONS: Final = f"""
DELETE FROM fastpaca.compactions WHERE context_id = $1 AND version < {PIECE_ROWS} + (
    SELECT min(version) FROM fastpaca.compactions WHERE context_id = $1
)
"""

_ERASURES: Final = (_ERASE_MESSAGES, _ERASE_SYNTHETICS, _ERASE_COMPACTIONS)

_ERASED: Final = "UPDATE fastpaca.contexts SET must_erase = false WHERE context_id = $1"

# The moment up to which a piece goes: that of the last row in it.
_OLD_ANSWER: Final = f"""
SELECT at_us FROM (
    SELECT at_us FROM fastpaca.answers WHERE at_us < $1 ORDER BY at_us LIMIT {PIECE_ROWS}
) AS piece WHERE {TAKES_WRITES} ORDER BY at_us DESC LIMIT 1
"""

_FORGET_ANSWERS: Final = "DELETE FROM fastpaca.answers WHERE at_us <= $1"


def _noted(answer: asyncio.Future[Any]) -> None:
    """Let no one report an error of *answer* if whoever waited for it was cancelled."""
    if not answer.cancelled():
        answer.exception()


class AnswerLost(Exception):
    """COMMIT was sent, and no answer came that tells what became of it."""


class OutcomeOpen(Exception):
    """Some contexts of a commit have it and some have not: that is no outcome yet."""


async def write(connection: Any, batch: Batch, timeout: float) -> None:  # noqa: ASYNC109  # that of a statement
    """
    Begin a transaction and write all of *batch* in it.

    Raises:
        CommitOvertaken: Of some contexts it rests on a state that is not the current one.
    """
    await connection.execute(connection.begin, timeout=timeout)
    taken: list[Any] = []
    for statement, rows in (
        (UPDATE_CONTEXTS, batch.updates),
        (INSERT_CONTEXTS, batch.insertions),
    ):
        if rows:
            taken += await connection.fetch(statement, *columns(rows), timeout=timeout)
    if len(taken) < len(batch.ids):
        overtaken = batch.ids.keys() - {context_id for (context_id,) in taken}
        raise CommitOvertaken(
            "a revision is not the expected one, or an id is taken",
            frozenset(batch.ids[context_id] for context_id in overtaken),
        )
    if batch.purges:
        await connection.execute(_FORGET_ANSWERS_OF, batch.purges, timeout=timeout)
    if batch.keys:
        found = await connection.fetch(_TAKEN_KEYS, list(batch.keys), timeout=timeout)
        if found:
            owners = frozenset(batch.keys[key_hash] for (key_hash,) in found)
            raise CommitOvertaken("a key is taken", owners)
    for statement, rows in batch.content:
        await connection.execute(statement, *columns(rows), timeout=timeout)


async def end(connection: Any, timeout: float) -> None:  # noqa: ASYNC109  # that of a statement
    """
    Commit what was written.

    Raises:
        AnswerLost: Nobody knows; *connection* is of no more use.
        CommitFailed: Certainly nothing was written.
        CommitUnknown: It was written, and the server warns that it may not be safe.
    """
    warnings: list[str] = []

    def note(_: object, message: Any) -> None:
        if message.severity_en == "WARNING":
            warnings.append(message.message)

    connection.add_log_listener(note)
    # A timeout of the driver would ask the server to cancel. While it waits for a standby, COMMIT
    # is done there already; cancelled, it would only become visible without being safe.
    answer = asyncio.ensure_future(connection.execute("COMMIT"))
    answer.add_done_callback(_noted)
    await asyncio.wait([answer], timeout=timeout)
    if not answer.done():
        connection.terminate()
        await asyncio.wait([answer])
    connection.remove_log_listener(note)
    error = answer.exception()
    if isinstance(error, TIES):
        raise error
    if error is not None:
        raise AnswerLost from error
    if answer.result() != "COMMIT":
        raise CommitFailed("the database rolled the transaction back")
    if warnings:
        raise CommitUnknown(f"committed with a warning: {warnings[0]}", fatal=False)


async def find_out(connection: Any, batch: Batch, timeout: float) -> bool | None:  # noqa: ASYNC109  # that of a statement
    """
    Wait until the commit of *batch* is under way nowhere, and tell whether it has landed.

    All of its contexts are asked, each for the lock that the commit holds until it has ended. A
    distributed database ends a transaction on one server after the other, so that the first context
    says nothing about what can be read of the next: the commit has landed only when all have it.
    None if so many commits came after it that nobody knows any more.

    Raises:
        OutcomeOpen: Some contexts have it and some have not, so it may be under way still.
        AnswerLost, CommitFailed, CommitUnknown: The database may not keep what it shows.
    """
    await connection.execute(connection.begin, timeout=timeout)
    told = await _testimonies(connection, batch, timeout)
    if True not in told:
        await connection.execute("ROLLBACK", timeout=timeout)
        return False if False in told else None
    if False in told:
        await connection.execute("ROLLBACK", timeout=timeout)
        raise OutcomeOpen
    # Whoever ended the wait for a standby made it visible before it was safe. What comes after it
    # in the log waits for the same standby, and is safe only if it is.
    await end(connection, timeout)
    return True


async def _testimonies(connection: Any, batch: Batch, timeout: float) -> set[bool | None]:  # noqa: ASYNC109  # that of a statement
    """
    Lock all contexts of *batch*, and collect what they say about its commit.

    The locks are taken in the order of a commit, so that the two don't lock each other out.
    """
    witnesses = batch.witnesses()
    old = [key for key, witness in witnesses.items() if witness.insertion is None]
    # A row that is not committed can't be seen or locked, but one in its place has to wait.
    insertions = [w.insertion for w in witnesses.values() if w.insertion is not None]
    found = await connection.fetch(_TOUCH_CONTEXTS, old, timeout=timeout) if old else []
    if insertions:
        missing = await connection.fetch(INSERT_CONTEXTS, *columns(insertions), timeout=timeout)
        new = witnesses.keys() - {*old, *(context_id for (context_id,) in missing)}
        if new:
            found += await connection.fetch(_TOUCH_CONTEXTS, sorted(new), timeout=timeout)
    told = {is_landed(witnesses[context_id], *state) for context_id, *state in found}
    return told if len(found) == len(witnesses) else {*told, False}


async def secure(connection: Any, key_hashes: list[bytes], timeout: float) -> None:  # noqa: ASYNC109  # that of a statement
    """
    See to it that answers which can be read are safe, too.

    The wait of their commit for a standby may have been ended from outside, or by a crash. What
    comes after it in the log waits for the same standby, and is safe only if it is.

    Raises:
        AnswerLost, CommitFailed, CommitUnknown: That could not be found out.
    """
    await connection.execute(connection.begin, timeout=timeout)
    await connection.execute(_TOUCH_ANSWERS, key_hashes, timeout=timeout)
    await end(connection, timeout)


async def erase(
    connection: Any,
    purged: Iterable[bytes],
    timeout: float,  # noqa: ASYNC109  # that of a statement
) -> None:
    """Erase what purges have left, piece by piece; whoever else does the same does no harm."""
    for context_id in purged:
        for statement in _ERASURES:
            while await connection.execute(statement, context_id, timeout=timeout) != "DELETE 0":
                pass
        await connection.execute(_ERASED, context_id, timeout=timeout)


async def left_to_erase(connection: Any, timeout: float) -> list[bytes]:  # noqa: ASYNC109  # that of a statement
    """List some purged contexts whose content is still to be erased."""
    found = await fetched(connection, _TO_ERASE, timeout=timeout)
    return [context_id for (context_id,) in found]


async def forget(connection: Any, before_us: int, timeout: float) -> None:  # noqa: ASYNC109  # that of a statement
    """Delete answers older than *before_us*, piece by piece."""
    while True:
        found = await fetched(connection, _OLD_ANSWER, before_us, timeout=timeout)
        if not found:
            return
        await connection.execute(_FORGET_ANSWERS, found[0]["at_us"], timeout=timeout)
