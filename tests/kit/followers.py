"""
Followers of one context, cut off after any frame, who go on from their last cursor.

What they were told is held against what the node says when it is asked.
"""

from __future__ import annotations

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidStatus,
)

from tests.kit.http import PATIENCE_SECONDS, Client, connected

CONTEXT: Final = "/v1/contexts/c"

BROKEN_OFF: Final = (
    httpx.TransportError,
    ConnectionClosed,
    InvalidHandshake,
    OSError,
    EOFError,
)
"""What becomes of a connection whose server is killed, or not there yet."""


class Piece(NamedTuple):
    """A message or a compaction, as it was told or read."""

    version: int
    kind: str
    body: str


@dataclass
class Node:
    """Where the node is at the moment."""

    port: int


@dataclass
class Follower(ABC):
    """
    One follower, and what it has processed.

    Attributes:
        node: Whom it follows.
        chance: Where it is cut off.
        cursor: Its place.
        told: All that was told up to the cursor.
        connections: How often it has connected.
        kinds: The kinds of frames that it was sent.
        end: The frame that ended the stream, if it has ended.
        goal: Up to which version it reads.
        cuts: Behind how many frames it may be cut off.
    """

    node: Node
    chance: random.Random
    cursor: int = 0
    told: list[Piece] = field(default_factory=list)
    connections: int = 0
    kinds: set[str] = field(default_factory=set)
    end: str | None = None
    goal: float = float("inf")
    cuts: tuple[int, ...] = (1, 2, 5, 50, 500)

    async def follow(self) -> None:
        """Follow, with many connections, up to the goal or the end of the context."""
        while self.end is None and self.cursor < self.goal:
            self.connections += 1
            frames_max = self.chance.choice(self.cuts)
            try:
                await self._follow_once(frames_max)
            except BROKEN_OFF:
                await asyncio.sleep(0.05)

    async def _follow_once(self, frames_max: int) -> None:
        """Read so many frames, and leave without a word."""
        before = self.cursor
        told: list[Piece] = []  # of the version that is not complete yet
        async with aclosing(self.frames()) as frames:
            async for frame in frames:
                self.kinds.add(frame["type"])
                assert frame.get("version", before) >= before, "versions have fallen"
                if frame["type"] in {"message", "compaction"}:
                    assert frame["version"] == self.cursor + 1
                    told.append(_told(frame))
                elif frame["type"] == "tombstoned":
                    self.end = "tombstoned"
                else:
                    assert frame["type"] in {"context", "ping"}
                if frame["cursor"] != self.cursor:
                    assert frame["cursor"] == self.cursor + 1 == frame["version"]
                    self.cursor = frame["cursor"]
                    self.told += told
                    told = []
                before = frame.get("version", before)
                frames_max -= 1
                if self.end is None and (frames_max <= 0 or self.cursor >= self.goal):
                    return

    @abstractmethod
    def frames(self) -> AsyncGenerator[dict[str, Any], None]:
        """Connect, and give what is sent."""


class SocketFollower(Follower):
    """Follows over WebSockets."""

    async def frames(self) -> AsyncGenerator[dict[str, Any], None]:
        query = f"?cursor={self.cursor}"
        address = f"ws://127.0.0.1:{self.node.port}{CONTEXT}/stream{query}"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                socket = await connect(address, compression=None, max_size=None)
        except InvalidStatus as refused:
            if refused.response.status_code != 404:
                raise
            self.end = "status 404"
            return
        try:
            while True:
                yield json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))
        except ConnectionClosedOK:
            assert self.end is not None, "a stream ended without a reason"
            assert socket.close_code == 1000
        finally:
            socket.transport.abort()


class EventFollower(Follower):
    """Follows server-sent events, and resumes as browsers do."""

    async def frames(self) -> AsyncGenerator[dict[str, Any], None]:
        headers = {"Last-Event-ID": str(self.cursor)} if self.cursor else {}
        address = f"http://127.0.0.1:{self.node.port}{CONTEXT}/events?cursor=0"
        async with (
            httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http,
            http.stream("GET", address, headers=headers) as response,
        ):
            if response.status_code in {204, 404}:
                self.end = self.end or f"status {response.status_code}"
                return
            last_id = self.cursor
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    last_id = int(value)
                elif name == "data":
                    frame = json.loads(value)
                    assert frame["cursor"] == last_id, "the id is the cursor"
                    yield frame
        assert self.end is not None, "an event stream ended without a reason"


def _told(frame: dict[str, Any]) -> Piece:
    if frame["type"] == "message":
        message = frame["message"]
        assert (message["version"], message["seq"]) == (frame["version"], frame["seq"])
        return Piece(frame["version"], "message", json.dumps(message))
    return _compaction(frame)


def _compaction(found: dict[str, Any]) -> Piece:
    names = ("strategy", "range", "used_tokens_before", "used_tokens_after")
    return Piece(found["version"], "compaction", json.dumps([found[name] for name in names]))


async def read_all(port: int) -> list[Piece]:
    """Read what there is: the log and the compactions, by version, messages first."""
    async with connected(port) as http:
        messages = await _pages(http, "messages", "from_seq", "seq", 1)
        compactions = await _pages(http, "compactions", "after", "version", 0)
    pieces = [Piece(m["version"], "message", json.dumps(m)) for m in messages]
    pieces += map(_compaction, compactions)
    pieces.sort(key=lambda piece: (piece.version, piece.kind != "message"))
    versions = sorted({piece.version for piece in pieces})
    assert versions == list(range(1, len(versions) + 1)), "versions have holes"
    return pieces


async def _pages(
    http: Client, place: str, parameter: str, position: str, first: int
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = await http.ask("GET", f"{CONTEXT}/{place}?{parameter}={first}&limit=2000")
        assert answer.status == 200, answer.body
        page = answer.json[place]
        if not page:
            return found
        found += page
        first = page[-1][position] + (parameter == "from_seq")
