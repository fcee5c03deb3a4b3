"""The story of each verb, where it is more than to hand on: what a compaction refers to."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fastpaca.store.base import MessageRow, PageBounds
from fastpaca.store.memory import MemoryStore
from fastpaca.testing import composed, running, running_app
from tests.kit.app import append, create
from tests.kit.messages import user


class CountingStore(MemoryStore):
    """
    A store that notes what of its log is read.

    Attributes:
        pages: From which seq to which each page was asked for.
        rows: How many messages were given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[tuple[int, int]] = []
        self.rows = 0

    async def messages(
        self, context_id: str, from_seq: int, to_seq: int, bounds: PageBounds
    ) -> list[MessageRow]:
        found = await super().messages(context_id, from_seq, to_seq, bounds)
        self.pages.append((from_seq, to_seq))
        self.rows += len(found)
        return found


async def log_of(client: httpx.AsyncClient, messages: int) -> list[dict[str, Any]]:
    """Make a context of so many messages, and read its log."""
    await create(client, token_budget=10**9, policy={"strategy": "manual"})
    for start in range(0, messages, 1000):
        size = min(1000, messages - start)
        await append(client, *(user(f"message {start + number}") for number in range(size)))
    answer = await client.get("/v1/contexts/c/messages", params={"limit": 10_000})
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


async def compact(client: httpx.AsyncClient, *messages: dict[str, Any]) -> list[int | None]:
    """Replace the window, and give the seqs of what it is now."""
    path = "/v1/contexts/c"
    done = await client.post(f"{path}/compact", json={"replacement": list(messages)})
    assert done.status_code == 200, done.text
    window = (await client.get(f"{path}/context")).json()["messages"]
    return [message["seq"] for message in window]


async def test_messages_outside_of_the_window_are_looked_up_in_pages() -> None:
    """
    To bring thousands of messages back into the window takes a few reads, not one for each.
    """
    store = CountingStore()
    async with running(composed(store)) as client:
        log = await log_of(client, 3000)
        assert await compact(client) == []
        store.pages.clear()
        assert await compact(client, *log) == list(range(1, 3001))
        assert len(store.pages) <= 10


async def test_messages_in_the_window_are_not_read_again() -> None:
    """
    What is in memory is compared there.
    """
    store = CountingStore()
    async with running(composed(store)) as client:
        log = await log_of(client, 50)
        store.pages.clear()
        assert await compact(client, *log[10:]) == list(range(11, 51))
        assert store.pages == []


async def test_wide_gaps_between_messages_are_not_read() -> None:
    """
    Few messages of a long log cost few reads of few rows.
    """
    store = CountingStore()
    async with running(composed(store)) as client:
        log = await log_of(client, 2000)
        await compact(client)
        store.rows = 0
        wanted = [log[0], log[3], log[999], log[1999]]
        assert await compact(client, *wanted) == [1, 4, 1000, 2000]
        assert store.rows == 6


@pytest.mark.parametrize("is_in_window", [True, False])
async def test_what_differs_or_is_out_of_order_is_no_reference(is_in_window: bool) -> None:
    """
    A message that was changed, comes twice, or stands before its predecessor is kept as given.
    """
    async with running_app() as client:
        log = await log_of(client, 6)
        if not is_in_window:
            await compact(client)
        changed = log[2] | {"role": "assistant"}
        recounted = log[3] | {"token_count": 12345}
        replacement = [log[1], log[0], changed, recounted, log[4], log[4], log[5]]
        window = await compact(client, *replacement, log[5] | {"seq": 7})
        assert window == [2, None, None, None, 5, None, 6, None]


async def test_a_change_of_writing_is_no_change() -> None:
    """
    A client may write a message that it read in another order of keys; it is the same message.
    """
    async with running_app() as client:
        log = await log_of(client, 2)
        await compact(client)
        assert await compact(client, *(dict(reversed(each.items())) for each in log)) == [1, 2]
