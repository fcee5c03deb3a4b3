"""
`fastpaca serve`: run a node, and shut it down cleanly.

This module chooses the token counter and `stores.py` the store; `fastpaca.node` assembles them.

Shutdown
--------
On the first SIGTERM or SIGINT, the node accepts no new connections and closes idle ones. Requests
in progress have a few seconds to finish; then their connections are cut. Accepted writes are always
committed, and then the store is closed. A second signal stops waiting for clients, nothing else.

A store that can no longer be trusted shuts the node down in the same way, quickly, and with an exit
code that makes a supervisor restart it.

The process is gone after ten seconds even if something hangs. That is safe at any moment, because
acknowledged writes are durable.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from fastpaca import __version__, allocator
from fastpaca.cli.stores import store_of
from fastpaca.clock import now_us
from fastpaca.engine.queue import QUEUE_OPS_MAX
from fastpaca.http.bounds import ConnectionBounds
from fastpaca.http.listeners import (
    BACKLOG,
    CannotListen,
    bound_socket,
    connections_max,
    listen,
    unix_socket,
    with_port,
)
from fastpaca.http.server import Server
from fastpaca.node import MakeStore, Node
from fastpaca.settings import Settings, SettingsError, load
from fastpaca.store.base import Store, StoreRefused
from fastpaca.telemetry import log_to_stderr
from fastpaca.tokens import TokenCounter, counter_for

logger = logging.getLogger(__name__)

SWITCH_INTERVAL_SECONDS: Final = 0.001
"""
How long a thread that runs Python code keeps the event loop waiting: a fifth of Python's default.

A small request waits for several such intervals while a large one is processed. Appends cost the
same with either value.
"""

FULL_COLLECTIONS_NEVER: Final = 1_000_000_000
"""The threshold for full collections, too high to be reached."""


class ShutdownTimes(NamedTuple):
    """
    How long the shutdown of a node may take.

    Attributes:
        grace_seconds: How long to wait for requests in progress.
        fatal_grace_seconds: The same, when the store has failed permanently.
        seconds_max: When to kill a process that has not ended.
    """

    grace_seconds: float = 7.0
    fatal_grace_seconds: float = 0.5
    seconds_max: float = 9.5


def run(args: argparse.Namespace) -> int:
    """
    Serve with the settings in *args* and the environment until a signal; return the exit code.

    Raises:
        SettingsError: A setting can't be used.
    """
    allocator.keep_little()
    settings = load(vars(args))
    log_to_stderr(settings.log_level)
    try:
        with _listener(settings) as listener:
            make_store = partial(store_of, settings)
            return NodeProcess(settings, make_store, _counter(settings), listener).run()
    except (CannotListen, StoreRefused) as error:
        print(f"fastpaca: {error}", file=sys.stderr)
        return 1


def _listener(settings: Settings) -> contextlib.AbstractContextManager[socket.socket]:
    if settings.socket_path is not None:
        return unix_socket(settings.socket_path)
    return contextlib.closing(bound_socket(settings.host, settings.port))


def _counter(settings: Settings) -> TokenCounter:
    try:
        return counter_for(settings.token_estimator)
    except ValueError as error:
        raise SettingsError(f"FASTPACA_TOKEN_ESTIMATOR cannot be used: {error}") from None


class NodeProcess:
    """A node that serves on a socket, from its start to its shutdown."""

    def __init__(
        self,
        settings: Settings,
        make_store: MakeStore,
        counter: TokenCounter,
        listener: socket.socket,
        shutdown_times: ShutdownTimes | None = None,
        queue_ops_max: int = QUEUE_OPS_MAX,
    ) -> None:
        self._settings = settings
        self._counter = counter
        self._listener = listener
        self._shutdown_times = shutdown_times or ShutdownTimes()
        self._node = node = Node(
            settings,
            make_store,
            counter,
            queue_ops_max=queue_ops_max,
            on_fatal=self._fail,
            clear_up=gc.collect,  # see `collect_less`
            give_back=allocator.give_back,
        )
        bounds = ConnectionBounds(
            connections_max=connections_max(), idle_seconds=settings.keepalive_seconds
        )
        self._server = Server(node.app, now_us, bounds)
        self._exit_code = 0

    def run(self) -> int:
        """
        Open the store, serve until a signal comes or the store fails, and return the exit code.

        Raises:
            CannotListen: Another process listens on the address.
            StoreRefused: The store can't be opened.
        """
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._run())
        return self._exit_code

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_stray_error)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        await self._node.start()
        try:
            await self._serve()
        finally:
            await self._node.stop()
        logger.info("stopped")

    async def _serve(self) -> None:
        if self._settings.socket_path is None:
            listen(self._listener, self._settings.host)
        self._announce()
        collect_less()
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        await self._server.serve(self._listener, BACKLOG)

    def _announce(self) -> None:
        address = self._settings.host
        if self._settings.socket_path is None:
            address = _address(address, self._listener.getsockname()[1])
        with contextlib.suppress(OSError):  # standard output may be closed
            print(banner(self._settings, self._node.store, self._counter, address), flush=True)
        if not self._settings.is_loopback and not self._settings.api_keys:
            print(_boxed(_OPEN_TO_ALL), file=sys.stderr, flush=True)
            logger.warning("listening on %s without an API key", self._settings.host)

    # --- shutdown ---------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self._server.is_stopping:
            logger.info("%s: finishing current requests", name)
            self._shut_down(self._shutdown_times.grace_seconds)
        else:
            logger.warning("%s again: no longer waiting for clients", name)
            self._exit_code = 1
            self._server.stop(0)

    def _fail(self, reason: str) -> None:
        logger.critical("the store has failed, this process is stopping: %s", reason)
        self._exit_code = 1
        self._shut_down(self._shutdown_times.fatal_grace_seconds)

    def _shut_down(self, grace_seconds: float) -> None:
        self._server.stop(grace_seconds)
        self._node.engine.hub.stop()
        watchdog = threading.Timer(self._shutdown_times.seconds_max, _kill)
        watchdog.daemon = True
        watchdog.start()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes event loops: uvloop where there is one, else asyncio's default."""
    try:
        import uvloop
    except ImportError:  # it does not exist for Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def collect_less() -> None:
    """
    Collect garbage among young objects only.

    Objects from the start of the process stay anyway. Contexts in memory have no reference cycles,
    so they are freed as soon as they are evicted. But they are many, and a full collection, which
    Python runs whenever their number has grown by a quarter, stops the node for up to 0.1 seconds.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTIONS_NEVER)


def _kill() -> None:
    logger.critical("the shutdown is stuck; forcing the exit")
    os._exit(1)


def _log_stray_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no caller handles."""
    logger.error(context["message"], exc_info=context.get("exception"))


