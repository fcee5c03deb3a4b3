"""Clients that write to a server while it is stopped or killed, and what they know to be true."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx

CONFIGS: Final[tuple[dict[str, Any], ...]] = (
    {"token_budget": 300, "policy": {"strategy": "last_n", "config": {"limit": 12}}},
    {"token_budget": 200},
    {"token_budget": 250, "policy": {"strategy": "skip_parts"}},
    {"token_budget": 100_000, "policy": {"strategy": "manual"}},
)


class Write(NamedTuple):
    """A request that writes: where to, with which messages, under which key."""

    context_id: str
    place: str
    body: dict[str, Any]
    ids: tuple[str, ...]
    key: str | None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"Idempotency-Key": self.key}


@dataclass
class Known:
    """
    What the clients know of one context.

    Attributes:
        sent: Messages that were ever sent, by their id.
        acknowledged: Ids of messages by the seq that was answered.
        refused: Ids of messages that certainly did not get in.
        doubtful: Writes that were never answered.
        compacts: How many compact calls were acknowledged.
        windows: What reading the LLM context gave, by version.
        log: The log as it was read last.
    """

    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: dict[int, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    doubtful: list[Write] = field(default_factory=list)
    compacts: int = 0
    windows: dict[int, bytes] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)


class Load:
    """Clients of one server after another, which all hold the same data."""

    def __init__(self, contexts: int, seed: int) -> None:
        self.known = {f"c{number}": Known() for number in range(contexts)}
        self.answers = 0
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._awaited: tuple[int, asyncio.Event] | None = None

    async def create(self, http: httpx.AsyncClient) -> None:
        """Make the contexts, each with one of the configurations."""
        for number, context_id in enumerate(self.known):
            config = CONFIGS[number % len(CONFIGS)]
            response = await http.put(f"/v1/contexts/{context_id}", json=config)
            assert response.status_code == 201

    # --- writing ------------------------------------------------------------------------------

    async def answered(self, more: int) -> None:
        """Wait until so many more writes were acknowledged."""
        self._awaited = (self.answers + more, asyncio.Event())
        await asyncio.wait_for(self._awaited[1].wait(), 30)

    async def keep_writing(self, http: httpx.AsyncClient) -> None:
        """Write and read as one client, until the server is gone."""
        while True:
            write = self._any_write()
            try:
                if not await self._sent(http, write):
                    return
                if self._random.random() < 0.3:
                    await self._note_window(http, write.context_id)
            except httpx.TransportError:
                return

    def _any_write(self) -> Write:
        context_id = self._random.choice(list(self.known))
        key = f"key {next(self._numbers)}" if self._random.random() < 0.5 else None
        is_manual = int(context_id[1:]) % len(CONFIGS) == 3
        if is_manual and self._random.random() < 0.2:
            summary = {"role": "user", "parts": [{"type": "text", "text": "Summary."}]}
            return Write(context_id, "compact", {"replacement": [summary]}, (), key)
        if self._random.random() < 0.3:
            messages = self._batch(self._random.randint(2, 12))
            body: dict[str, Any] = {"messages": messages}
        else:
            messages = self._batch(1)
            body = {"message": messages[0]}
        known = self.known[context_id]
        known.sent |= {message["id"]: message for message in messages}
        return Write(context_id, "messages", body, tuple(m["id"] for m in messages), key)

    def _batch(self, size: int) -> list[dict[str, Any]]:
        numbers = [next(self._numbers) for _ in range(size)]
        return [self._message(number, size, place) for place, number in enumerate(numbers)]

    def _message(self, number: int, size: int, place: int) -> dict[str, Any]:
        text = {"type": "text", "text": "word " * self._random.randint(1, 40)}
        call = {"type": "tool_call", "tool_call_id": f"call {number}", "name": "look"}
        result = {"type": "tool_result", "tool_call_id": f"call {number - 1}", "output": "found"}
        role, part = self._random.choice(
            [("user", text), ("assistant", text), ("assistant", call), ("tool", result)]
        )
        metadata = {"batch": number - place, "size": size}
        return {"role": role, "parts": [part], "metadata": metadata, "id": f"m{number}"}

    async def _sent(self, http: httpx.AsyncClient, write: Write) -> bool:
        """Send *write* and note what became of it; False if the server takes no more."""
        known = self.known[write.context_id]
        known.doubtful.append(write)
        response = await self._post(http, write)
        if response.status_code == 503 and response.json()["error"] == "unavailable":
            known.doubtful.remove(write)
            known.refused.update(write.ids)
            return False
        assert response.status_code in {200, 201}, response.text
        self._acknowledge(write, response.json())
        return True

    async def _post(self, http: httpx.AsyncClient, write: Write) -> httpx.Response:
        path = f"/v1/contexts/{write.context_id}/{write.place}"
        return await http.post(path, json=write.body, headers=write.headers)

    def _acknowledge(self, write: Write, answer: dict[str, Any]) -> None:
        known = self.known[write.context_id]
        known.doubtful.remove(write)
        if write.place == "compact":
            known.compacts += 1
        else:
            results = answer.get("results", [answer])
            assert len(results) == len(write.ids)
            for result, message_id in zip(results, write.ids, strict=True):
                assert known.acknowledged.setdefault(result["seq"], message_id) == message_id
        self.answers += 1
        if self._awaited and self.answers >= self._awaited[0]:
            self._awaited[1].set()

    async def _note_window(self, http: httpx.AsyncClient, context_id: str) -> None:
        """Read the LLM context, and hold it against every other reading of the same version."""
        response = await http.get(f"/v1/contexts/{context_id}/context")
        assert response.status_code == 200
        windows = self.known[context_id].windows
        version = response.json()["version"]
        assert windows.setdefault(version, response.content) == response.content

    # --- checking -----------------------------------------------------------------------------

    async def check(self, http: httpx.AsyncClient) -> None:
        """Hold what the server has against what its clients know, then settle what is in doubt."""
        for context_id, known in self.known.items():
            version = await self._check_log(http, context_id, known)
            await self._note_window(http, context_id)
            landed = version - len(known.log) - known.compacts
            nameless = sum(w.place == "compact" and w.key is None for w in known.doubtful)
            replayed = [await self._settle(http, write) for write in list(known.doubtful)]
            assert 0 <= landed - sum(replayed) <= nameless
            known.compacts += landed - sum(replayed)
            if replayed:
                await self._check_log(http, context_id, known)

    async def _check_log(self, http: httpx.AsyncClient, context_id: str, known: Known) -> int:
        """Check the log of one context, and give its version."""
        path = f"/v1/contexts/{context_id}"
        found = (await http.get(path)).json()
        page = (await http.get(f"{path}/messages", params={"limit": 10_000})).json()
        log = page["messages"]
        ids = [message["id"] for message in log]
        assert [message["seq"] for message in log] == list(range(1, len(log) + 1))
        assert (found["last_seq"], found["version"]) == (len(log), page["version"])
        assert log[: len(known.log)] == known.log, "the log was rewritten"
        assert len(set(ids)) == len(ids), "a message is there twice"
        assert not known.refused & set(ids), "a refused message is there"
        for seq, message_id in known.acknowledged.items():
            assert ids[seq - 1 : seq] == [message_id], f"message {seq} of {context_id} is lost"
        for message in log:
            sent = known.sent[message["id"]]
            assert {name: message[name] for name in sent} == sent
        known.log = log
        self._check_batches(log)
        self._check_versions(known, found["version"])
        return int(found["version"])

    def _check_batches(self, log: list[dict[str, Any]]) -> None:
        """Messages that were sent together stand together, all of them."""
        batches = itertools.groupby(log, lambda message: message["metadata"]["batch"])
        sizes = {batch: [message["metadata"]["size"] for message in run] for batch, run in batches}
        assert all(run == [len(run)] * len(run) for run in sizes.values())
        assert sum(map(len, sizes.values())) == len(log)

    def _check_versions(self, known: Known, version: int) -> None:
        """Each message and each compact call has brought one version, and nothing else has."""
        extra = [message["version"] - message["seq"] for message in known.log]
        assert extra == sorted(extra)
        in_doubt = sum(write.place == "compact" for write in known.doubtful)
        compacts = version - len(known.log)
        assert known.compacts <= compacts <= known.compacts + in_doubt
        assert not extra or extra[-1] <= compacts

    async def _settle(self, http: httpx.AsyncClient, write: Write) -> bool:
        """Find out what became of *write*; True if it was a compact call that had landed."""
        known = self.known[write.context_id]
        landed = [message["id"] for message in known.log if message["id"] in write.ids]
        assert landed in ([], list(write.ids)), "a batch is half there"
        if write.key is None:
            known.doubtful.remove(write)
            if not landed:
                known.refused.update(write.ids)
            else:
                seqs = {message["id"]: message["seq"] for message in known.log}
                known.acknowledged |= {seqs[name]: name for name in write.ids}
            return False
        response = await self._post(http, write)
        assert response.status_code in {200, 201}, response.text
        is_replayed = response.headers.get("Idempotent-Replayed") == "true"
        if write.place == "messages":
            assert is_replayed is bool(landed), "the key and the message did not land together"
        self._acknowledge(write, response.json())
        return is_replayed and write.place == "compact"
