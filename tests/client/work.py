"""
Work that shows whose answers a client is given: each worker reads a conversation that nobody else
does, and all append to one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastpaca import AsyncContext, AsyncFastpaca, Context, Fastpaca
from tests.kit.messages import user

LOG = "log"


def prepare(client: Fastpaca, workers: Iterable[str]) -> None:
    """Make the conversation of each of the *workers*, and the one that they share."""
    client.context(LOG, budget=1_000_000)
    for worker in workers:
        client.context(f"own/{worker}", budget=8000).append(user(worker))


def work(client: Fastpaca, worker: str, rounds: int) -> dict[str, int]:
    """
    Append and read, *rounds* times; where each message stands, as it was acknowledged.

    Raises:
        AssertionError: An answer was for somebody else.
    """
    log, own = client.context(LOG), client.context(f"own/{worker}")
    seqs: dict[str, int] = {}
    for at in range(rounds):
        text = f"{worker} {at}"
        seqs[text] = log.append(user(text)).seq
        check_own(worker, own.info().id, own.get_tail()[-1].parts)
        check_appended(text, log, seqs[text])
    return seqs


async def work_async(client: AsyncFastpaca, worker: str, rounds: int) -> dict[str, int]:
    """Do the same on an event loop."""
    log, own = await client.context(LOG), await client.context(f"own/{worker}")
    seqs: dict[str, int] = {}
    for at in range(rounds):
        text = f"{worker} {at}"
        seqs[text] = (await log.append(user(text))).seq
        check_own(worker, (await own.info()).id, (await own.get_tail())[-1].parts)
        await check_appended_async(text, log, seqs[text])
    return seqs


def check_own(worker: str, context_id: str, parts: Any) -> None:
    assert context_id == f"own/{worker}", f"{worker} was given {context_id}"
    assert parts == user(worker)["parts"], f"{worker} was given {parts}"


def check_appended(text: str, log: Context, seq: int) -> None:
    found = [message.parts for message in log.messages(from_seq=seq, to_seq=seq)]
    assert found == [user(text)["parts"]], f"{text} was told {seq}, where {found} stands"


async def check_appended_async(text: str, log: AsyncContext, seq: int) -> None:
    found = [message.parts async for message in log.messages(from_seq=seq, to_seq=seq)]
    assert found == [user(text)["parts"]], f"{text} was told {seq}, where {found} stands"


def report(directory: Path, worker: str, seqs: dict[str, int]) -> None:
    """Leave behind what a worker was told."""
    (directory / f"{worker}.json").write_text(json.dumps(seqs))


def reported(directory: Path) -> dict[str, dict[str, int]]:
    """What all workers were told."""
    return {path.stem: json.loads(path.read_text()) for path in directory.glob("*.json")}


def check_log(client: Fastpaca, told: dict[str, int]) -> None:
    """See that everything that was acknowledged is in the log once, where its answer says."""
    log = [message.parts[0]["text"] for message in client.context(LOG).messages(limit=1000)]
    assert len(log) == len(set(log))
    assert {text: at for at, text in enumerate(log, 1)} == told
