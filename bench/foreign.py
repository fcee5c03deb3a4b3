"""
Appends while another program keeps a transaction open on the database file, against those without.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from bench.measure import APPEND, Bench, Result, create
from bench.processes import node
from fastpaca.store.sqlite.wal import WAL_BYTES_MAX

CONTEXTS: Final = 64
CONNECTIONS: Final = 16

# Large enough that the write-ahead log passes its ceiling within seconds.
_TEXT: Final = "All work and no play makes Jack a dull boy. " * 400
_MESSAGE: Final = {"role": "user", "parts": [{"type": "text", "text": _TEXT}]}
LARGE: Final = ("POST /v1/contexts/c{c}/messages HTTP/1.1", json.dumps({"message": _MESSAGE}))

SIZES: Final = {"0.5 kB": APPEND, "18 kB": LARGE}


def appends_beside_a_reader(bench: Bench) -> Iterator[Result]:
    """The p99 of appends while a transaction is open on the file, against the same without."""
    for what, append in SIZES.items():
        pairs, sizes = [], []
        with (
            tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name,
            node(Path(name)) as port,
        ):
            create(port, CONTEXTS, token_budget=100_000)
            log = Path(name, "fastpaca.db-wal")

            def p99_ms(request: tuple[str, str], port: int = port) -> float:
                return bench.run(port, request, connections=CONNECTIONS, contexts=CONTEXTS).p99_ms

            for _ in range(bench.repeats):
                with reading(Path(name)):
                    while log.stat().st_size <= 2 * WAL_BYTES_MAX:
                        p99_ms(LARGE)
                    beside = p99_ms(append)
                    sizes.append(log.stat().st_size)
                while log.stat().st_size > 2 * WAL_BYTES_MAX:
                    p99_ms(LARGE)  # until what has gathered is copied
                pairs.append((beside, p99_ms(append)))
        left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
        yield Result(
            f"append p99 beside a foreign reader / without, {what}",
            "<= 3",
            [beside / alone for beside, alone in pairs],
            f"{left:.1f} against {right:.1f} ms; the log grew to {max(sizes) >> 20} MiB",
        )


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Stay in a transaction, as another program would."""
    with closing(sqlite3.connect(folder / "fastpaca.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM contexts").fetchall()
        yield
