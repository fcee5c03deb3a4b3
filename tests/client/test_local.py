"""A node in the process of its client: the same answers, the same durability, no sockets."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastpaca import (
    AlreadyExists,
    AsyncFastpaca,
    CannotCompact,
    CannotOpen,
    ClientClosed,
    ContextNotFound,
    Fastpaca,
    MessageNotFound,
    VersionConflict,
)
from fastpaca.client.values import ContextFrame, MessageFrame, RewindFrame
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.http import until
from tests.kit.messages import assistant, system, tool, user
from tests.kit.process import DidNotStart, started

QUICK: dict[str, Any] = {"token_estimator": "chars"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Fastpaca]:
    """A client with a node of its own."""
    with Fastpaca.local(tmp_path / "data", **QUICK) as local:
        yield local


def test_it_is_a_node(client: Fastpaca) -> None:
    """
    Contexts, appends, reads, errors and pages, as over the network.
    """
    context = client.context("a/b", budget=8000, metadata={"k": 1})
    assert [one.seq for one in context.append([user(text) for text in "abcde"])] == [1, 2, 3, 4, 5]
    with pytest.raises(VersionConflict) as conflict:
        context.append(user("x"), if_version=0)
    assert (conflict.value.found, conflict.value.status) == (5, 409)
    assert conflict.value.request_id
    assert [message.seq for message in context.messages(limit=2)] == [1, 2, 3, 4, 5]
    assert context.context(budget_tokens=12).fit == "dropped"
    assert [found.id for found in client.list_contexts()] == ["a/b"]
    with pytest.raises(ContextNotFound):
        client.context("none").info()


def test_what_was_edited_is_read_and_followed(client: Fastpaca) -> None:
    """
    Messages by their ids, the path, rewinds, branches and forks, with their frames.
    """
    context = client.context("edited", budget=8000)
    context.append(user("a"))
    context.put({"id": "m", **assistant("b")})
    assert context.put({"id": "m", **assistant("c")}).revises == 2
    assert [message.seq for message in context.messages(path="current", limit=1)] == [1, 3]
    assert context.get_tail(limit=1, path="current")[0].revises == 2
    with pytest.raises(MessageNotFound):
        context.get("none")
    context.rewind(to_seq=1)
    context.append(assistant("d"))
    (branch,) = context.branches()
    assert (branch.version, branch.to_version) == (3, 1)
    context.rewind(to_version=branch.version)
    assert context.get_tail(path="current")[-1].parts == assistant("c")["parts"]
    fork = context.fork("copy")
    assert [message.seq for message in fork.messages()] == [1, 2]
    with pytest.raises(AlreadyExists):
        context.fork("copy")
    frames: list[tuple[int, int | str | None]] = []
    with context.stream(cursor=0) as stream:
        for frame in stream:
            if isinstance(frame, MessageFrame):
                frames.append((frame.version, frame.revises))
            elif isinstance(frame, RewindFrame):
                frames.append((frame.version, f"to {frame.to_version}"))
            elif isinstance(frame, ContextFrame):
                break
    assert frames == [(1, None), (2, None), (3, 2), (4, "to 1"), (5, None), (6, "to 3")]


def test_a_window_is_below_its_trigger_after_a_compaction(client: Fastpaca) -> None:
    """
    However few messages fill it; calls and results stay together, and what no summary can help is
    an error that changes nothing.
    """
    context = client.context("agent", budget=1000, policy="manual")
    context.append([system("Be brief."), user("Look at all files.")])
    compactions = 0
    for turn in range(12):
        call = {"type": "custom_tool_call", "call_id": f"c{turn}", "name": "read", "input": "y"}
        output = {"type": "custom_tool_call_output", "call_id": f"c{turn}", "output": "x" * 700}
        context.append([assistant(call), tool(output)])
        needed = context.context().needs_compaction
        done = context.compact_if_needed(lambda old: f"{len(old)} messages.")
        assert (done is not None) == needed
        compactions += needed
        after = context.context()
        assert not after.needs_compaction
        kinds = [message.parts[0]["type"] for message in after.messages]
        assert kinds.count("custom_tool_call") == kinds.count("custom_tool_call_output")
        assert after.messages[0].role == "system"
    assert compactions > 1
    version = context.append(user("x" * 4000)).version
    with pytest.raises(CannotCompact) as raised:
        context.compact_if_needed(lambda _: "no summary can help")
    assert raised.value.kept_tokens > raised.value.trigger_tokens == 700
    assert context.info().version == version


def test_a_large_answer_comes_whole(client: Fastpaca) -> None:
    """
    More than one piece of a body goes through.
    """
    context = client.context("large", budget=10_000_000)
    text = "0123456789" * 300_000
    context.append([user(text), user(text)])
    assert [message.parts[0]["text"] == text for message in context.get_tail()] == [True, True]


def test_a_stream_is_live(client: Fastpaca) -> None:
    """
    What another thread appends comes while it waits, and `close` ends the waiting.
    """
    context = client.context("live", budget=8000)
    found: list[int] = []
    live, came, ended = threading.Event(), threading.Event(), threading.Event()
    stream = context.stream()

    def read() -> None:
        for frame in stream:
            live.set()
            if isinstance(frame, MessageFrame):
                found.append(frame.seq)
                came.set()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert live.wait(30)
    context.append(user("one"))
    assert came.wait(30)
    stream.close()
    assert ended.wait(30)
    reader.join()
    assert found == [1]
    assert list(stream) == []


def test_a_node_that_is_closed_lets_go_of_its_streams(tmp_path: Path) -> None:
    """
    Who follows learns of the end, and does not wait for a node that will not come back.
    """
    local = Fastpaca.local(tmp_path, **QUICK)
    stream = local.context("c", budget=8000).stream(cursor=0)
    assert next(stream).type == "context"
    local.close()
    with pytest.raises(ClientClosed, match="closed"):
        next(stream)
    local.close()
    with pytest.raises(ClientClosed, match="closed"):
        local.context("c").info()


def test_data_is_durable_and_has_one_user(tmp_path: Path) -> None:
    """
    A second client, or a node, is refused while the first is open, and finds all of it later.
    """
    with Fastpaca.local(tmp_path / "data", **QUICK) as first:
        first.context("c", budget=8000).append(user("kept"))
        with pytest.raises(CannotOpen, match="in use by this process already"):
            Fastpaca.local(tmp_path / "data", **QUICK)
        with pytest.raises(DidNotStart, match="in use by"), started(tmp_path):
            pass
    with Fastpaca.local(tmp_path / "data", **QUICK) as second:
        (message,) = second.context("c").get_tail()
        assert message.parts == user("kept")["parts"]
    with started(tmp_path) as node, Fastpaca(node.address) as third:
        assert third.context("c").info().last_seq == 1


def test_a_counter_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """
    With a sentence, and nothing left behind.
    """
    with pytest.raises(CannotOpen, match="Tokens cannot be counted"):
        Fastpaca.local(tmp_path / "data", token_estimator="tiktoken:abacus")
    assert not (tmp_path / "data").exists()


def test_a_process_that_ends_closes_its_data(tmp_path: Path) -> None:
    """
    Without a call of `close`, with a stream open: the process ends, and the log of SQLite is empty.
    """
    script = f"""
