"""Nodes whose clocks are wrong share the time of their database."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from fastpaca.engine import Engine
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.messages import user
from tests.kit.postgres import run_sql
from tests.kit.process import Process, module, running, started

DAYS = 8
"""More than answers are kept for."""

APPEND = {"message": user("Hello")}


def appended(node: Process) -> httpx.Response:
    """Append under one and the same key."""
    with httpx.Client(base_url=node.address, timeout=30) as http:
        assert http.put("/v1/contexts/c", json={}).is_success
        headers = {"Idempotency-Key": "k"}
        answer = http.post("/v1/contexts/c/messages", json=APPEND, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer


async def keep_house(dsn: str) -> None:
    """Do what every node does once an hour."""
    store = PostgresStore(dsn)
    engine = Engine(store, store.clock, lambda: bytes(16), hot_bytes=2**20)
    await engine.start()
    try:
        await engine.forget_old_records()
    finally:
        await engine.stop()


@pytest.mark.parametrize("days", [-DAYS, DAYS], ids=["behind", "ahead"])
def test_keys_are_kept_by_the_clock_of_the_database(dsn: str, tmp_path: Path, days: int) -> None:
    """
    A node whose clock is days behind or ahead appends under a key. Other nodes clear away old keys,
    and still know this one; the message has the time of the database.
    """
    with ExitStack() as stack:
        places = [tmp_path / "wrong", tmp_path / "right"]
        for place in places:
            place.mkdir()
        seconds = str(timedelta(days=days).total_seconds())
        flags = ("serve", "--port", "0", "--token-estimator", "chars", "--store", dsn)
        command = module("tests.server.skewed", seconds, *flags)
        wrong = stack.enter_context(running(command, places[0]))
        right = stack.enter_context(started(places[1], "--store", dsn))
        first = appended(wrong)
        asyncio.run(keep_house(dsn))
        again = appended(right)
        assert again.headers.get("idempotent-replayed") == "true"
        assert again.content == first.content
        with httpx.Client(base_url=right.address) as http:
            (message,) = http.get("/v1/contexts/c/messages").json()["messages"]
        ((now,),) = asyncio.run(run_sql(dsn, "SELECT clock_timestamp()"))
        assert abs(now - datetime.fromisoformat(message["inserted_at"])) < timedelta(hours=1)
