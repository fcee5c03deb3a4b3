"""The smallest world of an API test: a node, a client, and requests that no client would send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import httpx
from starlette.types import ASGIApp, Message

from fastpaca.store.base import Change, Condition, Snapshot
from fastpaca.store.memory import MemoryStore
from fastpaca.testing import Node, composed, running

T = TypeVar("T")

ENDLESS = ("openStream", "readEvents")
"""Operations whose responses have no end."""

TEXT = {"type": "text", "text": "Hello"}
HELLO = {"role": "user", "parts": [TEXT]}


def run(story: Callable[[httpx.AsyncClient], Awaitable[T]], node: Node | None = None) -> T:
    """Play *story* with a client of a started node, and stop it."""

    async def play() -> T:
        async with running(node or composed()) as client:
            return await story(client)

    return asyncio.run(play())


def said(text: str, role: str = "user", **more: Any) -> dict[str, Any]:
    """A message of one text part."""
    return {"role": role, "parts": [{"type": "text", "text": text}], **more}


async def create(client: httpx.AsyncClient, context_id: str = "c", **fields: Any) -> None:
    """Create a context."""
    response = await client.put(f"/v1/contexts/{context_id}", json=fields)
    assert response.status_code == 201, response.text


async def append(
    client: httpx.AsyncClient, *messages: dict[str, Any], context_id: str = "c"
) -> list[dict[str, Any]]:
    """Append messages, and give what was answered for each."""
    path = f"/v1/contexts/{context_id}/messages"
    response = await client.post(path, json={"messages": list(messages)})
    assert response.status_code == 201, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


async def everything(client: httpx.AsyncClient, context_id: str = "c") -> list[bytes]:
    """Read all that can be read of a context: representation, log and window, byte for byte."""
    path = f"/v1/contexts/{context_id}"
    answers = [
        await client.get(path),
        await client.get(f"{path}/messages", params={"limit": 10_000}),
        await client.get(f"{path}/context"),
        await client.get("/v1/contexts"),
    ]
    return [answer.content for answer in answers]


def error_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Hold *response* against the shape that every error has, and give its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body: dict[str, Any] = json.loads(response.content)
    assert body["error"] == code, body
    assert body["message"].strip(), body
    return body


class Reply(NamedTuple):
    """What an application sent: its status, its headers, its body, and whether all of it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    def json(self) -> Any:
        """Read the body."""
        return json.loads(self.body)


class Connection:
    """The server's side of a request, as a test wants it: odd bytes, odd pieces, odd timing."""

    def __init__(self, pieces: Iterable[bytes | float | None]) -> None:
        self._pieces = list(pieces)
        self.sent: list[Message] = []
        self.asked = 0

    async def receive(self) -> Message:
        """Give the next piece; a number is a pause, None is the end of the connection."""
        self.asked += 1
        piece = self._pieces.pop(0) if self._pieces else await asyncio.Future()
        while isinstance(piece, float):
            pause, piece = piece, self._pieces.pop(0) if self._pieces else await asyncio.Future()
            await asyncio.sleep(pause)
        if piece is None:
            return {"type": "http.disconnect"}
        assert isinstance(piece, bytes)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}

    async def send(self, message: Message) -> None:
        """Note what is sent."""
        self.sent.append(message)

    @property
    def reply(self) -> Reply:
        """What was sent."""
        start, *rest = self.sent
        names = [name for name, _ in start["headers"]]
        assert len(names) == len(set(names)), names
        return Reply(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message["body"] for message in rest),
            bool(rest) and not rest[-1].get("more_body", False),
        )


async def send(
    app: ASGIApp,
    method: str,
    path: bytes,
    *,
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    pieces: Sequence[bytes | float | None] = (),
    address: str = "127.0.0.1",
) -> Reply:
    """Send a request that is exactly this to *app*, with a body in *pieces*."""
    connection = Connection(pieces)
    await app(scope_of(method, path, query, headers, address), connection.receive, connection.send)
    return connection.reply


def scope_of(
    method: str,
    path: bytes,
    query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    address: str = "127.0.0.1",
) -> dict[str, Any]:
    """What a server says of a request."""
    return {
        "type": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": list(headers),
        "client": (address, 50_000),
    }


def body_headers(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a JSON body of these pieces."""
    size = sum(map(len, pieces))
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]


class GatedStore(MemoryStore):
    """
    A memory store whose commits and loads wait while it is closed, and may fail.

    Attributes:
        gate: Commits and loads wait while it is closed.
        commit_error: Raised instead of committing, if there is one.
        load_error: Raised instead of loading, if there is one.
        commits: How many commits there were.
        condition: How it says that it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.commit_error: Exception | None = None
        self.load_error: Exception | None = None
        self.commits = 0
        self._condition = Condition()

    @property
    def condition(self) -> Condition:
        return self._condition

    @condition.setter
    def condition(self, condition: Condition) -> None:
        self._condition = condition

    async def commit(self, changes: Sequence[Change]) -> None:
        await self.gate.wait()
        if self.commit_error is not None:
            raise self.commit_error
        self.commits += 1
        await super().commit(changes)

    async def load(self, context_id: str) -> Snapshot | None:
        await self.gate.wait()
        if self.load_error is not None:
            raise self.load_error
        return await super().load(context_id)
