"""
A node that watches its own event loop: `python -m bench.heartbeat FILE serve …`.

A task wakes every millisecond. What lies between two beats was a stall for every request; the
longest one stands in *FILE*, and whoever measures sets it to zero. It is taken in the processor
time of the node as far as that is less than the time that went by: what else runs on the machine is
not held against the node.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.processes import serving

BEAT_SECONDS: Final = 0.001

_GAP: Final = struct.Struct("d")


class Pulse:
    """The longest gap between two beats, in a file that the node and the bench share."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _GAP.size)

    def take(self) -> float:
        """Give the longest gap in milliseconds since this was called last."""
        (gap,) = _GAP.unpack(self._shared)
        self._shared[:] = bytes(_GAP.size)
        return float(1000 * gap)

    async def beat(self) -> None:
        """Keep beating, and note the longest gap."""
        while True:
            wall, busy = time.perf_counter(), time.process_time()
            await asyncio.sleep(BEAT_SECONDS)
            wall, busy = time.perf_counter() - wall - BEAT_SECONDS, time.process_time() - busy
            (longest,) = _GAP.unpack(self._shared)
            if min(wall, busy) > longest:
                self._shared[:] = _GAP.pack(min(wall, busy))


@contextmanager
def watched() -> Iterator[tuple[int, Pulse]]:
    """Run a node with a heartbeat until the end of the block; gives its port and its pulse."""
    with tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as folder:
        path = Path(folder, "pulse")
        path.write_bytes(bytes(_GAP.size))
        serve = ["serve", "--port", "0", "--data-dir", str(Path(folder, "data"))]
        with serving(["-m", "bench.heartbeat", str(path), *serve]) as port:
            yield port, Pulse(path)


def main() -> int:
    """Serve, with a heartbeat."""
    from fastpaca.cli import main, serve  # noqa: PLC0415 - the bench itself needs no server

    pulse = Pulse(Path(sys.argv[1]))

    class BeatingProcess(serve.NodeProcess):
        async def _run(self) -> None:
            heart = asyncio.create_task(pulse.beat())
            try:
                await super()._run()
            finally:
                heart.cancel()

    serve.NodeProcess = BeatingProcess  # type: ignore[misc]  # it is the one that is started
    return main.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
