"""
A node whose store fails in one way or another, as a process of its own.

Run as `python -m tests.server.fatal sync` (the first append meets a failed fsync) or `hang` (the
store never closes).
"""

import asyncio
import sys
from collections.abc import Sequence

from fastpaca.cli.serve import NodeProcess, ShutdownTimes
from fastpaca.http.listeners import bound_socket
from fastpaca.settings import Settings
from fastpaca.store.base import Change, CommitUnknown
from fastpaca.store.memory import MemoryStore
from fastpaca.telemetry import log_to_stderr
from fastpaca.tokens import counter_for


class FailedSync(MemoryStore):
    """A store whose disk breaks at the first message."""

    async def commit(self, changes: Sequence[Change]) -> None:
        if any(change.messages for change in changes):
            raise CommitUnknown("fsync failed: Input/output error", fatal=True)
        await super().commit(changes)


class NeverCloses(MemoryStore):
    """A store that hangs at the end."""

    async def close(self) -> None:
        await asyncio.Event().wait()


STORES = {"sync": FailedSync, "hang": NeverCloses}

if __name__ == "__main__":
    log_to_stderr("info")
    with bound_socket("127.0.0.1", 0) as listener:
        store = STORES[sys.argv[1]]
        settings = Settings(store="memory", token_estimator="chars")
        ending = ShutdownTimes(grace_seconds=0.5, seconds_max=1.5)
        sys.exit(
            NodeProcess(settings, lambda _: store(), counter_for("chars"), listener, ending).run()
        )
