"""A node under attack: contexts in every state, requests of every kind, and what may not change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx
from hypothesis import strategies as st

from fastpaca.store.memory import MemoryStore
from fastpaca.testing import SocketlessNode
from tests.fuzz import texts
from tests.kit.app import append, create
from tests.kit.messages import HELLO, user
from tests.kit.requests import Reply, send

IDS = ("c", "manual", "deleted", "purged")
"""A context that trims by itself, one that does not, one that was deleted, one that was purged."""

KEY = "k"
"""An idempotency key that was used before."""


class Attack(NamedTuple):
    """A request that no client would send, or that one would."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def reply(self, node: SocketlessNode) -> Reply:
        """Send it."""
        size = [(b"content-length", b"%d" % len(self.body))] if self.body else []
        return await send(
            node.app,
            self.method,
            self.path,
            query=self.query,
            headers=[*size, *self.headers],
            pieces=[self.body],
        )


METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"]
ROUTES: list[tuple[str, bytes, st.SearchStrategy[bytes]]] = [
    ("PUT", b"", texts.sent(texts.configurations)),
    ("PATCH", b"/metadata", texts.sent(texts.patches)),
    ("POST", b"/messages", texts.sent(texts.appends)),
    ("POST", b"/compact", texts.sent(texts.replacements)),
]
READS = [(method, b"") for method in ("GET", "DELETE")] + [
    ("GET", place) for place in (b"/messages", b"/tail", b"/context")
]
ids = st.sampled_from([*(name.encode() for name in IDS), b"c", b"manual", b"%63"])
path_pieces = st.sampled_from(
    [b"/", b"v1", b"contexts", b"/v1/contexts/", b"c", b"%2F", b"..", b"messages", b"%", b"\xff"]
)
wrong_paths: st.SearchStrategy[tuple[str, bytes]] = st.tuples(
    st.sampled_from(METHODS),
    st.lists(path_pieces, max_size=8).map(b"".join) | st.binary(max_size=30).map(b"/".__add__),
)
query_pieces = st.sampled_from(
    [
        *(b"limit=", b"from_seq=", b"to_seq=", b"offset=", b"budget_tokens=", b"if_version="),
        *(b"purge=true", b"prefix=", b"after=", b"&", b"=", b"%", b"-1", b"0", b"5", b"99", b"c"),
    ]
)
queries = st.one_of(
    st.just(b""), st.lists(query_pieces, max_size=6).map(b"".join), st.binary(max_size=12)
)
HEADERS = [
    *(b"if-none-match", b"origin", b"host", b"authorization", b"content-type", b"expect"),
    *(b"x-request-id", b"content-length", b"transfer-encoding", b"content-encoding"),
    *(b"access-control-request-method", b"access-control-request-headers", b"idempotency-key"),
]
headers = st.lists(
    st.one_of(
        st.tuples(st.just(b"idempotency-key"), st.sampled_from([KEY.encode(), b"new"])),
        st.tuples(st.sampled_from(HEADERS), st.binary(max_size=12)),
    ),
    max_size=2,
    unique_by=lambda header: header[0],
)


@st.composite
def seldom(
    draw: st.DrawFn, what: st.SearchStrategy[list[tuple[bytes, bytes]]]
) -> list[tuple[bytes, bytes]]:
    """Add headers to every fourth request only, since most of them end it."""
    return draw(what) if draw(st.integers(0, 3)) == 0 else []


@st.composite
def writes(draw: st.DrawFn) -> Attack:
    """A write to one of the contexts, mostly without anything odd but its body."""
    method, place, body = draw(st.sampled_from(ROUTES))
    path = b"/v1/contexts/" + draw(ids) + place
    return Attack(method, path, b"", draw(seldom(headers)), draw(body))


@st.composite
def reads(draw: st.DrawFn) -> Attack:
    """A request without a body, with any query."""
    method, place = draw(st.sampled_from(READS))
    path = b"/v1/contexts/" + draw(ids) + place
    return Attack(method, path, draw(queries), draw(seldom(headers)), b"")


@st.composite
def strays(draw: st.DrawFn) -> Attack:
    """A request to any path."""
    method, path = draw(wrong_paths)
    return Attack(method, path, draw(queries), draw(headers), draw(texts.anything))


attacks = st.one_of(writes(), writes(), writes(), reads(), strays())


async def prepared(client: httpx.AsyncClient) -> None:
    """Make the contexts that are attacked."""
    await create(client, metadata={"a": 1}, token_budget=100)
    await append(client, *(user(f"m{n}", token_count=20) for n in range(6)))
    answer = await client.post(
        "/v1/contexts/c/messages", json={"message": HELLO}, headers={"Idempotency-Key": KEY}
    )
    assert answer.status_code == 201
    await create(client, "manual", policy={"strategy": "manual"})
    await append(client, user("a"), user("b"), context_id="manual")
    answer = await client.post("/v1/contexts/manual/compact", json={"replacement": [user("s")]})
    assert answer.status_code == 200
    for name, purge in (("deleted", ""), ("purged", "?purge=true")):
        await create(client, name)
        await append(client, HELLO, context_id=name)
        assert (await client.delete(f"/v1/contexts/{name}{purge}")).status_code == 204


class State(NamedTuple):
    """All that a refusal must leave as it was."""

    answers: list[bytes]
    hot: list[int]
    rows: list[Any]


PLACES = (b"", b"/messages", b"/tail", b"/context", b"/context?budget_tokens=30")
PATHS = (*(f"/v1/contexts/{name}".encode() + place for name in IDS for place in PLACES),)


async def state(node: SocketlessNode) -> State:
    """Read what clients can read, the very objects in memory, and every row of the store."""
    answers = []
    for path in (b"/v1/contexts", *PATHS):
        raw_path, _, query = path.partition(b"?")
        answers.append((await send(node.app, "GET", raw_path, query=query)).body)
    hot = [id(node.engine.cache.get(name)) for name in IDS]
    return State(answers, hot, rows(node))


def rows(node: SocketlessNode) -> list[Any]:
    """Copy the rows of a memory store."""
    store = node.store
    assert isinstance(store, MemoryStore)
    held = [
        (name, one.row, tuple(one.messages), tuple(one.synthetics.items()), tuple(one.compactions))
        for name, one in store._contexts.items()
    ]
    return [*held, sorted(store._purged), tuple(store._records.items())]


def check_shape(attack: Attack, reply: Reply) -> None:
    """Hold *reply* against what every answer is."""
    assert 200 <= reply.status < 500, reply
    assert reply.headers["x-request-id"]
    assert reply.is_whole
    if attack.method == "HEAD" or reply.status in (204, 304):
        assert reply.body == b""
    elif reply.status >= 400:
        assert reply.headers["content-type"] == "application/json"
        said = json.loads(reply.body)
        assert said["error"]
        assert said["message"]
        assert len(reply.body) < 4000


def check_views(answers: Sequence[bytes]) -> None:
    """Hold the windows in *answers* against their budgets, and all of them against JSON."""
    for answer in answers:
        read = json.loads(answer)
        if "used_tokens" in read and read["fit"] != "whole":
            assert read["used_tokens"] <= read["token_budget"]
