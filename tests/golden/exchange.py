"""Requests with the answers that they got: written down once, and played again for ever."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fastpaca.testing import BEGINNING_US, ManualClock, SocketlessNode
from tests.kit.requests import body_headers, send

KEPT_HEADERS = ("etag", "idempotent-replayed")


class Ask(NamedTuple):
    """
    A request.

    Attributes:
        method: Its method.
        target: Its path and query, as they are sent.
        body: Its body, as it is sent.
        key: Its idempotency key.
        at: When it is sent, in seconds since the beginning of the story.
    """

    method: str
    target: str
    body: str = ""
    key: str | None = None
    at: int = 0


class Exchange(NamedTuple):
    """A request, and the status, body and telling headers of its answer."""

    ask: Ask
    status: int
    answer: str
    headers: dict[str, str]


async def played(node: SocketlessNode, clock: ManualClock, ask: Ask) -> Exchange:
    """Send a request to a started *node* and write down what comes back."""
    clock.now_us = BEGINNING_US + ask.at * 1_000_000
    path, _, query = ask.target.encode().partition(b"?")
    body = ask.body.encode()
    key = [] if ask.key is None else [(b"idempotency-key", ask.key.encode())]
    reply = await send(
        node.app,
        ask.method,
        path,
        query=query,
        headers=[*(body_headers(body) if body else ()), *key],
        pieces=[body],
    )
    kept = {name: reply.headers[name] for name in KEPT_HEADERS if name in reply.headers}
    return Exchange(ask, reply.status, reply.body.decode(), kept)


def write(path: Path, exchanges: Iterable[Exchange]) -> None:
    """Write *exchanges* down, one a line, compressed: `gzip -dc` shows them."""
    text = "".join(f"{_line(exchange)}\n" for exchange in exchanges)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _line(exchange: Exchange) -> str:
    told: dict[str, Any] = {**exchange.ask._asdict(), **exchange._asdict()}
    del told["ask"]
    return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False)


def read(path: Path) -> list[Exchange]:
    """Read what `write` wrote."""
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    return [_exchange(json.loads(line)) for line in lines[:-1]]


def _exchange(told: dict[str, Any]) -> Exchange:
    ask = Ask(**{name: told[name] for name in Ask._fields if name in told})
    return Exchange(ask, told["status"], told.get("answer", ""), told.get("headers", {}))
