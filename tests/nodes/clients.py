"""Clients that write and read through any node, and note what they asked and what they met."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple

from tests.kit.http import GONE, Client, Reply, connected
from tests.kit.messages import user
from tests.nodes.cluster import Cluster
from tests.nodes.history import (
    NEVER,
    Answer,
    Append,
    Appended,
    AtVersion,
    Call,
    Compact,
    Compacted,
    Delete,
    Deleted,
    Fork,
    Forked,
    Found,
    Log,
    Message,
    Patch,
    Path,
    Placed,
    Put,
    PutMessage,
    Read,
    Refused,
    Rewind,
    Rewound,
    Window,
    Write,
)

PAUSE_SECONDS: Final = 0.05
"""How long a client waits before it tries another node, or the same again."""

TRIES_MAX: Final = 600

KEPT: Final = 100
"""How many answers are kept to ask for them again."""

NEWEST: Final = 5

KEYS: Final = 4
"""So few ids of messages that are put, in each context."""

BACK_MAX: Final = 8
"""How far a rewind goes back."""

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
        forks: Contexts that are made by forks alone.
    """

    def __init__(
        self, cluster: Cluster, contexts: int, seed: int, tombs: int = 0, forks: int = 0
    ) -> None:
        self.forks = [f"c-fork{number}" for number in range(forks)]
        self.ids = [f"c{number}" for number in range(contexts)] + self.forks
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
                    for place in (
                        "",
                        "/messages?from_seq=-10000&limit=10000",
                        "/messages?path=current&limit=10000",
                        "/context",
                    ):
                        await one.read(context_id, place, number)

    async def fill_in_forks(self) -> None:
        """Say what each fork that was made began with, as its source tells of that version."""
        async with connected(self._cluster.nodes[0].port) as client:
            for context_id in self.forks:
                made = await client.ask("GET", f"/v1/contexts/{context_id}")
                origin = made.json.get("forked_from")
                calls = self.calls[context_id]
                for place, call in enumerate(calls):
                    asked = call.asked
                    if not isinstance(asked, Fork):
                        continue
                    if isinstance(call.answer, Forked):
                        assert origin == {"id": asked.source, "version": asked.version}
                    elif origin is None or origin["id"] != asked.source:
                        continue
                    version = origin["version"]
                    filled = await beginning(client, asked._replace(version=version), version)
                    calls[place] = replace(call, asked=filled)
                # Of those without an answer, the others were certainly not made.
                calls[:] = [
                    call
                    for call in calls
                    if not isinstance(call.asked, Fork) or call.asked.version is not None
                ]

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
            path = "/messages?path=current&limit=10000"
            place = chance.choice(["", f"/messages?from_seq=-{NEWEST}", path, "/context", "list"])
            await self.read(context_id, place, self._any_node())
        elif kept is not None and chance.random() < 0.1:
            await self._ask_again(kept)
        else:
            asked = self._any_write(context_id)
            is_keyed = isinstance(asked, Append | PutMessage) and chance.random() < 0.7
            is_keyed |= isinstance(asked, Compact | Rewind | Fork)
            await self._write(context_id, asked, is_keyed=is_keyed)

    def _any_node(self) -> int:
        return self._chance.randrange(len(self._cluster.nodes))

    def _any_write(self, context_id: str) -> Write:
        chance, name = self._chance, self._all.new_name
        kinds = {"append": 12, "message": 5, "compact": 2, "rewind": 2, "patch": 2, "put": 1}
        kinds |= {"delete": 1, "fork": 1}
        (kind,) = chance.choices(list(kinds), list(kinds.values()))
        if self._all.forks and kind == "fork" and context_id in self._all.forks:
            sources = set(self._all.ids) - self._all.tombs - {context_id}
            return Fork(chance.choice(sorted(sources)), name("p"))
        if_version = self._versions.get(context_id) if chance.random() < 0.4 else None
        if kind == "delete" and context_id in self._all.tombs and self._all.answers > 200:
            return Delete(purge=chance.random() < 0.3)
        if kind == "compact":
            return Compact(name("s"), if_version)
        if kind == "patch":
            return Patch(name("p"))
        is_known = context_id in self._versions
        if kind == "message":
            return PutMessage(f"k{chance.randrange(KEYS)}", name("u"), if_version)
        if kind == "rewind" and is_known:
            version = self._versions[context_id]
            return Rewind(chance.randint(max(version - BACK_MAX, 0), version), if_version)
        if (kind == "put" or not is_known) and context_id not in self._all.forks:
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
        if isinstance(asked, Fork):
            if not self._note_fork(context_id, asked, reply, began, is_doubtful=is_doubtful):
                return
            asked = asked._replace(version=reply.json["forked_from"]["version"])
        assert is_doubtful or "idempotent-replayed" not in reply.headers, "a refused write got in"
        answer = _answer(asked, reply)
        self._note(context_id, Call(began, time.monotonic(), asked, answer))
        self._learn(context_id, answer)
        if not isinstance(answer, Refused):
            self._all.answers += 1
            is_stored = not isinstance(asked, Rewind) or reply.json["version"] > asked.to_version
            if key is not None and is_stored:
                self._all.keep(Replayable(context_id, asked, request, reply))

    def _note_fork(
        self, context_id: str, asked: Fork, reply: Reply, began: float, *, is_doubtful: bool
    ) -> bool:
        """Note what a fork says of its source; False if it was not made, as far as is known."""
        ended = time.monotonic()
        if reply.status == 201:
            version = reply.json["forked_from"]["version"]
            self._note(asked.source, Call(began, ended, Read(), AtVersion(version)))
            return True
        refused = _refused(reply)
        if refused.error == "not_found":
            self._note(asked.source, Call(began, ended, Read(), refused))
        else:  # it is there, or another one is forming
            assert refused.error == "already_exists"
        if is_doubtful:
            self._note(context_id, Call(began, NEVER, asked, None))
        return False

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
        elif isinstance(answer, Found | Log | Window | Path | Compacted | Rewound | Forked):
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
    body: dict[str, Any]
    match asked:
        case Put(mark):
            return Request("PUT", path, {**MANUAL, "metadata": {mark: True}}, key)
        case Patch(mark):
            return Request("PATCH", f"{path}/metadata", {"metadata": {mark: True}}, key)
        case Append(ids, if_version):
            messages = [_message(name) for name in ids]
            body = {"messages": messages, "if_version": if_version}
            return Request("POST", f"{path}/messages", body, key)
        case PutMessage(message_key, name, if_version):
            message = {**_message(name), "id": message_key}
            body = {"message": message, "if_version": if_version}
            return Request("PUT", f"{path}/messages/{message_key}", body, key)
        case Rewind(to_version, if_version):
            body = {"to_version": to_version, "if_version": if_version}
            return Request("POST", f"{path}/rewind", body, key)
        case Fork(source, mark):
            body = {"id": context_id, "metadata": {mark: True}}
            return Request("POST", f"/v1/contexts/{source}/fork", body, key)
        case Compact(name, if_version):
            body = {"replacement": [_message(name)], "if_version": if_version}
            return Request("POST", f"{path}/compact", body, key)
        case Delete(purge):
            return Request("DELETE", path + "?purge=true" * purge, None, key)


