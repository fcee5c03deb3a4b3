"""A node over a store in memory, and a client whose requests go to it without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from fastpaca.testing import SocketlessNode, composed, running

T = TypeVar("T")

ENDLESS = ("openStream", "readEvents")
"""Operations whose responses have no end."""


def run(
    story: Callable[[httpx.AsyncClient], Awaitable[T]], node: SocketlessNode | None = None
) -> T:
    """Play *story* with a client of a started node, and stop it."""

    async def play() -> T:
        async with running(node or composed()) as client:
            return await story(client)

    return asyncio.run(play())


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
