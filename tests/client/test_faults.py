"""
Clients of a real node over a network that fails, and of a node that is killed: nothing is lost, and
nothing is done twice.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fastpaca import (
    AsyncFastpaca,
    ConnectionFailed,
    Context,
    Fastpaca,
    Message,
    OutcomeUnknown,
    Retries,
    TimedOut,
    Timeouts,
    Unavailable,
)
from fastpaca.client.values import Frame, MessageFrame
from tests.client.network import (
    OUTCOME_UNKNOWN,
    UNAVAILABLE,
    WHOLE,
    Fate,
    always,
    network,
    one_by_one,
    troubled,
)
from tests.kit.messages import user
from tests.kit.process import Process, started

SEEDS = 3

PERSISTENT = Retries(attempts_max=10_000, wait_seconds=0.001, wait_seconds_max=0.02)
ONCE = Retries(attempts_max=1)

WRITERS = 4
APPENDS = 40
KILLS = 4


def text_of(message: Message) -> str:
    text: str = message.parts[0]["text"]
    return text


@contextmanager
def connected(address: str, retries: Retries = PERSISTENT) -> Iterator[Fastpaca]:
    with Fastpaca(address, retries=retries) as client:
        yield client


# --- one fault at a time ---

FAULTS = [
    Fate(refusal=UNAVAILABLE),
    Fate(refusal=OUTCOME_UNKNOWN),
    Fate(up_bytes=0),
    Fate(up_bytes=300),  # in the middle of the request
    Fate(down_bytes=0),  # done, and the answer is lost
    Fate(down_bytes=60),  # in the middle of the answer
    Fate(down_bytes=150),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_append_over_a_fault_is_done_once(fault: Fate, node: Process) -> None:
    """
    Whatever became of the first attempts, the message is in the log once.
    """
    with connected(node.address) as direct:
        name = f"fault-{fault}"
        context = direct.context(name, budget=8000)
        with (
            network(node.port, one_by_one(fault, fault)) as broken,
            connected(broken.address) as client,
        ):
            appended = client.context(name).append(user("x" * 300), if_version=0)
            assert broken.connections == 3
        assert (appended.seq, appended.version) == (1, 1)
        assert [message.seq for message in context.messages()] == [1]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_revision_a_rewind_and_a_fork_over_a_fault_are_done_once(
    fault: Fate, node: Process
) -> None:
    """
    A put whose answer was lost revises once, and so it is with what goes back and what is copied.
    """
    with connected(node.address) as direct:
        name = f"edited-{fault}"
        context = direct.context(name, budget=8000)
        context.put({"id": "m", **user("short")})

        def over_the_fault(client: Fastpaca, step: str) -> int:
            edited = client.context(name)
            if step == "put":
                return edited.put({"id": "m", **user("x" * 300)}).version
            if step == "rewind":
                return edited.rewind(to_version=1, if_version=2).version
            fork = edited.fork(f"{name}/fork", at_version=2, metadata={"note": "y" * 300})
            return len(list(fork.messages()))

        for step, expected in (("put", 2), ("rewind", 3), ("fork", 1)):
            with (
                network(node.port, one_by_one(fault, fault)) as broken,
                connected(broken.address) as client,
            ):
                assert over_the_fault(client, step) == expected
        assert [message.revises for message in context.messages()] == [None, 1]
        assert context.info().version == 3


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_async_client_does_the_same(fault: Fate, node: Process) -> None:
    """
    The same fault, a batch, and a compaction behind it.
    """
    name = f"async-fault-{fault}"
    with network(node.port, one_by_one(fault, fault)) as broken:
        async with AsyncFastpaca(broken.address, retries=PERSISTENT) as client:
            context = await client.context(name, budget=8000)
            await context.append([user("x" * 300), user("y")], if_version=0)
    with network(node.port, one_by_one(fault)) as broken:
        async with AsyncFastpaca(broken.address, retries=PERSISTENT) as client:
            context = await client.context(name)
            compacted = await context.compact([user("summary " * 40)], if_version=2)
            assert compacted.version == 3
            assert [message.seq async for message in context.messages()] == [1, 2]
            assert [found.version async for found in context.compactions()] == [3]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fate(refusal=UNAVAILABLE), Unavailable),
        (Fate(refusal=OUTCOME_UNKNOWN), OutcomeUnknown),
        (Fate(down_bytes=30), ConnectionFailed),
        (Fate(down_bytes=0, hangs=True), TimedOut),
    ],
)
async def test_who_does_not_retry_learns_what_happened(
    fault: Fate, kind: type[Exception], node: Process
) -> None:
    """
    The error of the last attempt is raised, by both clients, each by its class.
    """
    terms = {"retries": ONCE, "timeouts": Timeouts(read_seconds=0.3)}
    with network(node.port, always(fault)) as broken:
        with Fastpaca(broken.address, **terms) as client, pytest.raises(kind) as raised:  # type: ignore[arg-type]
            client.context("fault").info()
        assert type(raised.value) is kind
        async with AsyncFastpaca(broken.address, **terms) as other:  # type: ignore[arg-type]
            with pytest.raises(kind):
                await (await other.context("fault")).info()


async def test_nobody_there_is_an_error_of_the_connection(free_port: int) -> None:
    """
    A node that does not run is told as such.
    """
    address = f"http://127.0.0.1:{free_port}"
    with connected(address, ONCE) as client, pytest.raises(ConnectionFailed, match="No response"):
        client.context("c").info()
    async with AsyncFastpaca(address, retries=ONCE) as other:
        with pytest.raises(ConnectionFailed, match="No response"):
            await (await other.context("c")).info()


class SlowToClose(httpx.AsyncByteStream):
    """A body that takes a moment to give its connection back."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.closed = asyncio.Event()
        self.may_close = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"{}"

    async def aclose(self) -> None:
        self.closing.set()
        await self.may_close.wait()
        self.closed.set()


