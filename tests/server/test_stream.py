"""The live stream of a real node: over WebSockets and as server-sent events."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.kit.http import connected
from tests.kit.messages import user
from tests.kit.process import Process, started

FOREVER = 1_000_000


class Node:
    """A node and a client of it."""

    def __init__(self, process: Process, http: httpx.AsyncClient) -> None:
        self.process = process
        self.http = http

    async def create(self, context_id: str = "c", **fields: Any) -> None:
        (await self.http.put(f"/v1/contexts/{context_id}", json=fields)).raise_for_status()

    async def append(self, *texts: str, context_id: str = "c") -> None:
        body = {"messages": [user(text) for text in texts]}
        path = f"/v1/contexts/{context_id}/messages"
        (await self.http.post(path, json=body)).raise_for_status()

    async def compact(self, *texts: str, context_id: str = "c") -> None:
        body = {"replacement": [user(text) for text in texts]}
        path = f"/v1/contexts/{context_id}/compact"
        (await self.http.post(path, json=body)).raise_for_status()

    def socket(self, query: str = "", context_id: str = "c", **headers: str) -> connect:
        """Open a stream over a WebSocket."""
        address = f"ws://127.0.0.1:{self.process.port}/v1/contexts/{context_id}/stream{query}"
        return connect(address, compression=None, max_size=None, additional_headers=headers)

    @asynccontextmanager
    async def events(
        self, query: str = "", context_id: str = "c", **headers: str
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Open a stream of events; gives their lines."""
        path = f"/v1/contexts/{context_id}/events{query}"
        async with self.http.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/event-stream"
            yield response.aiter_lines()


@asynccontextmanager
async def running(directory: Path, *flags: str, **environment: str) -> AsyncIterator[Node]:
    """Run a node and give a client of it."""
    with started(directory, *flags, **environment) as process:
        async with httpx.AsyncClient(base_url=process.address, timeout=30) as http:
            yield Node(process, http)