from fastpaca import Fastpaca
client = Fastpaca.local({str(tmp_path)!r}, token_estimator="chars")
context = client.context("c", budget=8000)
context.append({{"role": "user", "parts": []}})
stream = context.stream(cursor=0)
print(next(stream).type)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "message\n", "")
    assert not (tmp_path / "fastpaca.db-wal").exists()


async def test_the_async_client_runs_on_its_loop(tmp_path: Path) -> None:
    """
    The data is opened with the block and closed with it; tasks follow while others append.
    """
    threads = threading.active_count()
    async with AsyncFastpaca.local(tmp_path, **QUICK) as client:
        with pytest.raises(CannotOpen, match="in use"):
            Fastpaca.local(tmp_path, **QUICK)
        async with client.context("c", budget=8000) as context:
            stream = context.stream(cursor=0)
            assert (await anext(stream)).type == "context"
            waiting = asyncio.create_task(anext(stream))
            await context.append(user("x" * 300_000))
            frame = await waiting
            assert isinstance(frame, MessageFrame)
            assert frame.seq == 1
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
    with Fastpaca.local(tmp_path, **QUICK) as later:
        assert later.context("c").info().version == 1
    assert threading.active_count() >= threads


async def test_a_reader_that_is_cancelled_lets_go(tmp_path: Path) -> None:
    """
    Cancelling the task that waits for a frame closes the stream, and the node is closed all right.
    """
    async with AsyncFastpaca.local(tmp_path, **QUICK) as client:
        context = await client.context("c", budget=8000)
        stream = context.stream(cursor=0)
        await anext(stream)
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await context.append(user("on"))).seq == 1


async def test_calls_that_are_cancelled_leave_nothing_behind(tmp_path: Path) -> None:
    """
    However far a call has come, its response is released: the memory it counts in, and its stream.
    """
    async with AsyncFastpaca.local(tmp_path, **QUICK) as client:
        context = await client.context("c", budget=8000)
        for steps in range(12):
            await _cancelled(context.append(user("x" * 100_000)), steps)
            await _cancelled(anext(context.stream(cursor=0)), steps)
        await _is_released(client)


async def test_closing_while_a_call_opens_the_data_closes_it(tmp_path: Path) -> None:
    """
    A node that is being opened when its client is closed does not stay open.
    """
    client = AsyncFastpaca.local(tmp_path, **QUICK)
    link: Any = client._link
    node = await link._connections.current()
    calling = asyncio.ensure_future(_info(client))
    await until(node._opening.locked)
    await client.aclose()
    with pytest.raises(ClientClosed):
        await calling
    async with AsyncFastpaca.local(tmp_path, **QUICK) as later:
        await later.context("c", budget=8000)


