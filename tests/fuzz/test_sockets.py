"""Bytes on a socket of the real application: answered with 4xx or closed, and never in the way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.http.bounds import ConnectionBounds
from fastpaca.testing import composed
from tests.fuzz import texts
from tests.fuzz.effort import Effort
from tests.fuzz.world import prepared, rows
from tests.kit.http import connected, serving
from tests.server.test_protocol import first_reply

HOST = b"Host: localhost\r\n"
BODY = b'{"message":{"role":"user","parts":[{"type":"text","text":"Hello"}]}}'
REQUESTS = [
    b"GET /v1/contexts?limit=2 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /v1/contexts/c/context HTTP/1.1\r\n" + HOST + b'If-None-Match: "a"\r\n\r\n',
    b"GET /v1/contexts/c/messages?from_seq=-2 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"OPTIONS /v1/contexts/c HTTP/1.1\r\n" + HOST + b"Origin: http://localhost\r\n\r\n",
    b"PUT /v1/contexts/c HTTP/1.1\r\n" + HOST + b'Content-Length: 18\r\n\r\n{"token_budget":9}',
    b"POST /v1/contexts/c/messages HTTP/1.1\r\n"
    + HOST
    + b"Content-Type: application/json\r\nIdempotency-Key: k2\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
    + BODY,
    b"POST /v1/contexts/c/messages HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    b"POST /v1/contexts/c/compact HTTP/1.1\r\n"
    + HOST
    + b'Expect: 100-continue\r\nContent-Length: 18\r\n\r\n{"replacement":[]}',
    b"DELETE /v1/contexts/manual HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"GET /health/ready HTTP/1.0\r\n\r\n",
]
ODD = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b"\0", b"\xff", b"%00", b"%", b"\x7f"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 99999\r\n", b"Content-Length: -1\r\n"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Connection: Upgrade\r\n",
    ),
    *(b"Host: evil.example\r\n", b"Origin: https://evil.example\r\n", b"Upgrade: websocket\r\n"),
    *(b"A: b\r\n" * 120, b"A: " + b"b" * 70_000 + b"\r\n", b"a" * 70_000, b"GET / HTTP/1.1\r\n"),
    *(b"../" * 20, b"?" * 50, b"#"),
]


conversations = texts.broken(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3).map(b"".join),
    st.sampled_from(ODD) | texts.odd,
)
"""Some requests one behind the other, and something wrong with them."""


@pytest.mark.parametrize("ends", [True, False], ids=["all said", "left hanging"])
def test_any_bytes_are_refused_or_answered(
    ends: bool, effort: Effort, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Answers are whole and no 5xx, others are served meanwhile, and refusals change nothing.
    """

    @given(conversations, st.integers(1, 4000))
    def holds(data: bytes, size: int) -> None:
        asyncio.run(exchange(data, size, ends=ends))

    with caplog.at_level(logging.WARNING):
        effort.attack(holds, few=80)
    # asyncio complains of what our side of the connection sends to one that was closed.
    assert [record.message for record in caplog.records if record.name != "asyncio"] == []


async def exchange(data: bytes, size: int, *, ends: bool) -> None:
    node = composed()
    await node.engine.start()
    try:
        async with node.client() as client:
            await prepared(client)
        before = rows(node)
        async with serving(node.app, ConnectionBounds(linger_seconds=0.2)) as served:
            async with connected(served.port) as client, connected(served.port) as other:
                for place in range(0, len(data), size):
                    if client.writer.is_closing():
                        break
                    await client.send(data[place : place + size])
                await other.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await other.reply()).status == 200
                if ends:
                    with suppress(OSError):  # it was closed at the other end just now
                        client.writer.write_eof()
                    statuses = read_all(await client.rest())
                    # None at all means that a reset has overtaken them.
                    if statuses and all(status >= 400 for status in statuses):
                        assert rows(node) == before
            await served.is_empty()
    finally:
        await node.engine.stop()


def read_all(text: bytes) -> list[int]:
    """Read whole answers up to the end, and give their statuses."""
    statuses = []
    while text:
        reply, text = first_reply(text)
        assert 100 <= reply.status < 500, reply
        assert reply.status < 400 or reply.json["error"]
        statuses.append(reply.status)
    return statuses
