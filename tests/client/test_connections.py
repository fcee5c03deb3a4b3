"""Whose connections a client uses: those of its process and event loop, while it is open."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastpaca import AsyncFastpaca, ClientClosed, Fastpaca, ForeignStream, InvalidRequest
from fastpaca.client.processes import this_process
from tests.client.network import WHOLE, Network, always, network
from tests.kit.certificates import Authority
from tests.kit.messages import user
from tests.kit.process import Process


@pytest.fixture
def way(node: Process) -> Iterator[Network]:
    """A way to the node that counts connections."""
    with network(node.port, always(WHOLE)) as found:
        yield found


# --- event loops ---


def test_a_client_is_used_on_one_loop_after_the_other(way: Network) -> None:
    """
    Each `asyncio.run` has a connection of its own, which is closed when it ends.
    """
    client = AsyncFastpaca(way.address)

    async def append(text: str) -> int:
        context = await client.context("loops", budget=8000)
        await context.info()
        return (await context.append(user(text))).seq

    for at in range(1, 4):
        assert asyncio.run(append(f"{at}")) == at
        assert way.connections == at
        way.wait_for_open(0)
    asyncio.run(client.aclose())
    with pytest.raises(ClientClosed):
        asyncio.run(append("late"))


def test_loops_at_the_same_time_have_their_own_connections(way: Network) -> None:
    """
    Threads with a loop each share a client.
    """
    client = AsyncFastpaca(way.address)

    async def append(number: int) -> list[int]:
        context = await client.context(f"at-once-{number}", budget=8000)
        return [(await context.append(user(f"{at}"))).seq for at in range(20)]

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda number: asyncio.run(append(number)), range(3)))
    assert found == [list(range(1, 21))] * 3
    assert way.connections == 3


def test_a_loop_that_is_closed_without_more_is_forgotten(way: Network) -> None:
    """
    A loop that was closed in the middle of it all does not keep the next one from its work.
    """
    client = AsyncFastpaca(way.address)

    async def append() -> int:
        return (await (await client.context("rude", budget=8000)).append(user("x"))).seq

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's, of what was left open
        for seq in (1, 2, 3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(append()) == seq
            loop.close()
        asyncio.run(client.aclose())
        gc.collect()
    way.wait_for_open(0)


async def test_a_client_that_is_dropped_closes_its_connections(way: Network) -> None:
    """
    One that nobody refers to any more leaves no connection open.
    """
    client = AsyncFastpaca(way.address)
    await client.context("dropped", budget=8000)
    assert way.connections == 1
    del client
    gc.collect()
    await asyncio.to_thread(way.wait_for_open, 0)


def test_a_stream_belongs_to_the_loop_that_began_it(node: Process) -> None:
    """
    Another loop is told so, and cannot close it.
    """
    client = AsyncFastpaca(node.address)

    async def begin() -> Any:
        stream = (await client.context("stream", budget=8000)).stream()
        assert (await anext(stream)).type == "context"
        return stream

    async def go_on(stream: Any) -> None:
        with pytest.raises(ForeignStream):
            await anext(stream)
        await stream.aclose()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        stream = first.run(begin())
        second.run(go_on(stream))
        first.run((client.context("stream", budget=9000)).__aenter__())
        assert first.run(anext(stream)).token_budget == 9000
        first.run(stream.aclose())


# --- processes ---


def test_children_draw_keys_of_their_own(node: Process) -> None:
    """
    What is random does not come from a state that a fork has copied: no two processes make up the
    same idempotency key, or wait for the same time.
    """
    script = f"""
import os, sys
from fastpaca import Fastpaca
from fastpaca.client.flow import RandomInt
from fastpaca.client.http_requests import now_or_random
client = Fastpaca({node.address!r})
context = client.context("keys", budget=8000)
now_or_random(RandomInt())
for at in range(50):
    pid = os.fork()
    if pid == 0:
        os.write(1, b"%x\\n" % now_or_random(RandomInt()))
        os._exit(0)
    os.waitpid(pid, 0)
