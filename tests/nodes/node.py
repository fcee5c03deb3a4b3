"""One real node on PostgreSQL and a client of it, for tests of single failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kit.http import Client, Reply
from tests.kit.messages import user
from tests.nodes.cluster import Cluster, cluster


class Node:
    """
    A node with one context.

    Attributes:
        client: A connection to it.
    """

    def __init__(self, client: Client, nodes: Cluster) -> None:
        self.client = client
        self._nodes = nodes

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._nodes.nodes[0].port

    @property
    def log_lines(self) -> str:
        """What it has logged."""
        return self._nodes.errors

    async def append(self, name: str) -> Reply:
        """Append a message with this id under this key."""
        message = user(name * 500, id=name)
        path = "/v1/contexts/c/messages"
        return await self.client.ask("POST", path, {"message": message}, f"key {name}")

    async def appended(self, name: str) -> Reply:
        """Append a message, which must succeed."""
        reply = await self.append(name)
        assert reply.status == 201, reply
        return reply

    async def log(self) -> list[str]:
        """Read the ids of all messages."""
        reply = await self.client.ask("GET", "/v1/contexts/c/messages?limit=1000")
        assert reply.status == 200, reply
        return [message["id"] for message in reply.json["messages"]]


def refusal(reply: Reply) -> str:
    """Give the code of a 503 that says when to try again."""
    assert reply.status == 503, reply
    assert int(reply.headers["retry-after"]) > 0
    code: str = reply.json["error"]
    return code


def is_replayed(reply: Reply) -> bool:
    """Tell whether it is the answer to an earlier request with the same key."""
    return reply.headers.get("idempotent-replayed") == "true"


@asynccontextmanager
async def node(dsn: str, directory: Path) -> AsyncIterator[Node]:
    """Run a node with an empty context `c`; a defect that it logs fails the test."""
    async with cluster(dsn, directory, 1) as nodes, nodes.client() as client:
        made = await client.ask("PUT", "/v1/contexts/c", {})
        assert made.status == 201, made
        yield Node(client, nodes)
