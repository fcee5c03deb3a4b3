"""
Which process this is, and what becomes of the connections that it has inherited.

After a `fork` the child has copies of all sockets of its parent. If both read from one, each takes
answers that the other has asked for. So every connection is noted here together with its process,
and a client keeps its connections by process: what a child finds under its own is made by itself.

In the child the descriptors of the noted connections are pointed at the null device. Whatever still
holds such a connection, a garbage collector that finalises it included, can't read, write or shut
down the parent's, nor take it out of the set of an event loop, which both processes share. And when
the parent closes a connection, the node learns of it, since no copy is left.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

Process = tuple[int, int]
"""Names a process: its id, and how many forks lie between it and the first, for ids come again."""

_CONNECTED: Final = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")
"""What httpx calls the events that come with a new connection."""

_forks = 0

_connections: WeakKeyDictionary[Any, Process] = WeakKeyDictionary()


def this_process() -> Process:
    """
    Name this process; another name after every fork.

    The id alone shows a fork that Python is not told of, as of uWSGI's; the count comes of the
    others.
    """
    return os.getpid(), _forks


def note(event: str, info: Mapping[str, Any]) -> None:
    """Note a new connection; the extension `trace` of a request of httpx."""
    if event.endswith(_CONNECTED):
        with suppress(TypeError):  # a transport of the caller's, whose connections can't be noted
            _connections[info["return_value"]] = this_process()


async def note_async(event: str, info: Mapping[str, Any]) -> None:
    """Note a new connection, where httpx expects a coroutine."""
    note(event, info)


def cut_off() -> None:
    """Point the descriptors of connections that belong to another process at the null device."""
    here = this_process()
    inherited = [
        connection
        for reference in _connections.keyrefs()
        if (connection := reference()) is not None and _connections.get(connection) != here
    ]
    if not inherited:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for connection in inherited:
            socket = connection.get_extra_info("socket")
            if socket is not None and socket.fileno() >= 0:
                with suppress(OSError):
                    os.dup2(nowhere, socket.fileno(), inheritable=False)
            _connections.pop(connection, None)
    finally:
        os.close(nowhere)


def _arrive() -> None:
    global _forks  # noqa: PLW0603 - it counts what happens to the process as a whole
    _forks += 1
    cut_off()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_arrive)