"""
    drawn = output_of(script).split()
    assert len(drawn) == len(set(drawn)) == 50


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server needs for TLS, and the file that makes a client trust it."""
    authority = Authority(tmp_path)
    signed = authority.sign("node", "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(signed.certificate, signed.key)
    return context, authority.certificate


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_child_leaves_the_connections_of_its_parent_alone(
    is_encrypted: bool, trusted: tuple[ssl.SSLContext, Path], node: Process
) -> None:
    """
    It neither ends nor writes to them, however it ends, also where TLS would say goodbye; and when
    the parent closes one, the node learns of it, though the child lives on.
    """
    context, authority = trusted
    with network(node.port, always(WHOLE), context if is_encrypted else None) as way:
        check_child(way, f"alone-{is_encrypted}", authority)


def check_child(way: Network, name: str, authority: Path) -> None:
    script = f"""
import gc, os, sys
from fastpaca import Fastpaca
client = Fastpaca({way.address!r})
context = client.context({name!r}, budget=8000)
stream = context.stream(cursor=0)
next(stream)
if os.fork() == 0:
    if os.fork() == 0:
        os.write(1, b"child")
        os.read(0, 1)
        os._exit(0)
    client.close()
    stream.close()
    del client, context, stream
    gc.collect()
    sys.exit(0)
os.wait()
assert context.append({{"role": "user", "parts": []}}).seq == 1
assert next(stream).type == "message"
client.close()
os.close(1)
os.read(0, 1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"SSL_CERT_FILE": str(authority)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.read(5) == b"child"
        way.wait_for_open(0)
        assert process.poll() is None
        process.stdin.close()
    assert process.returncode == 0
    assert way.connections == 2


async def test_processes_that_are_started_inherit_nothing(node: Process) -> None:
    """
    No connection reaches a program that is started with all descriptors, as `posix_spawn` does.
    """
    script = f"""
import socket
for number in range(3, 200):
    try:
        with socket.socket(fileno=number) as found:
            assert found.getpeername()[1] != {node.port}
    except OSError:
        pass
"""
    async with AsyncFastpaca(node.address) as other:
        follower = (await other.context("spawn", budget=8000)).stream(cursor=0)
        await anext(follower)
        with Fastpaca(node.address) as client, client.context("spawn").stream(cursor=0) as stream:
            next(stream)
            command = [sys.executable, "-c", script]
            pid = os.posix_spawn(command[0], command, os.environ)  # noqa: ASYNC221 - it is no wait
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        await follower.aclose()
    assert os.waitstatus_to_exitcode(status) == 0


def output_of(script: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- copies, and the end ---


@pytest.mark.parametrize("kind", [Fastpaca, AsyncFastpaca])
@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_a_client_is_not_pickled(kind: type, copied: Callable[[object], object]) -> None:
    """
    The error says what to do instead. An API key would go along, too.
    """
    with pytest.raises(TypeError, match="Make another one with the same arguments"):
        copied(kind("http://127.0.0.1:1", "secret"))


def test_calls_of_a_closed_client_are_refused(node: Process) -> None:
    """
    By a class of their own, and so are the streams that it has left.
    """
    client = Fastpaca(node.address)
    context = client.context("closed", budget=8000)
    stream, other = context.stream(), context.stream()
    assert next(stream).type == "context"
    client.close()
    client.close()
    for call in (context.info, lambda: next(stream), lambda: next(other)):
        with pytest.raises(ClientClosed, match="closed"):
            call()


def test_a_thread_that_reads_learns_that_the_client_is_closed(node: Process) -> None:
    """
    It does not wait for frames that nobody can send any more.
    """
    client = Fastpaca(node.address)
    stream, live = client.context("thread", budget=8000).stream(), threading.Event()

    def read() -> None:
        for _ in stream:
            live.set()

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        assert live.wait(30)
        client.close()
        with pytest.raises(ClientClosed):
            reading.result(30)


async def test_calls_of_a_closed_async_client_are_refused(node: Process) -> None:
    """
    The same with asyncio.
    """
    client = AsyncFastpaca(node.address)
    context = await client.context("aclosed", budget=8000)
    stream = context.stream()
    assert (await anext(stream)).type == "context"
    await client.aclose()
    await client.aclose()
    with pytest.raises(ClientClosed):
        await context.info()
    with pytest.raises(ClientClosed):
        await anext(stream)
    with pytest.raises(ClientClosed):
        async with client:
            pass


@pytest.mark.parametrize(
    ("kind", "transport"),
    [(Fastpaca, httpx.HTTPTransport), (AsyncFastpaca, httpx.AsyncHTTPTransport)],
)
def test_a_transport_is_given_as_a_function(
    kind: Callable[..., object], transport: Callable[[], object]
) -> None:
    """
    One that is made already could not be shared, and is refused with a sentence.
    """
    with pytest.raises(InvalidRequest, match="a function that returns a transport") as refused:
        kind(transport=transport())
    assert refused.value.field == "transport"
    kind(transport=transport)


def test_a_transport_of_the_callers_is_made_where_it_is_used(node: Process) -> None:
    """
    Once for calls, and once for each stream.
    """
    made: list[httpx.HTTPTransport] = []

    def make() -> httpx.HTTPTransport:
        made.append(httpx.HTTPTransport())
        return made[-1]

    with Fastpaca(node.address, transport=make) as client:
        context = client.context("made", budget=8000)
        context.append(user("x"))
        for _ in range(2):
            with context.stream(cursor=0) as stream:
                assert next(stream).type == "message"
    assert len(made) == 3
    assert this_process()[0] == os.getpid()
