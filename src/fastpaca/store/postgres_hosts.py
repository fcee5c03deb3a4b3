"""
The hosts that the address of a database names.

The driver tries them in turn within one time for all. A machine that has died says nothing, so it
would use up that time, and the next one would never be asked. So each gets a time of its own.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

HOST_SECONDS: Final = 4.0
"""How long to wait for each host where several are named."""


def hosts_of(dsn: str) -> list[dict[str, Any]]:
    """
    List the hosts that *dsn* names, as arguments of the driver; none if it names at most one.

    Raises:
        ValueError: It cannot be understood.
    """
    url = urlsplit(dsn)
    hosts = url.netloc.rpartition("@")[2].split(",")
    ports = [""]
    if hosts == [""]:
        query = parse_qs(url.query)
        hosts = query.get("host", [""])[-1].split(",")
        ports = query.get("port", [""])[-1].split(",")
    if len(hosts) == 1:
        return []
    if len(ports) == 1:
        ports *= len(hosts)
    return [_host(unquote(host), port) for host, port in zip(hosts, ports, strict=True)]


def _host(text: str, port: str) -> dict[str, Any]:
    """Parse a host, perhaps with its port; one that begins with / is a directory of sockets."""
    name = text
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif not text.startswith("/"):
        name, _, own_port = text.partition(":")
        port = own_port or port
    return {"host": name, "port": int(port)} if port else {"host": name}
