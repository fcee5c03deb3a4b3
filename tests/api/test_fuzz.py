"""Nothing that a client can send is a 5xx, and what is refused changes nothing."""

from __future__ import annotations

import json
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpaca.testing import composed
from tests.api.world import append, body_headers, create, everything, run, said, send

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 5),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["user", "text", "tool_call", "tool-result", "last_n", "manual", "id"]),
)
KEYS = [
    *("message", "messages", "if_version", "replacement", "metadata", "policy", "strategy"),
    *("config", "limit", "token_budget", "trigger_ratio", "role", "parts", "type", "text", "seq"),
    *("token_count", "tool_calls", "tool_call_id", "call_id", "id", "state", "content", "version"),
    *("skip_kinds", "target_ratio", "start_on_user", "output", "value", "data", "source"),
]
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=4))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=20,
)
parts = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "tool_use", "tool_result", "tool-x", "image", ""])},
        optional={
            "text": st.text(max_size=40),
            "id": scalars,
            "tool_use_id": scalars,
            "content": values,
        },
    ),
    values,
)
messages = st.one_of(
    st.fixed_dictionaries(
        {"role": st.text(min_size=1, max_size=8), "parts": st.lists(parts, max_size=4)},
        optional={"token_count": st.integers(0, 10**6), "metadata": values, "seq": values},
    ),
    values,
)
bodies = st.one_of(
    st.fixed_dictionaries({"message": messages}, optional={"if_version": scalars}),
    st.fixed_dictionaries({"messages": st.lists(messages, max_size=4)}),
    st.fixed_dictionaries({"replacement": st.lists(messages, max_size=4)}),
    st.fixed_dictionaries({"metadata": values}),
    st.fixed_dictionaries(
        {},
        optional={"token_budget": scalars, "trigger_ratio": scalars, "policy": values},
    ),
    values,
)
routes = st.sampled_from(
    [
        ("PUT", b"/v1/contexts/c"),
        ("PUT", b"/v1/contexts/d"),
        ("PATCH", b"/v1/contexts/c/metadata"),
        ("POST", b"/v1/contexts/c/messages"),
        ("POST", b"/v1/contexts/c/compact"),
    ]
)


async def prepared(client: httpx.AsyncClient) -> list[bytes]:
    await create(client, metadata={"a": 1}, token_budget=100)
    await append(client, *(said(f"m{n}", token_count=20) for n in range(6)))
    return await everything(client)


def check(method: str, path: bytes, body: bytes) -> None:
    """Send *body*, and hold the answer against what every answer is."""
    node = composed()

    async def story(client: httpx.AsyncClient) -> None:
        before = await prepared(client)
        headers = body_headers(body)
        reply = await send(node.app, method, path, headers=headers, pieces=[body])
        assert reply.status < 500, reply
        answered = json.loads(reply.body)
        after = await everything(client)
        if reply.status >= 400:
            assert answered["error"]
            assert answered["message"]
            assert after == before
        view = json.loads(after[2])
        assert view["used_tokens"] <= view["token_budget"] or node_is_manual(after[0])
        for answer in after:
            json.loads(answer)

    run(story, node)


def node_is_manual(representation: bytes) -> bool:
    return bool(json.loads(representation)["policy"]["strategy"] == "manual")


@given(routes, bodies)
@settings(max_examples=150)
def test_json_bodies(route: tuple[str, bytes], body: Any) -> None:
    """Any JSON is taken or refused with 4xx, and after a refusal all is as before."""
    check(*route, json.dumps(body).encode())


@given(routes, st.binary(max_size=60))
@settings(max_examples=60)
def test_binary_bodies(route: tuple[str, bytes], body: bytes) -> None:
    """Bytes that are no JSON are refused with 4xx."""
    check(*route, body)


@given(routes, bodies, st.integers(0, 400), st.binary(max_size=4))
@settings(max_examples=80)
def test_broken_bodies(route: tuple[str, bytes], body: Any, place: int, inserted: bytes) -> None:
    """JSON with something odd in it, or without its end, is refused or means something else."""
    text = json.dumps(body, ensure_ascii=False).encode(errors="replace")
    cut = min(place, len(text))
    check(*route, text[:cut] + inserted + text[cut:])
    check(*route, text[:cut])


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "X"]),
    st.one_of(
        st.binary(max_size=30).map(lambda rest: b"/" + rest),
        st.lists(
            st.sampled_from(
                [b"/", b"v1", b"contexts", b"c", b"%2F", b"..", b"messages", b"%", b"\xff"]
            ),
            max_size=8,
        ).map(b"".join),
        st.sampled_from([b"/v1/contexts/c/messages", b"/v1/contexts/c/context", b"/v1/contexts"]),
    ),
    st.one_of(
        st.binary(max_size=30),
        st.lists(
            st.sampled_from(
                [
                    b"limit=",
                    b"from_seq=",
                    b"to_seq=",
                    b"-1",
                    b"5",
                    b"&",
                    b"%",
                    b"=",
                    b"if_version=1",
                ]
            ),
            max_size=6,
        ).map(b"".join),
    ),
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *(b"if-none-match", b"origin", b"host", b"authorization", b"content-type"),
                    *(b"idempotency-key", b"x-request-id", b"content-length", b"expect"),
                    *(b"transfer-encoding", b"content-encoding", b"access-control-request-method"),
                ]
            ),
            st.binary(max_size=12),
        ),
        max_size=4,
    ),
)
@settings(max_examples=200)
def test_paths_queries_and_headers(
    method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """No path, query or header is a 5xx; whatever is refused has the shape of an error."""
    node = composed(api_keys=("key",) if len(path) % 2 else ())

    async def story(client: httpx.AsyncClient) -> None:
        key = [(b"authorization", b"Bearer key")] if node.settings.api_keys else []
        body = b'{"token_budget":5}'
        reply = await send(
            node.app, method, path, query=query, headers=[*headers, *key], pieces=[body]
        )
        assert reply.status < 500, reply
        if reply.status >= 400 and method != "HEAD":
            assert reply.json()["error"]
            assert reply.json()["message"]

    run(story, node)
