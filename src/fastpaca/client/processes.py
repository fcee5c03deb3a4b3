"""
Which process this is, and what happens to the connections that it has inherited.

After a `fork` the child has copies of all sockets of its parent. If both read from the same one,
each takes responses that the other has asked for. So every connection is recorded here with its
process, and a client keeps its connections by process: a child uses only those that it has made.

In the child, the descriptors of inherited connections are pointed at the null device. Code that
still holds such a connection, such as the garbage collector, can then neither read, write nor shut
down the parent's socket, nor remove it from an epoll set, which both processes share. And when the
parent closes a connection, the node notices, since no copy is left open.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

Process = tuple[int, int]
"""A process: its id, and how many forks it is away from the first process, since ids are reused."""

_CONNECTED: Final = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")
"""The names of httpx's trace events for a new connection."""

_forks = 0

_connections: WeakKeyDictionary[Any, Process] = WeakKeyDictionary()


def this_process() -> Process:
    """
    Return the current process; the value changes with every fork.

    The id also shows forks that Python isn't told of, such as uWSGI's; the count shows the others.
    """
    return os.getpid(), _forks


def record(event: str, info: Mapping[str, Any]) -> None:
    """Record a new connection; the `trace` extension of an httpx request."""
    if event.endswith(_CONNECTED):
        with suppress(
            TypeError
        ):  # the connection of a caller's transport, which can't be referenced
            _connections[info["return_value"]] = this_process()


async def record_async(event: str, info: Mapping[str, Any]) -> None:
    """Record a new connection, where httpx expects a coroutine."""
    record(event, info)


def detach_inherited() -> None:
    """Point the descriptors of another process's connections at the null device."""
    process = this_process()
    inherited = [
        connection
        for reference in _connections.keyrefs()
        if (connection := reference()) is not None and _connections.get(connection) != process
    ]
    if not inherited:
        return
    null_device = os.open(os.devnull, os.O_RDWR)
    try:
        for connection in inherited:
            socket = connection.get_extra_info("socket")
            if socket is not None and socket.fileno() >= 0:
                with suppress(OSError):
                    os.dup2(null_device, socket.fileno(), inheritable=False)
            _connections.pop(connection, None)
    finally:
        os.close(null_device)


def _begin_child() -> None:
    global _forks  # noqa: PLW0603 - forks concern the process as a whole
    _forks += 1
    detach_inherited()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_begin_child)
