"""A database server that is killed, and what a killed node has left on its disk."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import apsw

from fastpaca.store.sqlite.files import DATABASE_NAME
from tests.kit.postgres import Server


def kill_server(server: Server) -> None:
    """End all processes of *server* between two instructions."""
    lock = server.directory / "data/postmaster.pid"
    postmaster = int(lock.read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)  # so that it starts no more of them
    processes = [*_children(postmaster), postmaster]
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while any(map(_is_alive, processes)):
        time.sleep(0.01)
    for left in (lock, server.directory / ".s.PGSQL.5432.lock"):
        left.unlink()  # nobody may have taken notice of the end yet, and then these would count


def _children(process: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if int(_status(int(entry.name))[1]) == process:
                    found.append(int(entry.name))
    return found


def _is_alive(process: int) -> bool:
    try:
        return _status(process)[0] != "Z"
    except OSError:
        return False


def _status(process: int) -> list[str]:
    """Give the state of a process, and its parent."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def left_of(directory: Path) -> dict[str, tuple[int, dict[int, bytes]]]:
    """Read what a node that is gone has left: by context, where its log ends, and what is there."""
    connection = apsw.Connection(str(directory / DATABASE_NAME))
    try:
        contexts = {
            key: (name.decode(), last_seq)
            for key, name, last_seq in connection.execute(
                "SELECT key, id, last_seq FROM contexts JOIN context_ids USING (key)"
            )
        }
        left: dict[str, tuple[int, dict[int, bytes]]] = {
            name: (last_seq, {}) for name, last_seq in contexts.values()
        }
        for key, seq, body in connection.execute(
            "SELECT context, seq, body FROM messages WHERE seq IS NOT NULL"
        ):
            left[contexts[key][0]][1][seq] = body
    finally:
        connection.close()
    return left
