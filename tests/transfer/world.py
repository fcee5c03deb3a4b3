"""Contexts that have lived, and ways to move them and to ask a node all about them."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import httpx

from fastpaca.api.frames import event
from fastpaca.context.config import policy_text
from fastpaca.store.base import PageBounds, Store
from fastpaca.testing import ManualClock, SocketlessNode, composed, running
from fastpaca.transfer.exporter import export_contexts
from fastpaca.transfer.file import ExportFile, StreamSink
from fastpaca.transfer.format import FORMAT, HeaderLine
from fastpaca.transfer.history import PAGE
from fastpaca.transfer.importer import Imported, Importer
from fastpaca.transfer.reader import ExportReader
from fastpaca.transfer.verify import Verification
from tests.context.story import BUDGETS, RATIOS, Talk, drawn_policy
from tests.kit.stores import opened

NAMES = ("a", "a/ü %2F?#", "é" * 256, "😀", "z" * 129)

MESSAGE_IDS = ("m", "é/m", "x" * 512)

RAW = (
    '{"message":{"role":"user","parts":[{"type":"n","big":1180591620717411303424,"one":1.0,'
    '"exp":1E400,"zero":-0,"twice":1,"twice":2,"nul":"\\u0000","\\u00e9":"\\ud83d\\ude00"}],'
    '"z":1,"a":[ 1, 2 ]}}'
)
"""A message whose values a careless reader would change."""


CONTENT = '{"message":{"role":"user","content":"How far?"}}'
"""A message that is stored with its origin."""


def nothing(*_: int) -> None:
    """Report to nobody."""


async def live(
    store: Store,
    rng: Random,
    names: tuple[str, ...] = NAMES,
    steps: int = 20,
    *,
    forks: bool = False,
) -> None:
    """
    Let something happen to each context of *names* in *store*, which is opened for it.

    With *forks*, there may be others that were made of them.
    """
    clock = ManualClock()
    async with running(composed(store, clock=clock)) as client:
        for name in names:
            await _Life(client, clock, rng, name, forks=forks).live(rng.randint(0, steps))


class _Life:
    """The life of one context, over HTTP."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        clock: ManualClock,
        rng: Random,
        name: str,
        *,
        forks: bool,
    ) -> None:
        self._may_fork = forks
        self._client = client
        self._clock = clock
        self._rng = rng
        self._path = f"/v1/contexts/{quote(name, safe='')}"
        self._talk = Talk(rng)
        self._tokens = 0
        self._forks = 0

    async def live(self, steps: int) -> None:
        await self._put()
        for _ in range(steps):
            await self._step()
        if self._rng.random() < 0.2:
            await self._send("DELETE", "")

    async def _step(self) -> None:
        draw = self._rng.random()
        if draw < 0.6:
            body = {"message": self._talk.next()}
            if body["message"]["role"] == "assistant":
                self._tokens += 40
                body["usage"] = {"input_tokens": self._tokens, "output_tokens": 9, "model": "m"}
            await self._send("POST", "/messages", body)
        elif draw < 0.7:
            messages = [self._talk.next() for _ in range(self._rng.randint(2, 9))]
            await self._send("POST", "/messages", {"messages": messages})
        elif draw < 0.75:
            await self._send("POST", "/messages", self._rng.choice((RAW, CONTENT)))
        elif draw < 0.81:
            name = self._rng.choice(MESSAGE_IDS)
            body = {"message": {"role": "assistant", "parts": self._talk.summary()["parts"]}}
            await self._send("PUT", f"/messages/{quote(name, safe='')}", body)
        elif draw < 0.84:
            version = (await self._client.get(self._path)).json()["version"]
            await self._send("POST", "/rewind", {"to_version": self._rng.randint(0, version)})
        elif draw < 0.86 and self._may_fork:
            self._forks += 1
            await self._send("POST", "/fork", {"id": f"{len(self._path)}/fork {self._forks}"})
        elif draw < 0.91:
            await self._send("POST", "/compact", {"replacement": await self._replacement()})
        elif draw < 0.96:
            await self._put()
        else:
            await self._send("PATCH", "/metadata", {"metadata": {"n": self._rng.randint(0, 9)}})

    async def _replacement(self) -> list[Any]:
        rng = self._rng
        answer = await self._client.get(f"{self._path}/messages", params={"limit": 1000})
        log = [m for m in answer.json()["messages"] if "z" not in m]  # all but RAW
        kept = sorted(rng.sample(range(len(log)), min(len(log), rng.randint(0, 4))))
        items = [log[place] for place in kept]
        for _ in range(rng.randint(0, 3)):
            items.insert(rng.randint(0, len(items)), self._talk.summary())
        return items

    async def _put(self) -> None:
        rng = self._rng
        policy = policy_text(drawn_policy(rng)).decode()
        await self._send(
            "PUT",
            "",
            f'{{"token_budget":{rng.choice(BUDGETS)},"trigger_ratio":{rng.choice(RATIOS)},'
            f'"policy":{policy},"metadata":{{"big":1180591620717411303424,"one":1.0}}}}',
        )

    async def _send(self, method: str, path: str, body: Any = None) -> None:
        self._clock.advance(self._rng.choice((0.0, 0.000001, 1.5)))
        how = {"content": body} if isinstance(body, str) else {"json": body} if body else {}
        headers = {"content-type": "application/json"} if isinstance(body, str) else {}
        answer = await self._client.request(method, self._path + path, headers=headers, **how)
        assert answer.status_code < 300, answer.text


