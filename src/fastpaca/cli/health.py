"""
`fastpaca health`: check whether the node on this machine is ready.

For supervisors that run a command, such as the HEALTHCHECK of a container. It uses the address in
the environment, as the node does: a port or a Unix socket.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import sys
from typing import Final

from fastpaca.cli.backup import UnixConnection
from fastpaca.settings import Settings, SettingsError, load

TIMEOUT_SECONDS: Final = 4
"""Less than the timeout of the image's HEALTHCHECK, which is 5 seconds."""

PATH: Final = "/health/ready"

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing listens here
"""Where to reach a node that listens on all addresses."""


def run(args: argparse.Namespace) -> int:
    """
    Ask the node that *args* and the environment name, and return the exit code.

    Raises:
        SettingsError: They name no port.
    """
    settings = load({"host": args.host, "port": args.port})
    if settings.port == 0 and settings.socket_path is None:
        raise SettingsError("PORT is 0, so the port of the node is unknown; pass it with --port.")
    try:
        with contextlib.closing(_connection(settings)) as connection:
            connection.request("GET", PATH)
            response = connection.getresponse()
            body = response.read(1024).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        print(f"fastpaca: {_name(settings)} does not respond: {reason}.", file=sys.stderr)
        return 1
    if response.status != http.client.OK:
        print(f"fastpaca: {_refusal(settings, response.status, body)}", file=sys.stderr)
        return 1
    print("ready")
    return 0


def _name(settings: Settings) -> str:
    """Name the node by its address."""
    if settings.socket_path is not None:
        return f"the node at unix:{settings.socket_path}"
    return f"the node at {_ANY.get(settings.host, settings.host)} port {settings.port}"


def _refusal(settings: Settings, status: int, body: str) -> str:
    """Say why a response is not that of a node that is ready."""
    if not body.startswith('{"'):
        return f"{_name(settings)} is not a fastpaca node: it returned status {status}."
    return f"{_name(settings)} is not ready: {status} {body}"


def _connection(settings: Settings) -> http.client.HTTPConnection:
    if settings.socket_path is not None:
        return UnixConnection(str(settings.socket_path), TIMEOUT_SECONDS)
    host = _ANY.get(settings.host, settings.host)
    return http.client.HTTPConnection(host, settings.port, timeout=TIMEOUT_SECONDS)