async def frames(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Read so many frames."""
    return [json.loads(await socket.recv()) for _ in range(count)]


def outline(found: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """What kind they are, of which version, and where the cursor is after each."""
    return [(frame["type"], frame["version"], frame["cursor"]) for frame in found]


async def test_replay_goes_on_as_live_delivery(tmp_path: Path) -> None:
    """
    What was appended before comes first, then what is appended now, each version once.
    """
    async with running(tmp_path) as node:
        await node.create(token_budget=60)
        await node.append("one", "two")
        async with node.socket("?cursor=0") as socket:
            assert outline(await frames(socket, 3)) == [
                ("message", 1, 1),
                ("message", 2, 1),
                ("context", 2, 2),
            ]
            await node.append("long " * 30)
            found = await frames(socket, 3)
            assert outline(found) == [("message", 3, 2), ("compaction", 3, 2), ("context", 3, 3)]
            log = (await node.http.get("/v1/contexts/c/messages?from_seq=3")).json()["messages"]
            assert found[0]["message"] == log[0]
            assert found[1]["range"] == {"from_seq": 1, "to_seq": 2}
            window = (await node.http.get("/v1/contexts/c/context")).json()
            assert found[2]["used_tokens"] == window["used_tokens"]
            await node.compact("summary")
            found = await frames(socket, 2)
            assert outline(found) == [("compaction", 4, 3), ("context", 4, 4)]
            assert found[0]["strategy"] == "manual"


async def test_configuration_is_told_without_a_version(tmp_path: Path) -> None:
    """
    A change of the budget gives a context frame of the same version.
    """
    async with running(tmp_path) as node:
        await node.create()
        async with node.socket() as socket:
            assert outline(await frames(socket, 1)) == [("context", 0, 0)]
            await node.create(token_budget=5)
            (frame,) = await frames(socket, 1)
            assert (frame["version"], frame["token_budget"]) == (0, 5)


async def test_deletion_ends_the_stream(tmp_path: Path) -> None:
    """
    A deleted context says so and closes; it can still be replayed.
    """
    async with running(tmp_path) as node:
        await node.create()
        await node.append("one")
        async with node.socket("?cursor=1") as socket:
            await frames(socket, 1)
            await node.http.delete("/v1/contexts/c")
            assert outline(await frames(socket, 1)) == [("tombstoned", 1, 1)]
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1000
        async with node.socket("?cursor=0") as socket:
            assert outline(await frames(socket, 2)) == [("message", 1, 1), ("tombstoned", 1, 1)]
        assert (await node.http.get("/v1/contexts/c/events?cursor=1")).status_code == 204
        async with node.events("?cursor=0") as lines:
            assert [line async for line in lines if line][-1].startswith('data: {"type":"tomb')


async def test_events_are_the_same_frames(tmp_path: Path) -> None:
    """
    Events carry what a WebSocket carries, and an id where the cursor has moved.
    """
    async with running(tmp_path) as node:
        await node.create()
        await node.append("one", "two")
        async with node.socket("?cursor=1") as socket:
            expected = await frames(socket, 2)
        last_event = {"Last-Event-ID": "1"}
        async with node.events("?cursor=0", **last_event) as lines:
            found = [line async for line in _until(lines, "context")]
        assert found[0].startswith("retry: ")
        assert [json.loads(line[6:]) for line in found if line.startswith("data: ")] == expected
        assert [line for line in found if line.startswith("id: ")] == ["id: 2"]
        assert found.index("id: 2") == len(found) - 2


async def _until(lines: AsyncIterator[str], kind: str) -> AsyncIterator[str]:
    async for line in lines:
        if line:
            yield line
        if f'"type":"{kind}"' in line:
            return


async def test_without_messages_no_message_frames_are_sent(tmp_path: Path) -> None:
    """
    Whoever asks for no messages is sent none, from the store or live, and the cursor moves all the
    same: nothing comes twice to one who resumes from it.
    """
    async with running(tmp_path) as node:
        await node.create()
        await node.append("one", "two")
        await node.compact()
        await node.append("three")
        async with node.socket("?cursor=0&include_messages=false") as socket:
            assert outline(await frames(socket, 2)) == [("compaction", 3, 3), ("context", 4, 4)]
            await node.append("four")
            assert outline(await frames(socket, 1)) == [("context", 5, 5)]
        async with node.events("?cursor=1&include_messages=false") as lines:
            found = [line async for line in _until(lines, "context")]
        assert [line for line in found if line.startswith("id:")] == ["id: 3", "id: 5"]
        assert not any('"message"' in line for line in found)


async def test_answers_to_http_1_0_end_by_closing(tmp_path: Path) -> None:
    """
    No answer to a client of HTTP/1.0 comes in chunks, not even an event stream: it is ended by
    closing, also for one that would keep the connection.
    """
    async with running(tmp_path) as node:
        await node.create()
        await node.append("one")
        await node.http.delete("/v1/contexts/c")
        for keep_alive in (b"", b"Connection: keep-alive\r\n"):
            found = {}
            for what in (
                b"GET /v1/contexts/c/events?cursor=0",
                b"HEAD /v1/contexts/c/events?cursor=0",
                b"GET /v1/contexts/c/events?cursor=1",
                b"GET /v1/contexts/c/messages",
                b"GET /metrics",
                b"GET /docs",
                b"POST /backup",
            ):
                async with connected(node.process.port) as client:
                    await client.send(what + b" HTTP/1.0\r\n" + keep_alive + b"\r\n")
                    head, _, found[what] = (await client.rest()).partition(b"\r\n\r\n")
                assert b"connection: close" in head, what
                assert b"transfer-encoding" not in head, what
                length = re.search(rb"content-length: (\d+)", head)
                assert length is None or int(length[1]) == len(found[what]), what
            events, nothing, nothing_more, *_, backup = found.values()
            assert [line[:20] for line in events.splitlines() if line.startswith(b"data: ")] == [
                b'data: {"type":"messa',
                b'data: {"type":"tombs',
            ]
            assert events.startswith(b"retry: ")
            assert events.endswith(b"\n\n")
            assert nothing == nothing_more == b""
            assert backup.startswith(b"SQLite format 3")


async def test_cursor_above_the_version_is_reset(tmp_path: Path) -> None:
    """
    A reader that has seen more than there is begins anew from what there is.
    """
    async with running(tmp_path) as node:
        await node.create()
        await node.append("one")
        async with node.socket("?cursor=7") as socket:
            assert outline(await frames(socket, 2)) == [("reset", 1, 1), ("context", 1, 1)]


async def test_refusals_have_the_usual_body(tmp_path: Path) -> None:
    """
    A handshake is refused as any request is.
    """
    flags = ("--stream-max-connections", "1")
    async with running(tmp_path, *flags, FASTPACA_API_KEY="key") as node:
        key = {"Authorization": "Bearer key"}
        await node.http.put("/v1/contexts/c", headers=key)
        assert await _refused(node.socket()) == (401, "unauthorized")
        assert await _refused(node.socket(context_id="nobody", **key)) == (404, "not_found")
        assert await _refused(node.socket("?cursor=-1", **key)) == (400, "invalid_request")
        assert await _refused(node.socket("?curser=1", **key)) == (400, "invalid_request")
        foreign = {**key, "Origin": "https://example.com"}
        assert await _refused(node.socket(**foreign)) == (403, "forbidden")
        async with node.socket(**key) as socket:
            await frames(socket, 1)
            assert await _refused(node.socket(**key)) == (503, "unavailable")
            response = await node.http.get("/v1/contexts/c/events", headers=key)
            assert response.status_code == 503
            assert response.headers["retry-after"]
        response = await node.http.get("/v1/contexts/c/events?cursor=x", headers=key)
        assert (response.status_code, response.json()["field"]) == (400, "cursor")
        odd = {**key, "Last-Event-ID": "1.5"}
        response = await node.http.get("/v1/contexts/c/events", headers=odd)
        assert (response.status_code, response.json()["field"]) == (400, "Last-Event-ID")


async def _refused(opening: connect) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refusal:
        await opening
    response = refusal.value.response
    assert response.headers["X-Request-Id"]
    body = json.loads(response.body or b"")
    assert body["message"]
    return response.status_code, body["error"]


async def test_the_end_of_a_node_is_told(tmp_path: Path) -> None:
    """
    A node that ends closes WebSockets with 1001, and tells event streams when to come back.
    """
    async with running(tmp_path) as node:
        await node.create()
        async with node.socket() as socket, node.events() as lines:
            await frames(socket, 1)
            seen = [line async for line in _until(lines, "context")]
            node.process.send(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            rest = [line async for line in lines if line]
            assert rest[-1].startswith("retry: ")
            assert rest[-1] != seen[0]
        assert node.process.wait() == 0
        assert '"level":"error"' not in node.process.errors
