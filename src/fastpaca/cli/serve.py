"""
`fastpaca serve`: run a node, and end it well.

Which counter it has is decided here, and which store in `stores.py`; `fastpaca.node` puts it
together.

How a node ends
---------------
The first SIGTERM or SIGINT: no new connections, idle ones are closed, requests under way are
answered for a few seconds, and what is left of them is cut off. A write that was taken is committed
in any case, then the store is closed. A second signal leaves out the waiting for clients, nothing
else.

A store that cannot be trusted any more ends the node in the same way, quickly and with an exit code
that makes a supervisor start it again.

Whatever hangs, the process is gone after ten seconds. That is safe at any moment, since what was
acknowledged is durable.
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
from functools import partial
from typing import Any, Final, NamedTuple

from fastpaca import __version__, allocator
from fastpaca.api.protocol import ConnectionBounds
from fastpaca.api.server import (
    CannotListen,
    Server,
    bound_socket,
    connections_max,
    listen,
    server_config,
    unix_socket,
    with_port,
)
from fastpaca.cli.stores import store_of
from fastpaca.engine.queue import QUEUE_OPS_MAX
from fastpaca.node import MakeStore
from fastpaca.node import Node as Parts
from fastpaca.settings import Settings, SettingsError, load
from fastpaca.store.base import Store, StoreRefused
from fastpaca.telemetry import log_to_stderr
from fastpaca.tokens import TokenCounter, counter_for

logger = logging.getLogger(__name__)

THREAD_TURN_SECONDS: Final = 0.001
"""
For how long a thread that works in Python keeps the event loop waiting, a fifth of what is usual.

A small request beside a large one waits for several such turns. Appends cost the same either way.
"""

FULL_COLLECTIONS_NEVER: Final = 1_000_000_000
"""After so many collections of what is young, all is looked through: that is, never."""


class Ending(NamedTuple):
    """
    How long the end of a node may take.

    Attributes:
        grace_seconds: How long requests under way are waited for.
        fatal_grace_seconds: The same, when the store has failed for good.
        seconds_max: When a node that still has not ended is ended by force.
    """

    grace_seconds: float = 7.0
    fatal_grace_seconds: float = 0.5
    seconds_max: float = 9.5


def run(args: argparse.Namespace) -> int:
    """
    Serve with the settings in *args* and the environment until a signal comes; the exit code.

    Raises:
        SettingsError: A setting cannot be used.
    """
    allocator.keep_little()
    settings = load(vars(args))
    log_to_stderr(settings.log_level)
    try:
        with _listener(settings) as listener:
            return Node(settings, partial(store_of, settings), _counter(settings), listener).run()
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


class Node:
    """Everything that one process serves with."""

    def __init__(
        self,
        settings: Settings,
        make_store: MakeStore,
        counter: TokenCounter,
        listener: socket.socket,
        ending: Ending | None = None,
        queue_ops_max: int = QUEUE_OPS_MAX,
    ) -> None:
        self._settings = settings
        self._counter = counter
        self._listener = listener
        self._ending = ending or Ending()
        self._parts = parts = Parts(
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
        self._server = Server(server_config(parts.app, parts.metrics, bounds, settings.log_level))
        self._exit_code = 0

    def run(self) -> int:
        """
        Open the store, serve until a signal comes or the store fails, and give the exit code.

        Raises:
            CannotListen: Another process was faster to listen on the address.
            StoreRefused: The store cannot be opened.
        """
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(self._run())
        return self._exit_code

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_stray_error)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        await self._parts.start()
        try:
            await self._serve()
        finally:
            await self._parts.stop()
        logger.info("stopped")

    async def _serve(self) -> None:
        if self._settings.socket_path is None:
            listen(self._listener, self._settings.host)
        self._announce()
        collect_less()
        sys.setswitchinterval(THREAD_TURN_SECONDS)
        await self._server.serve([self._listener])

    def _announce(self) -> None:
        address = self._settings.host
        if self._settings.socket_path is None:
            address = _address(address, self._listener.getsockname()[1])
        with contextlib.suppress(OSError):  # nobody may be reading
            print(banner(self._settings, self._parts.store, self._counter, address), flush=True)
        if not self._settings.is_loopback and not self._settings.api_keys:
            print(_boxed(_OPEN_TO_ALL), file=sys.stderr, flush=True)
            logger.warning("listening on %s without an API key", self._settings.host)

    # --- the end ----------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self._server.should_exit:
            logger.info("%s: finishing current requests", name)
            self._end(self._ending.grace_seconds)
        else:
            logger.warning("%s again: no longer waiting for clients", name)
            self._exit_code = 1
            self._server.grace_seconds = 0

    def _fail(self, reason: str) -> None:
        logger.critical("the store has failed, this process is stopping: %s", reason)
        self._exit_code = 1
        self._end(self._ending.fatal_grace_seconds)

    def _end(self, grace_seconds: float) -> None:
        self._server.grace_seconds = grace_seconds
        self._server.should_exit = True
        self._parts.engine.hub.stop()
        watchdog = threading.Timer(self._ending.seconds_max, _end_by_force)
        watchdog.daemon = True
        watchdog.start()


def collect_less() -> None:
    """
    Look for garbage among what is young, and leave the rest alone.

    What start-up has made stays. The contexts in memory refer to nothing that refers back, so they
    go as soon as they are let go of; but they are many, and to look through all of them, as Python
    would whenever their number has grown by a quarter, holds up everybody for up to 0.1 seconds.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTIONS_NEVER)


def _end_by_force() -> None:
    logger.critical("the shutdown is stuck; forcing the exit")
    os._exit(1)


def _log_stray_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no caller was there to meet."""
    logger.error(context["message"], exc_info=context.get("exception"))


# --- what the operator reads ----------------------------------------------------------------------

_OPEN_TO_ALL: Final = (
    "WARNING: THIS NODE IS OPEN TO EVERYONE",
    "",
    "It listens beyond this machine without an API key: anyone who reaches",
    "the address can read, change and delete all conversations.",
    "",
    "Set FASTPACA_API_KEY, or listen on 127.0.0.1.",
)


def banner(settings: Settings, store: Store, counter: TokenCounter, address: str) -> str:
    """Say what is running, and at which *address*."""
    kept = {"memory": "none; everything is lost when the node stops", "sqlite": None}
    keys = len(settings.api_keys)
    lines = {
        "address": address,
        "store": store.name,
        "data directory": kept.get(settings.store, "none; everything is in the database")
        or str(settings.data_dir.absolute()),
        "token counter": counter.name,
        "API key": f"set ({keys} keys)" if keys > 1 else "set" if keys else "none",
    }
    return "\n".join((f"fastpaca {__version__}", *(f"  {k:<15} {v}" for k, v in lines.items())))


def _address(host: str, port: int) -> str:
    if host == "0.0.0.0":  # noqa: S104 - it is shown, not listened on
        return f"http://127.0.0.1:{port} (and all other addresses of this machine)"
    if host == "::":
        return f"http://[::1]:{port} (and all other addresses of this machine)"
    return f"http://{with_port(host, port)}"


def _boxed(lines: tuple[str, ...]) -> str:
    width = max(len(line) for line in lines)
    edge = "!" * (width + 8)
    return "\n".join(("", edge, *(f"!!  {line:<{width}}  !!" for line in lines), edge, ""))
