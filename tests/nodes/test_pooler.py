"""Nodes that share a database through PgBouncer in transaction mode."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.kit.messages import system, user
from tests.kit.pgbouncer import IGNORED, running_pgbouncer
from tests.kit.postgres import Server, run_sql
from tests.kit.process import Process, started

CLIENTS = 8
APPENDS = 10

CONTEXT = "/v1/contexts/c"


@pytest.mark.parametrize("ignored", ["extra_float_digits", IGNORED], ids=["refuses", "ignores"])
def test_nodes_work_behind_a_pooler(server: Server, dsn: str, tmp_path: Path, ignored: str) -> None:
    """
    Two nodes that start at once on an empty database, with fewer connections than clients, serve
    appends, compactions, reads, streams, deletion and purge, whoever is asked.
    """
    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as threads:
        pooler = running_pgbouncer(server, pool_size=2, ignore_startup_parameters=ignored)
        directory = stack.enter_context(pooler)
        pooled = dsn.replace(str(server.directory), str(directory))
        places = [tmp_path / "a", tmp_path / "b"]
        for place in places:
            place.mkdir()
        nodes = [started(place, "--store", pooled) for place in places]
        first, second = threads.map(stack.enter_context, nodes)
        ask(first, "PUT", CONTEXT, {"policy": {"strategy": "manual"}})

        with connect(f"ws://127.0.0.1:{second.port}{CONTEXT}/stream?cursor=0") as socket:
            clients = (threads.submit(append_many, (first, second)[n % 2]) for n in range(CLIENTS))
            for client in list(clients):
                client.result()
            told = versions(socket, CLIENTS * APPENDS)
        assert told == list(range(1, CLIENTS * APPENDS + 1))

        summary = system("so far")
        ask(second, "POST", f"{CONTEXT}/compact", {"replacement": [summary]})
        assert len(ask(first, "GET", f"{CONTEXT}/context")["messages"]) == 1
        assert len(ask(first, "GET", f"{CONTEXT}/messages?limit=99")["messages"]) == 80
        ask(first, "DELETE", CONTEXT)
        assert ask(second, "GET", CONTEXT)["status"] == "tombstoned"
        ask(second, "DELETE", f"{CONTEXT}?purge=true")
        with httpx.Client(base_url=first.address) as http:
            assert http.get(CONTEXT).status_code == 404
        for node in (first, second):
            assert node.stop() == 0
            assert "Traceback" not in node.errors
    assert asyncio.run(run_sql(dsn, "SELECT count(*) FROM fastpaca.messages")) == [(0,)]


def ask(node: Process, method: str, path: str, body: object = None) -> Any:
    """Send one request on a connection of its own, and give the answer, which is none of errors."""
    with httpx.Client(base_url=node.address, timeout=30) as http:
        answer = http.request(method, path, json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def append_many(node: Process) -> None:
    for _ in range(APPENDS):
        message = user("hello")
        ask(node, "POST", f"{CONTEXT}/messages", {"message": message})


def versions(socket: Any, last: int) -> list[int]:
    """Read messages from a stream up to a version, and give their versions."""
    found: list[int] = []
    while not found or found[-1] < last:
        frame = json.loads(socket.recv(timeout=30))
        if frame["type"] == "message":
            found.append(frame["version"])
    return found
