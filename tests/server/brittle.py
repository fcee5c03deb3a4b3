"""
A node on a disk that fails, stalls or ends the process when it is told to, in its own process.

    python -m tests.server.brittle DIRECTORY [--wal-bytes N] [--dies-at N] …

While there is a file DIRECTORY/faults/write-wal, whatever is written to the write-ahead log fails
with the error that the file names; `sync-db`, `read-db` and the like work in the same way.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from fastpaca.cli.serve import NodeProcess
from fastpaca.http.listeners import bound_socket
from fastpaca.settings import Settings
from fastpaca.store.base import Change, Store, StoreRefused
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.telemetry import log_to_stderr
from fastpaca.tokens import counter_for
from tests.kit.faulty import faulty_vfs, sqlite_error
from tests.kit.process import Process, module, running

ERRORS: Final = {
    "full": sqlite_error(apsw.FullError, apsw.SQLITE_FULL),
    "write": sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_WRITE),
    "sync": sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC),
    "read": sqlite_error(apsw.IOError, apsw.SQLITE_IOERR_READ),
}


class Disk:
    """
    Decides what becomes of each operation on a file.

    Args:
        faults: The directory that says what fails.
        dies_at: The number of the write, sync or truncation before which the process is killed.
    """

    def __init__(self, faults: Path, dies_at: int | None) -> None:
        self._faults = faults
        self._dies_at = dies_at
        self._numbers = itertools.count(1)

    def check(self, what: str, file: str) -> None:
        """
        Let an operation happen, or not.

        Raises:
            apsw.Error: It fails.
        """
        place = "wal" if file.endswith("-wal") else "db"
        if what != "read" and next(self._numbers) == self._dies_at:
            os.write(2, f"killed before a {what} on the {place}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            error = (self._faults / f"{what}-{place}").read_text()
        except FileNotFoundError:
            return
        raise ERRORS[error]


class SlowStore(SqliteStore):
    """A store whose commits take at least *commit_seconds*."""

    commit_seconds = 0.0

    async def commit(self, changes: Sequence[Change]) -> None:
        await asyncio.sleep(self.commit_seconds)
        await super().commit(changes)


def limit_files(size: int) -> None:
    """Let no file grow above *size* bytes until SIGUSR1 comes; the system refuses the writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    lift = lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, before)  # noqa: E731  # one line
    signal.signal(signal.SIGUSR1, lift)


def serve(arguments: argparse.Namespace) -> int:
    """Serve until the end, and give the exit code."""
    directory: Path = arguments.directory

    def make_store(on_fatal: Callable[[str], None]) -> Store:
        store = SlowStore(
            directory / "data",
            vfs=faults.name,
            wal_bytes_max=arguments.wal_bytes,
            on_fatal=on_fatal,
        )
        store.commit_seconds = arguments.commit_seconds
        return store

    settings = Settings(data_dir=directory / "data", token_estimator="chars")
    with faulty_vfs() as faults, bound_socket("127.0.0.1", 0) as listener:
        faults.check = Disk(directory / "faults", arguments.dies_at).check
        counter = counter_for("chars")
        node = NodeProcess(
            settings, make_store, counter, listener, queue_ops_max=arguments.queue_ops
        )
        try:
            return node.run()
        except StoreRefused as error:
            print(f"fastpaca: {error}", file=sys.stderr)  # noqa: T201  # as the command does
            return 1


@contextmanager
def brittle(directory: Path, *flags: str) -> Iterator[Process]:
    """
    Run such a node on the data in *directory*.

    Raises:
        DidNotStart: It refused, or was killed before it served.
    """
    with running(module("tests.server.brittle", str(directory), *flags), directory) as process:
        yield process


def main() -> int:
    """Read the flags, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--wal-bytes", type=int, default=1024 * 1024)
    parser.add_argument("--dies-at", type=int)
    parser.add_argument("--commit-seconds", type=float, default=0.0)
    parser.add_argument("--queue-ops", type=int, default=4096)
    parser.add_argument("--file-bytes", type=int)
    arguments = parser.parse_args()
    log_to_stderr("info")
    if arguments.file_bytes is not None:
        limit_files(arguments.file_bytes)
    return serve(arguments)


if __name__ == "__main__":
    sys.exit(main())
