"""
Appends straight to PostgreSQL, without HTTP:
`python -m bench.commits grouped|single DSN PREFIX WRITERS CONNECTIONS SECONDS`.

`grouped` is the engine: all that waits goes into one transaction. `single` is what is usually done:
a transaction for each request, as many at once as there are connections. Both write the same rows
with the same statements. Prints appends per second, and how many there were in all.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from functools import partial

import uvloop

from bench.measure import MESSAGE
from fastpaca.clock import now_us
from fastpaca.context import ContextState, create, jsontext
from fastpaca.context.draft import parse
from fastpaca.context.events import Event
from fastpaca.context.ops import Append, Counted, Put
from fastpaca.engine import Engine, rows
from fastpaca.service import no_body
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.tokens import CharsCounter, count_message

CONTEXTS_EACH = 16
"""How many contexts a writer goes round."""

CREATE = Put(8000)


class Grouped:
    """Writes through the engine."""

    def __init__(self, store: PostgresStore) -> None:
        self._engine = Engine(store, now_us, partial(secrets.token_bytes, 16), hot_bytes=1 << 30)
        self.start, self.stop = self._engine.start, self._engine.stop
        self._append = _append()

    async def create(self, name: str) -> None:
        await self._engine.write(name, CREATE, no_body)

    async def append(self, name: str) -> None:
        await self._engine.write(name, self._append, no_body)


class Single:
    """Writes in a transaction of its own; nobody else writes to the context meanwhile."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self.start, self.stop = store.open, store.close
        self._append = _append()
        self._contexts: dict[str, ContextState] = {}

    async def create(self, name: str) -> None:
        await self._commit(*create(name, CREATE, now_us()))

    async def append(self, name: str) -> None:
        await self._commit(*self._contexts[name].apply(self._append, now_us()))

    async def _commit(self, context: ContextState, events: tuple[Event, ...]) -> None:
        context = rows.with_revision(context, context.revision + 1)
        await self._store.commit([rows.change(context, events, [], secrets.token_bytes(16))])
        self._contexts[context.id] = context


def _append() -> Append:
    """Make the op that appends the message of all other measurements."""
    draft = parse(jsontext.minified(json.dumps(MESSAGE).encode()), "message")
    return Append((Counted(draft, count_message(CharsCounter(), draft)),))


async def measure(
    way: Grouped | Single, prefix: str, writers: int, seconds: float
) -> tuple[float, int]:
    """Write as fast as it goes; what is printed, after a fifth of the time to warm up."""
    await way.start()
    names = [
        [f"{prefix}-{writer}-{number}" for number in range(CONTEXTS_EACH)]
        for writer in range(writers)
    ]
    for group in names:
        await asyncio.gather(*map(way.create, group))
    done = 0

    async def write(own: list[str]) -> None:
        nonlocal done
        while True:
            for name in own:
                await way.append(name)
                done += 1

    tasks = [asyncio.create_task(write(group)) for group in names]
    await asyncio.sleep(seconds / 5)
    before = done
    await asyncio.sleep(seconds)
    rate = (done - before) / seconds
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await way.stop()
    return rate, done


def main() -> None:
    """Do as the arguments say."""
    way, dsn, prefix, writers, connections, seconds = sys.argv[1:]
    store = PostgresStore(dsn, connections=int(connections))
    chosen = Grouped(store) if way == "grouped" else Single(store)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(*runner.run(measure(chosen, prefix, int(writers), float(seconds))))


if __name__ == "__main__":
    main()