def _message(name: str) -> dict[str, Any]:
    return user(f"It is {name}.", id=name)


def _name(message: dict[str, Any]) -> str:
    """Tell the name of a message, which is that of its content."""
    text: str = message["parts"][0]["text"]
    return text.removeprefix("It is ").removesuffix(".")


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
        case PutMessage(_, name):
            one = reply.json
            return Appended((Message(name, one["seq"], one["version"], one.get("revises")),))
        case Compact():
            return Compacted(reply.json["version"])
        case Rewind():
            return Rewound(reply.json["version"])
        case Fork():
            return Forked(reply.json["version"], reply.json["last_seq"])
        case Delete():
            assert reply.status == 204
            return Deleted()


def _read(place: str, reply: Reply) -> Answer:
    """Parse the answer to a read."""
    if reply.status >= 400:
        return _refused(reply)
    found = reply.json
    if place.startswith("/messages?path"):
        return Path(found["version"], tuple(map(_name, found["messages"])))
    if place.startswith("/messages"):
        wanted = int(place.partition("=-")[2].partition("&")[0])
        messages = tuple(
            Message(_name(m), m["seq"], m["version"], m.get("revises")) for m in found["messages"]
        )
        return Log(wanted, messages, found["version"])
    if place == "/context":
        return Window(found["version"], tuple(map(_name, found["messages"])))
    return _found(found)


def _refused(reply: Reply) -> Refused:
    assert reply.status in {404, 409}, reply.body
    return Refused(reply.json["error"], reply.json.get("found"))


def _found(found: dict[str, Any], *, made: bool = False) -> Found:
    marks = frozenset(found["metadata"])
    return Found(found["status"], found["version"], found["last_seq"], marks, made)


async def beginning(client: Client, asked: Fork, version: int) -> Fork:
    """Tell what a fork begins with, from the log of its source and the rewinds in it."""
    path = f"/v1/contexts/{asked.source}"
    log = (await client.ask("GET", f"{path}/messages?limit=10000")).json["messages"]
    told = (await client.ask("GET", f"{path}/compactions?limit=10000")).json["compactions"]
    window = (await client.ask("GET", f"{path}/context?at_version={version}")).json["messages"]
    messages = {message["version"]: message for message in log}
    rewinds = {row["version"]: row["to_version"] for row in told if row["strategy"] == "rewind"}
    paths: list[dict[int, Placed]] = [{}]
    for number in range(1, version + 1):
        now = dict(paths[-1])
        if number in rewinds:
            now = paths[rewinds[number]]
        elif number in messages:
            message = messages[number]
            place, key = message.get("revises") or message["seq"], message["id"]
            is_put = key.startswith("k")
            now[place] = Placed(place, _name(message), key if is_put else None)
        paths.append(now)
    standing = tuple(paths[version][place] for place in sorted(paths[version]))
    return asked._replace(path=standing, window=tuple(map(_name, window)))
