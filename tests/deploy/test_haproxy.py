"""The proxy of the deployment, run for real before two nodes of which one loses its database."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.test_files import text_of
from tests.kit.http import connected
from tests.kit.messages import user
from tests.kit.postgres import Server, database_of, until
from tests.kit.programs import program
from tests.kit.proxy import proxied
from tests.nodes.cluster import cluster_at

APPEND: Final = {"message": user("Hello")}

CONTEXTS: Final = 40
"""So many that a proxy which hashes sends some of them to each node."""


def configured(listener: int, ports: list[int]) -> str:
    """Give the configuration of the deployment for nodes on this machine."""
    text, count = re.subn(r"bind :4000", f"bind fd@{listener}", text_of("deploy/haproxy.cfg"))
    assert count == 1
    text, count = re.subn(r"\n +server node.*", "", text)
    assert count > len(ports)
    return text + "".join(
        f"    server node{number} 127.0.0.1:{port}\n" for number, port in enumerate(ports)
    )


@contextmanager
def running_haproxy(ports: list[int], directory: Path) -> Iterator[int]:
    """Stand before the nodes at *ports*, and give the port where it listens."""
    command = program("haproxy")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = directory / "haproxy.cfg"
        config.write_text(configured(listener.fileno(), ports))
        asked = directory / "asked.cfg"
        asked.write_text(f"global\n    stats socket {directory / 'admin'}\n")
        process = subprocess.Popen(
            [command, "-db", "-f", str(config), "-f", str(asked)],
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.wait()


async def is_up(directory: Path, number: int, *, up: bool) -> bool:
    """Tell whether the proxy sends requests to a node (or none), as it says itself."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(directory / "admin"))
    except (FileNotFoundError, ConnectionRefusedError):  # it is being started
        return False
    writer.write(b"show servers state nodes\n")
    text = (await reader.read()).decode()
    writer.close()
    (line,) = [line.split() for line in text.splitlines() if f" node{number} " in line]
    return (line[5] == "2") is up  # 0 is stopped, 1 and 3 are on the way


async def append_to_all(port: int) -> None:
    """Append to every context by the proxy and read it; no request fails."""
    async with connected(port) as client:
        for number in range(CONTEXTS):
            path = f"/v1/contexts/c{number}"
            reply = await client.ask("POST", f"{path}/messages", APPEND)
            assert reply.status == 201, reply
            reply = await client.ask("GET", f"{path}/context")
            assert reply.status == 200, reply


async def appends(port: int) -> int:
    """Count the appends that a node was sent."""
    async with connected(port) as client:
        text = (await client.ask("GET", "/metrics")).body.decode()
    counts = re.findall(r"^fastpaca_messages_append_total\{.*\} (.*)$", text, re.MULTILINE)
    return sum(int(float(count)) for count in counts)


@pytest.mark.slow
async def test_a_node_without_its_database_is_sent_nothing(
    safe_server: Server, safe_dsn: str, tmp_path: Path
) -> None:
    """
    One of two nodes is cut off from the database: as soon as the proxy has looked at its health,
    the other serves every context, and no request fails. Later both serve again.
    """
    database = database_of(safe_dsn)
    async with (
        proxied(safe_server) as proxy,
        cluster_at([safe_server.dsn(database, proxy.directory), safe_dsn], tmp_path) as nodes,
    ):
        ports = [node.port for node in nodes.nodes]
        with running_haproxy(ports, tmp_path) as port:
            for number in range(len(ports)):
                await until(partial(is_up, tmp_path, number, up=True))
            async with connected(port) as client:
                for number in range(CONTEXTS):
                    assert (await client.ask("PUT", f"/v1/contexts/c{number}", {})).status == 201
            await append_to_all(port)
            before = [await appends(one) for one in ports]
            assert all(before)

            proxy.accepts = False
            proxy.end_all()
            await until(partial(is_up, tmp_path, 0, up=False))
            await append_to_all(port)
            assert [await appends(one) for one in ports] == [before[0], before[1] + CONTEXTS]

            proxy.accepts = True
            await until(partial(is_up, tmp_path, 0, up=True))
            await append_to_all(port)
            assert (await appends(ports[0])) == 2 * before[0]