# --- the banner ----------------------------------------------------------------------

_OPEN_TO_ALL: Final = (
    "WARNING: THIS NODE IS OPEN TO EVERYONE",
    "",
    "It listens beyond this machine without an API key: anyone who reaches",
    "the address can read, change and delete all conversations.",
    "",
    "Set FASTPACA_API_KEY, or listen on 127.0.0.1.",
)


def banner(settings: Settings, store: Store, counter: TokenCounter, address: str) -> str:
    """Return the lines that a node prints when it starts to listen."""
    elsewhere = {"memory": "none; everything is lost when the node stops", "sqlite": None}
    keys = len(settings.api_keys)
    lines = {
        "address": address,
        "store": store.name,
        "data directory": elsewhere.get(settings.store, "none; everything is in the database")
        or str(settings.data_dir.absolute()),
        "token counter": counter.name,
        "API key": f"set ({keys} keys)" if keys > 1 else "set" if keys else "none",
    }
    return "\n".join((f"fastpaca {__version__}", *(f"  {k:<15} {v}" for k, v in lines.items())))


def _address(host: str, port: int) -> str:
    if host == "0.0.0.0":  # noqa: S104 - only for display
        return f"http://127.0.0.1:{port} (and all other addresses of this machine)"
    if host == "::":
        return f"http://[::1]:{port} (and all other addresses of this machine)"
    return f"http://{with_port(host, port)}"


def _boxed(lines: tuple[str, ...]) -> str:
    width = max(len(line) for line in lines)
    edge = "!" * (width + 8)
    return "\n".join(("", edge, *(f"!!  {line:<{width}}  !!" for line in lines), edge, ""))