async def test_a_call_that_is_cancelled_while_it_opens_the_data_releases_it(tmp_path: Path) -> None:
    """
    The next call opens the data again.
    """
    client = AsyncFastpaca.local(tmp_path, **QUICK)
    link: Any = client._link
    node = await link._connections.current()
    calling = asyncio.ensure_future(_info(client))
    await until(node._opening.locked)
    await _cancelled(calling, 3)
    await _info(client)
    await client.aclose()


async def test_a_stream_that_is_dropped_is_closed(tmp_path: Path) -> None:
    """
    Who only lets go of a stream, without closing it, does not follow forever.
    """
    async with AsyncFastpaca.local(tmp_path, **QUICK) as client:
        stream = (await client.context("c", budget=8000)).stream(cursor=0)
        await anext(stream)
        del stream
        await _is_released(client)


async def _cancelled(call: Awaitable[object], steps: int) -> None:
    """Cancel *call* after *steps* turns of the event loop."""
    calling = asyncio.ensure_future(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait([calling])


async def _is_released(client: AsyncFastpaca) -> None:
    """Wait until no response of the client's node is held, and nobody follows."""
    link: Any = client._link
    node = (await link._connections.current())._node

    def is_released() -> bool:
        gc.collect()
        return (node.engine.hub.followers, node.app._memory._bytes) == (0, 0)

    await until(is_released)


def test_a_dropped_stream_of_a_thread_is_closed(client: Fastpaca) -> None:
    """
    The same for a stream that is read outside of the node's loop.
    """
    stream = client.context("c", budget=8000).stream(cursor=0)
    next(stream)
    link: Any = client._link
    node = link._connections.current().node._node
    del stream
    gc.collect()
    asyncio.run(until(lambda: node.engine.hub.followers == 0))


def test_an_async_client_opens_with_each_loop_and_closes_with_it(tmp_path: Path) -> None:
    """
    One `asyncio.run` after the other finds what the last one has written. Between them the data is
    closed, though nobody has closed the client.
    """
    client = AsyncFastpaca.local(tmp_path, **QUICK)

    async def append(text: str) -> int:
        context = await client.context("c", budget=8000)
        stream = context.stream(cursor=0)
        assert (await anext(stream)).type  # and leave it open
        return (await context.append(user(text))).seq

    assert [asyncio.run(append(text)) for text in "abc"] == [1, 2, 3]
    with Fastpaca.local(tmp_path, **QUICK) as other:
        assert len(other.context("c").get_tail()) == 3
    asyncio.run(client.aclose())
    with pytest.raises(ClientClosed):
        asyncio.run(append("d"))


def test_what_is_under_way_when_a_loop_ends_is_cut_off(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A loop that ends with calls that nobody waits for cancels them, and closes the data as always.
    """
    client = AsyncFastpaca.local(tmp_path, **QUICK)
    tasks: list[asyncio.Task[Any]] = []

    async def leave_behind() -> None:
        context = await client.context("c", budget=8000)
        tasks.extend(asyncio.create_task(context.append(user("x" * 100_000))) for _ in range(50))
        tasks.append(asyncio.create_task(anext(context.stream(cursor=0))))
        await asyncio.sleep(0)

    asyncio.run(leave_behind())
    assert all(task.done() for task in tasks)
    gc.collect()
    assert (capfd.readouterr().err, caplog.text) == ("", "")
    with Fastpaca.local(tmp_path, **QUICK) as other:
        assert len(other.context("c").get_tail()) <= 50


def test_two_loops_at_once_are_refused(tmp_path: Path) -> None:
    """
    Data that is open on one event loop cannot be opened on another, until the first has ended.
    """
    client = AsyncFastpaca.local(tmp_path, **QUICK)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(_info(client))
        with pytest.raises(CannotOpen, match="by another client or on another event loop"):
            second.run(_info(client))
        first.close()
        second.run(_info(client))


async def _info(client: AsyncFastpaca) -> None:
    with pytest.raises(ContextNotFound):
        await (await client.context("c")).info()


async def test_a_second_opener_of_an_async_client_is_refused(tmp_path: Path) -> None:
    """
    By its first request, or by the block.
    """
    with Fastpaca.local(tmp_path, **QUICK):
        client = AsyncFastpaca.local(tmp_path, **QUICK)
        with pytest.raises(CannotOpen, match="in use"):
            await client.context("c", budget=8000)
        await client.aclose()
        with pytest.raises(CannotOpen, match="in use"):
            async with AsyncFastpaca.local(tmp_path, **QUICK):
                pass


def test_only_keys_of_the_caller_are_looked_up(
    client: Fastpaca, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A key that the client has just made can't be known; one that the caller gives is found again.
    """
    looked_up: list[str] = []
    look_up = SqliteStore.idempotency_records

    async def noted(store: SqliteStore, keys: list[str]) -> Any:
        looked_up.extend(keys)
        return await look_up(store, keys)

    monkeypatch.setattr(SqliteStore, "idempotency_records", noted)
    context = client.context("c", budget=8000)
    context.append(user("a"))
    assert looked_up == []
    first = context.append(user("b"), idempotency_key="mine")
    assert context.append(user("b"), idempotency_key="mine") == first
    assert looked_up == ["mine", "mine"]
    assert context.info().last_seq == 2
