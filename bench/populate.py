"""
Filling a database with many contexts, through the engine and not through HTTP, for it is quicker.

Run as `python -m bench.populate DIRECTORY CONTEXTS MESSAGES TEXT_BYTES`; in place of the directory
the address of a PostgreSQL database may stand.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from functools import partial
from pathlib import Path

from fastpaca.clock import now_us
from fastpaca.context import jsontext
from fastpaca.context.draft import parse
from fastpaca.context.ops import Append, Counted, Put
from fastpaca.engine import Engine
from fastpaca.service import no_body
from fastpaca.store.base import Store
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.tokens import CharsCounter, count_message

TOGETHER = 1000
TOKEN_BUDGET = 1_000_000


async def populate(store: Store, contexts: int, messages: int, text_bytes: int) -> None:
    """Make *contexts* named `c0`, `c1` …, each with so many messages of so much text."""
    op = Append(tuple(message(number, text_bytes) for number in range(messages)), None)
    engine = Engine(store, now_us, partial(secrets.token_bytes, 16), hot_bytes=1)
    await engine.start()
    for start in range(0, contexts, TOGETHER):
        names = [f"c{number}" for number in range(start, min(start + TOGETHER, contexts))]
        await asyncio.gather(*(engine.write(name, Put(TOKEN_BUDGET), no_body) for name in names))
        await asyncio.gather(*(engine.write(name, op, no_body) for name in names))
    await engine.stop()


def message(number: int, text_bytes: int) -> Counted:
    """Make a message of so much text."""
    text = ("The quick brown fox jumps over the lazy dog. " * text_bytes)[:text_bytes]
    role = "assistant" if number % 2 else "user"
    sent = {"role": role, "parts": [{"type": "text", "text": text}]}
    draft = parse(jsontext.minified(json.dumps(sent).encode()), "message")
    return Counted(draft, count_message(CharsCounter(), draft))


if __name__ == "__main__":
    place = sys.argv[1]
    chosen = PostgresStore(place) if "://" in place else SqliteStore(Path(place))
    asyncio.run(populate(chosen, *map(int, sys.argv[2:5])))
