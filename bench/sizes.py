"""What contexts and messages take in PostgreSQL: in tables, in indexes, in the write-ahead log."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import Final, NamedTuple

import asyncpg

from bench.populate import message, populate
from fastpaca.clock import now_us
from fastpaca.context.ops import Append
from fastpaca.engine import Engine
from fastpaca.service import no_body
from fastpaca.store.postgres.store import PostgresStore

CONTEXTS: Final = 4000
MESSAGES: Final = 25
TEXT_BYTES: Final = 500

TOGETHER: Final = 64
"""How many appends wait for each other, and so share a transaction."""

_SIZES: Final = """
SELECT pg_table_size('fastpaca.messages')::bigint AS messages,
    pg_indexes_size('fastpaca.messages')::bigint AS message_indexes,
    pg_table_size('fastpaca.contexts')::bigint AS contexts,
    pg_indexes_size('fastpaca.contexts')::bigint AS context_indexes,
    (SELECT avg(octet_length(body))::float8 FROM fastpaca.messages) AS body
"""

_WRITTEN: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


class Sizes(NamedTuple):
    """
    Bytes, all of them means.

    Attributes:
        body: JSON text of a message.
        message: Its row in the table.
        message_index: Its place in the index.
        context: A row of a context.
        context_index: Its places in the indexes.
        first_append: To the write-ahead log, when the pages of a context are touched for the first
            time after a checkpoint, and written whole.
        append: The same when they are touched again.
    """

    body: float
    message: float
    message_index: float
    context: float
    context_index: float
    first_append: float
    append: float


async def measure(dsn: str) -> Sizes:
    """Fill the empty database at *dsn*, look at the tables, and append once more to everything."""
    await populate(PostgresStore(dsn), CONTEXTS, MESSAGES, TEXT_BYTES)
    connection = await asyncpg.connect(dsn)
    await connection.execute("VACUUM")
    found = await connection.fetchrow(_SIZES)
    engine = Engine(PostgresStore(dsn), now_us, partial(secrets.token_bytes, 16), hot_bytes=1 << 30)
    await engine.start()
    await append_to_all(engine)  # they are in memory from here on
    await connection.execute("CHECKPOINT")
    written = [await connection.fetchval(_WRITTEN)]
    for _ in range(3):
        await append_to_all(engine)
        written.append(await connection.fetchval(_WRITTEN))
    await engine.stop()
    await connection.close()
    count = CONTEXTS * MESSAGES
    return Sizes(
        body=found["body"],
        message=found["messages"] / count,
        message_index=found["message_indexes"] / count,
        context=found["contexts"] / CONTEXTS,
        context_index=found["context_indexes"] / CONTEXTS,
        first_append=(written[1] - written[0]) / CONTEXTS,
        append=(written[3] - written[2]) / CONTEXTS,
    )


async def append_to_all(engine: Engine) -> None:
    """Append a message to each context, some of them at once."""
    op = Append((message(0, TEXT_BYTES),))
    for start in range(0, CONTEXTS, TOGETHER):
        names = [f"c{number}" for number in range(start, min(start + TOGETHER, CONTEXTS))]
        await asyncio.gather(*(engine.write(name, op, no_body) for name in names))
