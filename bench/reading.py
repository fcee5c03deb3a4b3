"""Reading every context once, in no order: `python -m bench.reading PORT FIRST CONTEXTS`."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator

import msgspec
import uvloop

CONNECTIONS = 16


class Read(msgspec.Struct):
    """How many contexts were read, and the seconds that it took."""

    contexts: int
    seconds: float


async def read_all(port: int, first: int, contexts: int) -> Read:
    """Read the LLM contexts of so many conversations, from the one numbered *first* on."""
    order = list(range(first, first + contexts))
    random.Random(1).shuffle(order)  # always the same, so that runs compare
    numbers = iter(order)
    started = time.perf_counter()
    await asyncio.gather(*(_read(port, numbers) for _ in range(CONNECTIONS)))
    return Read(contexts, time.perf_counter() - started)


async def _read(port: int, numbers: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        writer.write(b"GET /v1/contexts/c%d/context HTTP/1.1\r\nHost: localhost\r\n\r\n" % number)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode(errors="replace"))
        length = head.index(b"content-length:") + len(b"content-length:")
        await reader.readexactly(int(head[length : head.index(b"\r\n", length)]))
    writer.close()


if __name__ == "__main__":
    uvloop.install()
    told = asyncio.run(read_all(*map(int, sys.argv[1:4])))
    print(msgspec.json.encode(told).decode())
