"""Clients that write to a server while it is stopped or killed, and what they know to be true."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.kit.http import GONE, Client, Reply, connected
from tests.kit.messages import user

ANSWERS_KEPT: Final = 300

CONFIGS: Final[tuple[dict[str, Any], ...]] = (
    {"token_budget": 300, "policy": {"strategy": "last_n", "config": {"limit": 12}}},
    {"token_budget": 200},
    {"token_budget": 250, "policy": {"strategy": "skip_parts"}},
    {"token_budget": 100_000, "policy": {"strategy": "manual"}},
)


PUT_IDS: Final = 3
"""So few ids of messages that are put, so that most of these are revisions."""


class Write(NamedTuple):
    """A request that writes: where to, with which messages, under which key."""

    context_id: str
    place: str
    body: dict[str, Any]
    ids: tuple[str, ...]
    key: str | None

    @property
    def method(self) -> str:
        """The method: messages with an id of their own are put."""
        return "PUT" if self.place.startswith("messages/") else "POST"

    @property
    def looks_back(self) -> bool:
        """Whether it may need messages that were trimmed."""
        return self.place not in {"messages", "compact"}

    @property
    def has_messages(self) -> bool:
        """Whether it appends messages, or revises one."""
        return self.place.startswith("messages")


@dataclass
class Known:
    """
    What the clients know of one context.

    Attributes:
        sent: Messages that were ever sent, by their name.
        acknowledged: Names of messages by the seq that was answered.
        refused: Names of messages that certainly did not get in.
        doubtful: Writes that were not answered yet.
        compacts: How many compact calls and rewinds were acknowledged.
        newest: The newest version that was answered.
        windows: What reading the LLM context gave, by version.
        log: The log as it was read last.
        version: Its version then.
    """

    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    doubtful: list[Write] = field(default_factory=list)
    compacts: int = 0
    newest: int = 0
    windows: dict[int, bytes] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    version: int = 0


class Answer(NamedTuple):
    """What was answered to a write with a key, the first time."""

    write: Write
    status: int
    body: bytes


class Load:
    """
    Clients of one server after another, which all hold the same data.

    A write with a key that was not answered is sent again, as it was, to the server that comes
    next, until it is answered. One without a key is not.

    With an *archive*, which may be away, what needs it may be refused, and its client goes on.

    Attributes:
        forks: For each fork that was acknowledged, its source, and which version of it.
    """

    def __init__(self, contexts: int, seed: int, *, archive: bool = False) -> None:
        self.known = {f"c{number}": Known() for number in range(contexts)}
        self.answers = 0
        self.replays = 0
        self.forks: dict[str, tuple[str, int]] = {}
        self._has_archive = archive
        self._seed = seed
        self._numbers = itertools.count(1)
        self._clients = itertools.count(1)
        self._unanswered: deque[Write] = deque()
        self._broken_off: set[str] = set()  # keys of writes that may have got in unanswered
        self._kept: deque[Answer] = deque(maxlen=ANSWERS_KEPT)
        self._awaited: tuple[int, asyncio.Event] | None = None

    async def create(self, port: int) -> None:
        """Make the contexts, each with one of the configurations."""
        async with connected(port) as http:
            for number, context_id in enumerate(self.known):
                config = CONFIGS[number % len(CONFIGS)]
                response = await http.ask("PUT", f"/v1/contexts/{context_id}", config)
                assert response.status == 201

    # --- writing ------------------------------------------------------------------------------

    async def answered(self, more: int) -> None:
        """Wait until so many more writes were acknowledged."""
        self._awaited = (self.answers + more, asyncio.Event())
        await asyncio.wait_for(self._awaited[1].wait(), 30)

    async def keep_writing(self, port: int) -> None:
        """Write and read as one client, until the server is gone."""
        with suppress(*GONE):
            async with connected(port) as http:
                await self._write_on(http, random.Random(f"{self._seed}/{next(self._clients)}"))

    async def _write_on(self, http: Client, chance: random.Random) -> None:
        while True:
            is_repeated = self._unanswered and chance.random() < 0.7
            write = self._unanswered.popleft() if is_repeated else self._any_write(chance)
            if not await self._sent(http, write):
                return
            if chance.random() < 0.3:
                await self._note_window(http, write.context_id)
            if self._kept and chance.random() < 0.1:
                await self._replay(http, chance.choice(self._kept))

    def _any_write(self, chance: random.Random) -> Write:
        context_id = chance.choice(list(self.known))
        key = f"key {next(self._numbers)}" if chance.random() < 0.7 else None
        is_manual = int(context_id[1:]) % len(CONFIGS) == 3
        if is_manual and chance.random() < 0.2:
            text = f"Summary {next(self._numbers)}."
            summary = user(text)
            return Write(context_id, "compact", {"replacement": [summary]}, (), key)
        known, drawn = self.known[context_id], chance.random()
        if drawn < 0.05 and known.newest:
            back = {"to_version": chance.randrange(known.newest)}
            return Write(context_id, "rewind", back, (), f"key {next(self._numbers)}")
        if drawn < 0.08:
            number = next(self._numbers)
            return Write(context_id, "fork", {"id": f"fork{number}"}, (), f"key {number}")
        place = "messages"
        if drawn < 0.2:
            (message,) = self._batch(chance, 1)
            part = {"type": "text", "text": "put " * chance.randint(1, 40)}
            message_id = f"put{chance.randrange(PUT_IDS)}"
            messages = [{**message, "role": "user", "parts": [part], "id": message_id}]
            body: dict[str, Any] = {"message": messages[0]}
            place = f"messages/{message_id}"
        elif drawn < 0.44:
            messages = self._batch(chance, chance.randint(2, 12))
            body = {"messages": messages}
        else:
            messages = self._batch(chance, 1)
            body = {"message": messages[0]}
        if messages[0]["metadata"]["batch"] % 2:  # the others are as small as requests get
            body["usage"] = {"input_tokens": 10, "output_tokens": len(messages)}
        known.sent |= {name_of(message): message for message in messages}
        return Write(context_id, place, body, tuple(map(name_of, messages)), key)

    def _batch(self, chance: random.Random, size: int) -> list[dict[str, Any]]:
        numbers = [next(self._numbers) for _ in range(size)]
        return [self._message(chance, number, number - numbers[0], size) for number in numbers]

    def _message(self, chance: random.Random, number: int, place: int, size: int) -> dict[str, Any]:
        text = {"type": "text", "text": "word " * chance.randint(1, 40)}
        call = {"type": "tool_call", "tool_call_id": f"call {number}", "name": "look"}
        result = {"type": "tool_result", "tool_call_id": f"call {number - 1}", "output": "found"}
        role, part = chance.choice(
            [("user", text), ("assistant", text), ("assistant", call), ("tool", result)]
        )
        metadata = {"batch": number - place, "size": size, "name": f"m{number}"}
        return {"role": role, "parts": [part], "metadata": metadata, "id": f"m{number}"}

    async def _sent(self, http: Client, write: Write) -> bool:
        """Send *write* and note what became of it; False if the server takes no more."""
        known = self.known[write.context_id]
        if write not in known.doubtful:
            known.doubtful.append(write)
        try:
            response = await self._post(http, write)
        except GONE:
            self._leave(write, certain=False)
            raise
        if response.status == 503:
            is_certain = response.json["error"] == "unavailable"
            self._leave(write, certain=is_certain)
            return self._has_archive and is_certain and write.looks_back
        self._check_replay(write, response)
        self._acknowledge(write, response)
        return True

    def _leave(self, write: Write, *, certain: bool) -> None:
        """Note that *write* was not taken: *certain*, or nobody knows."""
        if write.key is not None:
            self._unanswered.append(write)
            if not certain:
                self._broken_off.add(write.key)
        elif certain:
            known = self.known[write.context_id]
            known.doubtful.remove(write)
            known.refused.update(write.ids)

    def _check_replay(self, write: Write, response: Reply) -> bool:
        """
        Hold what an answer says of itself against what is known of its write; True if the write had
        got in before. The log was read since the write was sent last, if that had broken off.
        """
        assert response.status in {200, 201}, response.body
        is_replayed: bool = response.headers.get("idempotent-replayed") == "true"
        if write.key not in self._broken_off:
            assert not is_replayed, "a write that was refused has got in"
        elif write.has_messages:
            log = self.known[write.context_id].log
            landed = [name for name in map(name_of, log) if name in write.ids]
            assert landed in ([], list(write.ids)), "a batch is half there"
            assert is_replayed is bool(landed), "the key and the message did not land together"
        return is_replayed

    async def _replay(self, http: Client, first: Answer) -> None:
        """Send a write again that was answered long ago: it is answered as then."""
        response = await self._post(http, first.write)
        if response.status == 503:
            return
        assert response.headers.get("idempotent-replayed") == "true"
        assert (response.status, response.body) == (first.status, first.body)
        self.replays += 1

    async def _post(self, http: Client, write: Write) -> Reply:
        path = f"/v1/contexts/{write.context_id}/{write.place}"
        return await http.ask(write.method, path, write.body, write.key)

    def _acknowledge(self, write: Write, response: Reply) -> None:
        known = self.known[write.context_id]
        answer = response.json
        if write.key is not None:
            self._kept.append(Answer(write, response.status, response.body))
        known.doubtful.remove(write)
        if write.place == "fork":
            origin = answer["forked_from"]
            assert origin["id"] == write.context_id
            self.forks[answer["id"]] = (write.context_id, origin["version"])
        elif write.place in {"compact", "rewind"}:
            known.compacts += 1
            known.newest = max(known.newest, answer["version"])
        else:
            results = answer.get("results", [answer])
            assert len(results) == len(write.ids)
            for result, message_id in zip(results, write.ids, strict=True):
                assert known.acknowledged.setdefault(result["seq"], message_id) == message_id
                known.newest = max(known.newest, result["version"])
        self.answers += 1
        if self._awaited and self.answers >= self._awaited[0]:
            self._awaited[1].set()

    async def _note_window(self, http: Client, context_id: str) -> None:
        """Read the LLM context, and hold it against every other reading of the same version."""
        response = await http.ask("GET", f"/v1/contexts/{context_id}/context")
        assert response.status == 200
        windows = self.known[context_id].windows
        version = response.json["version"]
        assert windows.setdefault(version, response.body) == response.body

    # --- checking -----------------------------------------------------------------------------

    async def check(self, port: int) -> None:
        """Hold what the server has against what its clients know, while nobody writes."""
        async with connected(port) as http:
            for context_id, known in self.known.items():
                await self._check_log(http, context_id, known)
                await self._note_window(http, context_id)
                for write in list(known.doubtful):
                    if write.key is None and write.has_messages:
                        self._settle_keyless(known, write)
            await self._check_forks(http)

    async def check_to_the_end(self, port: int) -> None:
        """Check, settle whatever is still in doubt, and check again."""
        await self.check(port)
        async with connected(port) as http:
            for known in self.known.values():
                await self._settle_all(http, known)
        self._unanswered.clear()
        await self.check(port)

    async def _settle_all(self, http: Client, known: Known) -> None:
        landed = known.version - len(known.log) - known.compacts
        keyed = [write for write in known.doubtful if write.key is not None]
        replayed = sum([await self._settle(http, write) for write in keyed])
        assert 0 <= landed - replayed <= len(known.doubtful)  # compact calls without keys
        known.compacts += landed - replayed
        known.doubtful.clear()

    async def _check_log(self, http: Client, context_id: str, known: Known) -> None:
        """Check the log of one context."""
        path = f"/v1/contexts/{context_id}"
        found = (await http.ask("GET", path)).json
        page = (await http.ask("GET", f"{path}/messages?limit=10000")).json
        log = page["messages"]
        ids = [name_of(message) for message in log]
        assert [message["seq"] for message in log] == list(range(1, len(log) + 1))
        assert (found["last_seq"], found["version"]) == (len(log), page["version"])
        assert log[: len(known.log)] == known.log, "the log was rewritten"
        assert len(set(ids)) == len(ids), "a message is there twice"
        assert not known.refused & set(ids), "a refused message is there"
        for seq, message_id in known.acknowledged.items():
            assert ids[seq - 1 : seq] == [message_id], f"message {seq} of {context_id} is lost"
        for message in log:
            sent = known.sent[name_of(message)]
            assert {name: message[name] for name in sent} == sent
        known.log, known.version = log, found["version"]
        self._check_batches(log)
        self._check_versions(known)
        reported = [m["metadata"]["batch"] for m in log if m["metadata"]["batch"] % 2]
        assert found["usage"]["input_tokens"] == 10 * len(set(reported)), "a report is lost"
        assert found["usage"]["output_tokens"] == len(reported)

    async def _check_forks(self, http: Client) -> None:
        """Each fork that was acknowledged is there with all that it began with, and no half one."""
        listing = (await http.ask("GET", "/v1/contexts?prefix=fork&limit=1000")).json["contexts"]
        there = {context["id"] for context in listing}
        doubtful = {
            write.body["id"]
            for known in self.known.values()
            for write in known.doubtful
            if write.place == "fork"
        }
        assert self.forks.keys() <= there <= self.forks.keys() | doubtful
        for context in listing:
            source, version = context["forked_from"]["id"], context["forked_from"]["version"]
            assert self.forks.get(context["id"], (source, version)) == (source, version)
            path = f"/v1/contexts/{source}/compactions?limit=1000"
            rewrites = (await http.ask("GET", path)).json["compactions"]
            rewinds = {row["version"]: row["to_version"] for row in rewrites if "to_version" in row}
            expected = standing(self.known[source].log, rewinds, version)
            path = f"/v1/contexts/{context['id']}/messages?limit=10000"
            log = (await http.ask("GET", path)).json["messages"]
            assert [message["seq"] for message in log] == list(range(1, context["last_seq"] + 1))
            assert list(map(name_of, log)) == list(map(name_of, expected))
            assert [message["parts"] for message in log] == [m["parts"] for m in expected]

    def _check_batches(self, log: list[dict[str, Any]]) -> None:
        """Messages that were sent together stand together, all of them."""
        batches = itertools.groupby(log, lambda message: message["metadata"]["batch"])
        sizes = {batch: [message["metadata"]["size"] for message in run] for batch, run in batches}
        assert all(run == [len(run)] * len(run) for run in sizes.values())
        assert sum(map(len, sizes.values())) == len(log)

    def _check_versions(self, known: Known) -> None:
        """Each message, compact call and rewind has brought one version, and nothing else has."""
        extra = [message["version"] - message["seq"] for message in known.log]
        assert extra == sorted(extra)
        in_doubt = sum(write.place in {"compact", "rewind"} for write in known.doubtful)
        compacts = known.version - len(known.log)
        assert known.compacts <= compacts <= known.compacts + in_doubt
        assert not extra or extra[-1] <= compacts

    def _settle_keyless(self, known: Known, write: Write) -> None:
        """Read off the log what became of messages that nobody will send again."""
        known.doubtful.remove(write)
        seqs = {name_of(message): message["seq"] for message in known.log}
        landed = [name for name in write.ids if name in seqs]
        assert landed in ([], list(write.ids)), "a batch is half there"
        if landed:
            known.acknowledged |= {seqs[name]: name for name in landed}
        else:
            known.refused.update(write.ids)

    async def _settle(self, http: Client, write: Write) -> bool:
        """Send *write* again; True if it was a compact call or a rewind that had landed."""
        response = await self._post(http, write)
        is_replayed = self._check_replay(write, response)
        self._acknowledge(write, response)
        return is_replayed and write.place in {"compact", "rewind"}


def name_of(message: dict[str, Any]) -> str:
    """Tell which message it is; of revisions, each has a name of its own."""
    name: str = message["metadata"]["name"]
    return name


def standing(
    log: list[dict[str, Any]], rewinds: dict[int, int | None], version: int
) -> list[dict[str, Any]]:
    """Give the messages on the path after a version; *rewinds* say which version each leads to."""
    messages = {message["version"]: message for message in log}
    paths: list[dict[int, dict[str, Any]]] = [{}]
    for number in range(1, version + 1):
        target = rewinds.get(number)
        if target is not None:
            paths.append(paths[target])
        elif number in messages:
            message = messages[number]
            paths.append({**paths[-1], message.get("revises") or message["seq"]: message})
        else:
            paths.append(paths[-1])
    return [paths[version][place] for place in sorted(paths[version])]