async def test_a_task_that_is_cancelled_at_the_end_gives_its_connection_back() -> None:
    """
    Where the whole answer is there, what httpx has begun to close is closed all the same.
    """
    body = SlowToClose()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=body))
    async with AsyncFastpaca(transport=lambda: transport) as client:
        reading = asyncio.create_task((await client.context("c")).info())
        await body.closing.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not body.closed.is_set()
        body.may_close.set()
        async with asyncio.timeout(10):
            await body.closed.wait()


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with network(1, always(WHOLE)) as ended:
        return ended.port


def test_a_call_ends_by_its_deadline(node: Process) -> None:
    """
    Attempts that all hang end together, not each at its own time.
    """
    timeouts = Timeouts(read_seconds=0.2, total_seconds=0.7)
    with network(node.port, always(Fate(down_bytes=0, hangs=True))) as broken:
        client = Fastpaca(broken.address, timeouts=timeouts, retries=PERSISTENT)
        with client, pytest.raises(TimedOut):
            client.context("c").info()
        assert 1 < broken.connections < 20


# --- many faults ---


def test_appends_over_a_troubled_network_are_done_once(seed: int, node: Process) -> None:
    """
    Threads that share a client write one conversation over connections that nearly all fail: each
    message is in the log once, where its answer says, and those of a thread are in order.
    """
    name = f"troubled-{seed}"
    with network(node.port, troubled(seed)) as broken, connected(broken.address) as client:
        context = client.context(name, budget=100_000)
        with ThreadPoolExecutor(WRITERS) as threads:
            answers = dict(
                pair
                for pairs in threads.map(lambda n: write(context, n), range(WRITERS))
                for pair in pairs
            )
        log = list(context.messages(limit=7))
        assert broken.connections > WRITERS
    check_log(log, answers)


def write(context: Context, number: int) -> list[tuple[str, int]]:
    """Append messages of one writer; where they stand."""
    texts = [f"{number}-{at}" for at in range(APPENDS)]
    return [(text, context.append(user(text)).seq) for text in texts]


def check_log(log: list[Message], answers: dict[str, int]) -> None:
    assert [message.seq for message in log] == list(range(1, len(answers) + 1))
    assert {text_of(message): message.seq for message in log} == answers
    for number in range(WRITERS):
        own = [text_of(one) for one in log if text_of(one).startswith(f"{number}-")]
        assert own == [f"{number}-{at}" for at in range(APPENDS)]


def test_a_stream_over_a_troubled_network_is_whole(seed: int, node: Process) -> None:
    """
    While a conversation is written, its follower is given each version once and in order, and the
    end, over connections that all break.
    """
    name = f"stream-{seed}"
    with connected(node.address) as direct:
        context = direct.context(name, budget=300)
        with network(node.port, troubled(seed)) as broken, connected(broken.address) as client:
            with ThreadPoolExecutor(1) as threads:
                following = threads.submit(list, client.context(name).stream(cursor=0))
                for at in range(100):
                    context.append(user(f"message {at} " * 5))
                context.delete()
                frames = following.result()
            assert broken.connections > 3
        check_frames(frames, [message.version for message in context.messages()])
        changes = [frame.version for frame in frames if frame.type == "compaction"]
        assert changes == [found.version for found in context.compactions()]


def check_frames(frames: list[Frame], versions: list[int]) -> None:
    found = [frame for frame in frames if isinstance(frame, MessageFrame)]
    assert [frame.version for frame in found] == versions
    assert [frame.message["version"] for frame in found if frame.message] == versions
    assert frames[-1].type == "tombstoned"
    cursors = [frame.cursor for frame in frames]
    assert cursors == sorted(cursors)