async def exported(store: Store, prefix: str = "") -> bytes:
    """Export what *store* holds, which is opened for it."""
    stream = io.BytesIO()
    header = HeaderLine(FORMAT, "0.0.0", "somewhere", prefix)
    async with opened(store):
        await export_contexts(store, header, ExportReader(), StreamSink(stream), nothing)
    return stream.getvalue()


def save(path: Path, text: bytes) -> None:
    """Write an export into a file."""
    path.write_bytes(text)


async def imported(store: Store, path: Path, bounds: PageBounds = PAGE) -> Imported:
    """Import the file at *path* into *store*, which is open."""
    ids = itertools.count(1)
    replay = Importer(store, lambda: next(ids).to_bytes(16, "big"), nothing, bounds)
    file = ExportFile(path)
    try:
        await replay.run(file.lines())
    finally:
        file.close()
    return replay.imported


async def differences(store: Store, path: Path) -> list[str]:
    """Compare *store*, which is open, with the file at *path*."""
    file = ExportFile(path)
    try:
        verification = Verification(store, file, nothing)
        await verification.run(file.lines())
    finally:
        file.close()
    return verification.differences


async def everything(store: Store) -> dict[str, list[bytes]]:
    """Ask a node over *store*, which is opened for it, all about each of its contexts."""
    node = composed(store)
    async with running(node) as client:
        listed = (await client.get("/v1/contexts", params={"limit": 10_000})).json()["contexts"]
        return {context["id"]: await _asked(node, client, context) for context in listed}


async def _asked(
    node: SocketlessNode, client: httpx.AsyncClient, context: dict[str, Any]
) -> list[bytes]:
    path = f"/v1/contexts/{quote(context['id'], safe='')}"
    asks = ["", "/context", "/context?budget_tokens=50", "/tail?limit=5", "/compactions"]
    asks += ["/messages?limit=10000", "/messages?limit=10000&path=current"]
    asks += ["/tail?limit=4&path=current", "/context?explain=true"]
    asks += [f"/context?at_version={n}" for n in range(context["version"] + 1)]
    found = [
        (await client.get(f"{path}/messages/{quote(name, safe='')}")).content
        for name in MESSAGE_IDS
    ]
    for ask in asks:
        answer = await client.get(path + ask)
        assert answer.status_code == 200, answer.text
        found += [answer.headers.get("etag", "").encode(), answer.content]
    return [*found, await _events(node, context)]


async def _events(node: SocketlessNode, context: dict[str, Any]) -> bytes:
    """Follow a context from its beginning to where it is now."""
    follower = await node.service.follow(context["id"], 0, event, wants_messages=True)
    found: list[bytes] = []
    while follower.cursor < context["version"]:
        found += await follower.next()
    follower.close()
    return b"".join(found)
