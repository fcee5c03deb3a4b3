"""
How others come to know of a commit: told by NOTIFY, or found by asking every 25 ms.
`python -m bench.doorbells none|notify|poll DSN WRITERS PAUSE_MS SECONDS`.

Each writer is a connection that commits a row of a log and the revision of its context, as a node
does, in a transaction of one statement; so what differs is the doorbell alone. Prints figures as
JSON.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import uvloop

CONTEXTS = 1000
LOOK_SECONDS = 0.025

SCHEMA = f"""
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
CREATE TABLE bench.contexts (id bigint PRIMARY KEY, revision bigint NOT NULL)
    WITH (fillfactor = 50);
CREATE TABLE bench.messages (
    id bigint NOT NULL, revision bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (id, revision)
);
INSERT INTO bench.contexts SELECT *, 0 FROM generate_series(0, {CONTEXTS - 1});
"""

COMMIT = """
WITH logged AS (INSERT INTO bench.messages VALUES ($1, $2, $3))
UPDATE bench.contexts SET revision = $2 WHERE id = $1
"""

COMMIT_AND_NOTIFY = COMMIT + " RETURNING pg_notify('doorbell', $1 || ' ' || $2)"

LOOK = "SELECT id, revision FROM bench.contexts WHERE id = ANY($1)"

BODY = b"x" * 500


class Figures(msgspec.Struct):
    """Commits per second, and milliseconds from the end of a commit until it was known of."""

    per_second: float
    p50_ms: float
    p99_ms: float


class Bell:
    """Notes when a commit had ended, and when it was known of elsewhere."""

    def __init__(self) -> None:
        self.commits = 0
        self.delays: list[float] = []
        self._ended: dict[tuple[int, int], float] = {}
        self._known: dict[tuple[int, int], float] = {}
        self._last = [0] * CONTEXTS

    def ended(self, context: int, revision: int) -> None:
        self.commits += 1
        self._note(context, revision, self._ended, self._known, time.perf_counter())

    def found(self, context: int, revision: int) -> None:
        now = time.perf_counter()
        for number in range(self._last[context] + 1, revision + 1):
            self._note(context, number, self._known, self._ended, now)
        self._last[context] = max(self._last[context], revision)

    def _note(
        self,
        context: int,
        revision: int,
        own: dict[tuple[int, int], float],
        other: dict[tuple[int, int], float],
        now: float,
    ) -> None:
        before = other.pop((context, revision), None)
        if before is None:
            own[context, revision] = now
        else:
            self.delays.append(now - before if other is self._ended else before - now)


async def write(dsn: str, bell: Bell, sql: str, own: range, pause: float) -> None:
    """Commit to the contexts of one writer, one after the other."""
    connection = await asyncpg.connect(dsn)
    statement = await connection.prepare(sql)
    revision = 0
    while True:
        revision += 1
        for context in own:
            await statement.fetch(context, revision, BODY)
            bell.ended(context, revision)
            if pause:
                await asyncio.sleep(pause)


async def poll(dsn: str, bell: Bell) -> None:
    """Ask for all revisions, again and again."""
    connection = await asyncpg.connect(dsn)
    statement = await connection.prepare(LOOK)
    everything = list(range(CONTEXTS))
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for context, revision in await statement.fetch(everything):
            bell.found(context, revision)


async def listen(dsn: str, found: Callable[[int, int], None]) -> None:
    """Be told of all commits."""
    connection = await asyncpg.connect(dsn)

    def told(_connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        context, revision = payload.split()
        found(int(context), int(revision))

    await connection.add_listener("doorbell", told)
    await asyncio.Event().wait()


async def measure(kind: str, dsn: str, writers: int, pause: float, seconds: float) -> Figures:
    """Let all of them work, for a fifth of the time to warm up, and then to measure."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA)
    await connection.close()
    bell = Bell()
    sql = COMMIT_AND_NOTIFY if kind == "notify" else COMMIT
    shares = [range(number, CONTEXTS, writers) for number in range(writers)]
    tasks = [asyncio.create_task(write(dsn, bell, sql, share, pause)) for share in shares]
    if kind == "notify":
        tasks.append(asyncio.create_task(listen(dsn, bell.found)))
    elif kind == "poll":
        tasks.append(asyncio.create_task(poll(dsn, bell)))
    await asyncio.sleep(seconds / 5)
    bell.commits = 0
    bell.delays.clear()
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
    ordered = sorted(bell.delays) or [0.0]
    return Figures(
        bell.commits / seconds,
        1000 * ordered[len(ordered) // 2],
        1000 * ordered[len(ordered) * 99 // 100],
    )


def main() -> None:
    """Do as the arguments say."""
    kind, dsn, writers, pause_ms, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(measure(kind, dsn, int(writers), float(pause_ms) / 1000, float(seconds)))
        sys.stdout.buffer.write(msgspec.json.encode(told))
        sys.stdout.flush()
        os._exit(0)  # the connections need no farewell


if __name__ == "__main__":
    main()
