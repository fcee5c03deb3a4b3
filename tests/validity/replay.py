"""
Replay a conversation and read the LLM context before each reply, as an application would.

It speaks the wire contract alone, to a node in this process that keeps everything in memory.
So the same replay runs on any release, and two of them can be compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.acceptance.data import Conversation

BUDGETS: Final = (4_000, 8_000, 16_000, 32_000, 100_000)
"""The token budgets of every table."""

_BATCH: Final = 1000

Message = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """
    What a model is sent at one call.

    Attributes:
        seqs: The seq of each message; 0 for a summary.
        messages: The messages.
        tokens: What each costs.
        fit: What fitting did.
    """

    seqs: Sequence[int]
    messages: Sequence[Message]
    tokens: Sequence[int]
    fit: str = "whole"

    @property
    def used_tokens(self) -> int:
        """The sum of the tokens."""
        return sum(self.tokens)


@dataclass(frozen=True, eq=False)
class Replayed:
    """A conversation with what each message costs, in tokens; each replay is a value of its own."""

    conversation: Conversation
    messages: Sequence[Message]
    tokens: Sequence[int]
    calls: Sequence[int] = field(default=())
    """How many messages stood before each reply that is the first of its run."""

    @property
    def total_tokens(self) -> int:
        """What the whole conversation costs."""
        return sum(self.tokens)

    def history(self, call: int) -> View:
        """Return all messages before the call at which *call* messages stood."""
        return View(range(1, call + 1), self.messages[:call], self.tokens[:call])


def calls_of(messages: Sequence[Message]) -> Iterator[int]:
    """Return after how many messages the model was called: before each run of its replies."""
    for index in range(1, len(messages)):
        if messages[index]["role"] == "assistant" != messages[index - 1]["role"]:
            yield index


async def counted(
    client: httpx.AsyncClient, conversation: Conversation, instructions: str = ""
) -> Replayed:
    """Let the node count *conversation*, after *instructions* of the system if there are any."""
    messages = [_sendable(message) for message in conversation.messages]
    if instructions:
        part = {"type": "text", "text": instructions}
        messages.insert(0, {"role": "system", "parts": [part]})
    path = _path(f"count {len(instructions)} {conversation.shape} {conversation.id}")
    await _put(client, path, {"policy": {"strategy": "manual"}})
    tokens = await _append(client, path, messages)
    await _delete(client, path)
    return Replayed(conversation, messages, tokens, tuple(calls_of(messages)))


async def views(
    client: httpx.AsyncClient, replayed: Replayed, budget: int, policy: Mapping[str, Any]
) -> AsyncIterator[tuple[int, View]]:
    """Yield, for each call, the number of messages before it and the view that was read."""
    name = f"{budget} {json.dumps(policy)} {replayed.conversation.shape}"
    path = _path(f"{name} {replayed.conversation.id}")
    await _put(client, path, {"token_budget": budget, **policy})
    done = 0
    for call in replayed.calls:
        await _append(client, path, replayed.messages[done:call])
        done = call
        response = await client.get(f"{path}/context")
        yield call, _view(response.raise_for_status().json())
    await _delete(client, path)


def _view(answer: Message) -> View:
    messages = answer["messages"]
    return View(
        [message["seq"] or 0 for message in messages],
        messages,
        [message["token_count"] for message in messages],
        answer["fit"],
    )


def _sendable(message: Message) -> Message:
    """Return *message* without what only the log of its source knows."""
    return {key: value for key, value in message.items() if key != "metadata"}


def _path(name: str) -> str:
    """Return the path of a context of its own for *name*: a purged id can never be used again."""
    return f"/v1/contexts/{hashlib.sha256(name.encode()).hexdigest()}"


async def _put(client: httpx.AsyncClient, path: str, body: Message) -> None:
    (await client.put(path, json=body)).raise_for_status()


async def _append(
    client: httpx.AsyncClient, path: str, messages: Sequence[Message]
) -> Sequence[int]:
    tokens: list[int] = []
    for start in range(0, len(messages), _BATCH):
        batch = messages[start : start + _BATCH]
        response = await client.post(f"{path}/messages", json={"messages": batch})
        results = response.raise_for_status().json()["results"]
        tokens += [result["token_estimate"] for result in results]
    return tokens


async def _delete(client: httpx.AsyncClient, path: str) -> None:
    (await client.delete(f"{path}?purge=true")).raise_for_status()