async def test_the_async_stream_is_whole(node: Process) -> None:
    """
    The same on an event loop, where writer and follower are tasks.
    """
    async with AsyncFastpaca(node.address) as direct:
        context = await direct.context("async-stream", budget=300)
        with network(node.port, troubled(7)) as broken:
            async with AsyncFastpaca(broken.address, retries=PERSISTENT) as client:
                stream = (await client.context("async-stream")).stream(cursor=0)

                async def read() -> list[Frame]:
                    return [frame async for frame in stream]

                following = asyncio.create_task(read())
                for at in range(100):
                    await context.append(user(f"message {at} " * 5))
                await context.delete()
                frames = await following
        check_frames(frames, [message.version async for message in context.messages()])


def test_a_stream_that_falls_silent_is_opened_again(node: Process) -> None:
    """
    A connection that gives no sign of life is given up; what it did not bring comes over another.
    """
    timeouts = Timeouts(stream_seconds=0.3)
    with connected(node.address) as direct:
        context = direct.context("silent", budget=8000)
        context.append([user("one"), user("two")])
        context.delete()
        with (
            network(node.port, one_by_one(Fate(down_bytes=400, hangs=True))) as broken,
            Fastpaca(broken.address, timeouts=timeouts, retries=PERSISTENT) as client,
        ):
            frames = list(client.context("silent").stream(cursor=0))
            assert broken.connections > 1
    check_frames(frames, [1, 2])


def test_a_stream_is_closed_by_another_thread(node: Process) -> None:
    """
    Who waits for a frame that may never come can be told to stop, and the client goes on.
    """
    with connected(node.address) as client:
        context = client.context("closed", budget=8000)
        stream = context.stream()
        live = threading.Event()

        def read() -> list[str]:
            found: list[str] = []
            for frame in stream:
                found.append(frame.type)
                live.set()
            return found

        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(read)
            assert live.wait(30)
            stream.close()
            assert reading.result(30) == ["context"]
        assert list(stream) == []
        assert context.info().version == 0


# --- a node that is killed ---


def test_a_node_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """
    Kill -9 in the middle of appends and of a stream, and a restart: what was acknowledged is there,
    nothing is there twice, and the follower is given all of it once.
    """
    acknowledged: list[int] = []
    progress = threading.Semaphore(0)

    def follow(context: Context) -> list[MessageFrame]:
        found: list[MessageFrame] = []
        with context.stream(cursor=0) as stream:
            for frame in stream:
                if isinstance(frame, MessageFrame):
                    found.append(frame)
                if len(found) == 300:
                    break
        return found

    def append(context: Context) -> None:
        for at in range(300):
            acknowledged.append(context.append(user(f"{at}")).seq)
            progress.release()

    def kill_after(appends: int, process: Process) -> None:
        for _ in range(appends):
            progress.acquire()
        process.kill()

    with (
        network(1, always(WHOLE)) as way,
        connected(way.address) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        context = client.context("c")
        with started(tmp_path) as process:
            way.node = process.port
            context.configure(budget=100_000)
            following = threads.submit(follow, context)
            writing = threads.submit(append, context)
            kill_after(50, process)
        for _ in range(KILLS - 1):
            with started(tmp_path) as process:
                way.node = process.port
                kill_after(50, process)
        with started(tmp_path) as process:
            way.node = process.port
            writing.result()
            frames = following.result()
            log = list(context.messages())
    assert acknowledged == list(range(1, 301))
    assert [text_of(message) for message in log] == [f"{at}" for at in range(300)]
    assert [frame.version for frame in frames] == list(range(1, 301))


# --- connections ---


async def test_connections_are_used_again(node: Process) -> None:
    """
    Calls one after the other share a connection, and threads have one each at most.
    """
    with network(node.port, always(WHOLE)) as way, connected(way.address) as client:
        context = client.context("reuse", budget=8000)
        for _ in range(20):
            context.append(user("x"))
            context.context()
        assert way.connections == 1
    with network(node.port, always(WHOLE)) as way:
        async with AsyncFastpaca(way.address) as other:
            for _ in range(20):
                await (await other.context("reuse")).info()
        assert way.connections == 1


def test_threads_share_a_client(node: Process) -> None:
    """
    Calls of many threads at once do not disturb each other.
    """
    with connected(node.address) as client:
        context = client.context("shared", budget=100_000)
        with ThreadPoolExecutor(WRITERS) as threads:
            found = list(threads.map(lambda n: write(context, n), range(WRITERS)))
        answers = {text: seq for pairs in found for text, seq in pairs}
        check_log(list(context.messages()), answers)
