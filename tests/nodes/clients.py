"""Clients that write and read through any node, and note what they asked and what they met."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

from tests.kit.http import GONE, Client, Reply, connected
from tests.kit.messages import user
from tests.nodes.cluster import Cluster
from tests.nodes.history import (
    NEVER,
    Answer,
    Append,
    Appended,
    Call,
    Compact,
    Compacted,
    Delete,
    Deleted,
    Found,
    Log,
    Message,
    Patch,
    Put,
    Read,
    Refused,
    Window,
    Write,
)

PAUSE_SECONDS: Final = 0.05
"""How long a client waits before it tries another node, or the same again."""

TRIES_MAX: Final = 600

KEPT: Final = 100
"""How many answers are kept to ask for them again."""

NEWEST: Final = 5

MANUAL: Final = {"token_budget": 1_000_000, "policy": {"strategy": "manual"}}
"""Only compact calls rewrite the window."""


class Request(NamedTuple):
    """A write as it goes over the wire."""

    method: str
    path: str
    body: object
    key: str | None


class Replayable(NamedTuple):
    """A write with a key that was answered."""

    context_id: str
    asked: Write
    request: Request
    reply: Reply


class Clients:
    """
    Clients of all nodes, and what they met.

    Attributes:
        calls: By context, in no order.
        answers: How many writes were acknowledged.
        unavailable: How many answers said that nothing can be done now.
        lost: How many requests broke off.
        replays: How many answers were asked for again.
        tombs: Contexts that may be deleted.
    """

    def __init__(self, cluster: Cluster, contexts: int, seed: int, tombs: int = 0) -> None:
        self.ids = [f"c{number}" for number in range(contexts)]
        self.tombs = frozenset(self.ids[:tombs])
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self.answers = 0
        self.unavailable = 0
        self.lost = 0
        self.replays = 0
        self.is_over = False
        self._cluster = cluster
        self._seed = seed
        self._numbers = itertools.count(1)
        self._kept: deque[Replayable] = deque(maxlen=KEPT)

    async def answered(self, more: int) -> None:
        """Wait until so many more writes were acknowledged."""
        goal = self.answers + more
        async with asyncio.timeout(120):
            while self.answers < goal:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def busy(self, count: int) -> AsyncIterator[None]:
        """Let so many clients write and read during this block, and finish what they began."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(One(self, self._cluster, f"{self._seed}/{number}").work())
            try:
                yield
            finally:
                self.is_over = True

    async def read_all(self) -> None:
        """Read all of every context from every node, when nobody writes any more."""
        for number in range(len(self._cluster.nodes)):
            async with AsyncExitStack() as stack:
                one = One(self, self._cluster, f"{self._seed}/last", stack)
                for context_id in self.ids:
                    for place in ("", "/messages?from_seq=-10000&limit=10000", "/context"):
                        await one.read(context_id, place, number)

    def new_name(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"

    def keep(self, replayable: Replayable) -> None:
        self._kept.append(replayable)

    def any_kept(self, chance: random.Random) -> Replayable | None:
        return chance.choice(self._kept) if self._kept else None


class One:
    """One client, with a connection to each node."""

    def __init__(
        self, clients: Clients, cluster: Cluster, seed: str, stack: AsyncExitStack | None = None
    ) -> None:
        self._all = clients
        self._cluster = cluster
        self._chance = random.Random(seed)
        self._stack = stack or AsyncExitStack()
        self._connections: dict[int, Client] = {}  # by port: a node that comes back has another
        self._versions: dict[str, int] = {}

    async def work(self) -> None:
        """Write and read until it is over."""
        async with self._stack:
            while not self._all.is_over:
                await self._any_call()

    async def _any_call(self) -> None:
        chance, context_id = self._chance, self._chance.choice(self._all.ids)
        kept = self._all.any_kept(chance)
        if chance.random() < 0.4:
            place = chance.choice(["", f"/messages?from_seq=-{NEWEST}", "/context", "list"])
            await self.read(context_id, place, self._any_node())
        elif kept is not None and chance.random() < 0.1:
            await self._ask_again(kept)
        else:
            asked = self._any_write(context_id)
            is_keyed = isinstance(asked, Append) and chance.random() < 0.7
            await self._write(context_id, asked, is_keyed=is_keyed or isinstance(asked, Compact))

    def _any_node(self) -> int:
        return self._chance.randrange(len(self._cluster.nodes))

    def _any_write(self, context_id: str) -> Write:
        chance, name = self._chance, self._all.new_name
        kind = chance.choices(["append", "compact", "patch", "put", "delete"], [12, 2, 2, 1, 1])[0]
        if_version = self._versions.get(context_id) if chance.random() < 0.4 else None
        if kind == "delete" and context_id in self._all.tombs and self._all.answers > 200:
            return Delete(purge=chance.random() < 0.3)
        if kind == "compact":
            return Compact(name("s"), if_version)
        if kind == "patch":
            return Patch(name("p"))
        if kind == "put" or context_id not in self._versions:
            return Put(name("p"))
        size = chance.choice([1, 1, 1, 2, 7])
        return Append(tuple(name("m") for _ in range(size)), if_version)

    # --- writing ------------------------------------------------------------------------------

    async def _write(self, context_id: str, asked: Write, *, is_keyed: bool) -> None:
        """
        Write, and note what became of it.

        With a key the same is sent again, to any node, until it is answered. Without one it is sent
        again only if certainly nothing was done.
        """
        key = self._all.new_name("key ") if is_keyed else None
        request = _request(context_id, asked, key)
        began, is_doubtful, reply = time.monotonic(), False, None
        for _ in range(TRIES_MAX):
            reply = await self._sent(request, self._any_node())
            if reply is not None and reply.status != 503:
                break
            if reply is None or reply.json["error"] == "outcome_unknown":
                is_doubtful = True
                if key is None:
                    self._note(context_id, Call(began, NEVER, asked, None))
                    return
            await asyncio.sleep(PAUSE_SECONDS)
        assert reply is not None, "never answered"
        assert is_doubtful or "idempotent-replayed" not in reply.headers, "a refused write got in"
        answer = _answer(asked, reply)
        self._note(context_id, Call(began, time.monotonic(), asked, answer))
        self._learn(context_id, answer)
        if not isinstance(answer, Refused):
            self._all.answers += 1
            if key is not None:
                self._all.keep(Replayable(context_id, asked, request, reply))

    async def _ask_again(self, kept: Replayable) -> None:
        """Send a write that was answered: it is answered as then, unless its context is purged."""
        began = time.monotonic()
        reply = await self._sent(kept.request, self._any_node())
        if reply is None or reply.status == 503:
            return
        if reply.status == 409 and reply.json["error"] == "purged":
            call = Call(began, time.monotonic(), kept.asked, Refused("purged"))
            self._note(kept.context_id, call)
            return
        assert reply.headers.get("idempotent-replayed") == "true"
        assert (reply.status, reply.body) == (kept.reply.status, kept.reply.body)
        self._all.replays += 1

    # --- reading ------------------------------------------------------------------------------

    async def read(self, context_id: str, place: str, number: int) -> None:
        """Read from the node *number*: one thing of one context, or the representations of all."""
        path = f"/v1/contexts/{context_id}{place}"
        if place == "list":
            path = f"/v1/contexts?prefix=c&limit={len(self._all.ids)}"
        began = time.monotonic()
        reply = await self._sent(Request("GET", path, None, None), number)
        ended = time.monotonic()
        if reply is None or reply.status == 503:
            return
        if place == "list":
            for found in reply.json["contexts"]:
                self._note(found["id"], Call(began, ended, Read(), _found(found)))
            listed = {found["id"] for found in reply.json["contexts"]}
            for missing in set(self._all.ids) - listed:
                self._note(missing, Call(began, ended, Read(), Refused("not_found")))
            return
        answer = _read(place, reply)
        self._note(context_id, Call(began, ended, Read(), answer))
        self._learn(context_id, answer)

    # --- notes --------------------------------------------------------------------------------

    def _note(self, context_id: str, call: Call) -> None:
        self._all.calls[context_id].append(call)

    def _learn(self, context_id: str, answer: Answer) -> None:
        """Keep the newest version that this client was given."""
        if isinstance(answer, Appended):
            self._versions[context_id] = answer.messages[-1].version
        elif isinstance(answer, Found | Log | Window | Compacted):
            self._versions[context_id] = answer.version
        elif isinstance(answer, Refused) and answer.found is not None:
            self._versions[context_id] = answer.found

    # --- connections --------------------------------------------------------------------------

    async def _sent(self, request: Request, number: int) -> Reply | None:
        """Ask a node; None if there was no answer. One that isn't there was not asked."""
        while True:
            client = await self._connection(number)
            if client is not None:
                break
            await asyncio.sleep(PAUSE_SECONDS)
            number = self._any_node()
        try:
            reply = await client.ask(*request)
        except GONE:
            self._all.lost += 1
            for port, known in list(self._connections.items()):
                if known is client:
                    del self._connections[port]
            return None
        if reply.status == 503:
            assert int(reply.headers["retry-after"]) > 0
            self._all.unavailable += 1
        assert reply.status < 500 or reply.status == 503, reply.body
        return reply

    async def _connection(self, number: int) -> Client | None:
        port = self._cluster.nodes[number].port
        if port not in self._connections:
            try:
                client = await self._stack.enter_async_context(connected(port))
            except ConnectionError:
                return None
            self._connections[port] = client
        return self._connections[port]


# --- the wire -------------------------------------------------------------------------------------


def _request(context_id: str, asked: Write, key: str | None) -> Request:
    path = f"/v1/contexts/{context_id}"
    match asked:
        case Put(mark):
            return Request("PUT", path, {**MANUAL, "metadata": {mark: True}}, key)
        case Patch(mark):
            return Request("PATCH", f"{path}/metadata", {"metadata": {mark: True}}, key)
        case Append(ids, if_version):
            body = {"messages": [_message(name) for name in ids], "if_version": if_version}
            return Request("POST", f"{path}/messages", body, key)
        case Compact(name, if_version):
            body = {"replacement": [_message(name)], "if_version": if_version}
            return Request("POST", f"{path}/compact", body, key)
        case Delete(purge):
            return Request("DELETE", path + "?purge=true" * purge, None, key)


def _message(name: str) -> dict[str, Any]:
    return user(f"It is {name}.", id=name)


def _answer(asked: Write, reply: Reply) -> Answer:
    """Parse the answer to a write."""
    if reply.status >= 400:
        return _refused(reply)
    match asked:
        case Put() | Patch():
            return _found(reply.json, made=reply.status == 201)
        case Append(ids):
            results = zip(ids, reply.json["results"], strict=True)
            return Appended(tuple(Message(name, r["seq"], r["version"]) for name, r in results))
        case Compact():
            return Compacted(reply.json["version"])
        case Delete():
            assert reply.status == 204
            return Deleted()


def _read(place: str, reply: Reply) -> Answer:
    """Parse the answer to a read."""
    if reply.status >= 400:
        return _refused(reply)
    found = reply.json
    if place.startswith("/messages"):
        wanted = int(place.partition("=-")[2].partition("&")[0])
        messages = tuple(Message(m["id"], m["seq"], m["version"]) for m in found["messages"])
        return Log(wanted, messages, found["version"])
    if place == "/context":
        return Window(found["version"], tuple(m["id"] for m in found["messages"]))
    return _found(found)


def _refused(reply: Reply) -> Refused:
    assert reply.status in {404, 409}, reply.body
    return Refused(reply.json["error"], reply.json.get("found"))


def _found(found: dict[str, Any], *, made: bool = False) -> Found:
    marks = frozenset(found["metadata"])
    return Found(found["status"], found["version"], found["last_seq"], marks, made)
