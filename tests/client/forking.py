"""
A process that uses a client, forks, and goes on: the scenes of `test_forks.py`, each a function.

    python -m tests.client.forking SCENE ADDRESS DIRECTORY CHILDREN ROUNDS
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from fastpaca import AsyncFastpaca, Fastpaca, FastpacaError
from tests.client import work
from tests.kit.messages import user

THREADS = 3


class Scene(NamedTuple):
    """What a scene is given."""

    address: str
    directory: Path
    children: int
    rounds: int

    def names(self) -> list[str]:
        return [f"child-{number}" for number in range(self.children)]


def fork(child: Callable[[], None], *, ends_hard: bool, how: Callable[[], int] = os.fork) -> int:
    """
    Let a child do something and end, at once or as an interpreter does; its pid.

    An end that is not hard finalises what was inherited.
    """
    pid = how()
    if pid:
        return pid
    code = 1
    try:
        child()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the child has failed
        traceback.print_exc()
    if ends_hard or code:
        sys.stderr.flush()
        os._exit(code)
    gc.collect()
    sys.exit(0)


def tell(error: FastpacaError) -> None:
    """Let the test know what was raised."""
    os.write(sys.stdout.fileno(), f"{type(error).__name__}\n".encode())


def wait_for(pids: list[int]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * len(pids), codes


def threads(scene: Scene) -> None:
    """Threads use the client, one follows a stream, and the process forks in the middle of it."""
    client = Fastpaca(scene.address)
    parents = [f"parent-{number}" for number in range(THREADS)]
    log = client.context(work.LOG)
    stream, live = log.stream(), threading.Event()
    followed: list[int] = []

    def follow() -> None:
        for frame in stream:
            live.set()
            if frame.type == "message":
                assert frame.seq is not None
                followed.append(frame.seq)

    def child(name: str) -> Callable[[], None]:
        def run() -> None:
            work.report(scene.directory, name, work.work(client, name, scene.rounds))
            client.close()
            stream.close()

        return run

    with ThreadPoolExecutor(THREADS + 1) as pool:
        following = pool.submit(follow)
        assert live.wait(30)
        working = [pool.submit(work.work, client, name, scene.rounds) for name in parents]
        names = scene.names()
        wait_for([fork(child(name), ends_hard=at % 2 == 0) for at, name in enumerate(names)])
        for name, found in zip(parents, working, strict=True):
            work.report(scene.directory, name, found.result())
        last = client.context(work.LOG).append(user("last")).seq
        work.report(scene.directory, "last", {"last": last})
        while not followed or followed[-1] < last:
            assert not following.done()
        stream.close()
        following.result()
    assert followed == list(range(1, last + 1))
    client.close()


def untold(scene: Scene) -> None:
    """A process forks without a word to Python, as uWSGI does: the id of the process tells."""
    client = Fastpaca(scene.address)
    work.report(scene.directory, "parent-0", work.work(client, "parent-0", 1))

    def child(name: str) -> Callable[[], None]:
        return lambda: work.report(scene.directory, name, work.work(client, name, scene.rounds))

    how = ctypes.PyDLL(None).fork
    pids = [fork(child(name), ends_hard=True, how=how) for name in scene.names()]
    work.report(scene.directory, "parent-1", work.work(client, "parent-1", scene.rounds))
    wait_for(pids)
    client.close()


def streams(scene: Scene) -> None:
    """A child cannot read on where its parent reads, and leaves that to it."""
    client = Fastpaca(scene.address)
    log = client.context(work.LOG)
    stream = log.stream(cursor=0)
    assert next(stream).type == "context"

    def child() -> None:
        try:
            next(stream)
        except FastpacaError as error:
            tell(error)
        stream.close()
        with log.stream(cursor=0) as own:
            assert next(own).type == "message"
        client.close()

    seqs = {"one": log.append(user("one")).seq}
    wait_for([fork(child, ends_hard=False)])
    seqs["two"] = log.append(user("two")).seq
    found = [next(stream).type for _ in range(4)]
    assert found == ["message", "context", "message", "context"], found
    work.report(scene.directory, "parent", seqs)
    client.close()


def loops(scene: Scene) -> None:
    """A client of asyncio is used on loops of the parent, before and between forks, and after."""
    client = AsyncFastpaca(scene.address)
    run(client, scene, "parent-0")

    def child(name: str) -> Callable[[], None]:
        return lambda: run(client, scene, name)

    names = scene.names()
    pids = [fork(child(name), ends_hard=at % 2 == 0) for at, name in enumerate(names)]
    run(client, scene, "parent-1")
    wait_for(pids)
    asyncio.run(client.aclose())


def run(client: AsyncFastpaca, scene: Scene, name: str) -> None:
    work.report(scene.directory, name, asyncio.run(work.work_async(client, name, scene.rounds)))


def running_loop(scene: Scene) -> None:
    """A process forks on its event loop, while tasks use the client and one follows a stream."""

    async def main() -> None:
        async with AsyncFastpaca(scene.address) as client:
            parents = [f"parent-{number}" for number in range(THREADS)]
            log = await client.context(work.LOG)
            stream = log.stream(cursor=0)
            assert (await anext(stream)).type == "context"
            tasks = [
                asyncio.create_task(work.work_async(client, name, scene.rounds)) for name in parents
            ]
            pids = []
            for name in scene.names():
                await asyncio.sleep(0.01)

                def child(name: str = name) -> None:
                    asyncio.run(use(client, stream, name))

                pids.append(fork(child, ends_hard=True))
            for name, found in zip(parents, await asyncio.gather(*tasks), strict=True):
                work.report(scene.directory, name, found)
            await asyncio.to_thread(wait_for, pids)
            seqs = [(await anext(stream)).cursor for _ in range(10)]
            assert seqs == sorted(seqs)
            await stream.aclose()

    async def use(client: AsyncFastpaca, stream: Any, name: str) -> None:
        try:
            await anext(stream)
        except FastpacaError as error:
            tell(error)
        await stream.aclose()
        work.report(scene.directory, name, await work.work_async(client, name, scene.rounds))
        await client.aclose()

    asyncio.run(main())


def local(scene: Scene) -> None:
    """Children of a process with a local node cannot use it, and the parent goes on."""
    path = scene.directory / "data"
    client = Fastpaca.local(path, token_estimator="chars")
    work.prepare(client, ["parent-0"])
    stream = client.context(work.LOG).stream(cursor=0)
    next(stream)

    def child() -> None:
        def refusal(function: Callable[[], object]) -> None:
            try:
                function()
            except FastpacaError as error:
                tell(error)

        refusal(client.context(work.LOG).info)
        refusal(lambda: next(stream))
        refusal(lambda: Fastpaca.local(path, token_estimator="chars"))
        stream.close()
        client.close()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work.work, client, "parent-0", scene.rounds * scene.children)
        for at in range(scene.children):
            wait_for([fork(child, ends_hard=at % 2 == 0)])
        work.check_log(client, working.result())
    with ExitStack() as alive:
        ready, may_end = os.pipe(), os.pipe()

        def outlive() -> None:
            os.write(ready[1], b"x")
            os.read(may_end[0], 1)
            child()

        pid = fork(outlive, ends_hard=False)
        alive.callback(wait_for, [pid])
        alive.callback(os.write, may_end[1], b"x")
        os.read(ready[0], 1)
        client.close()
        with Fastpaca.local(path, token_estimator="chars") as again:  # the child holds no lock
            again.context(work.LOG).append(user("again"))


def pool_of(scene: Scene, method: str) -> None:
    """A pool of `multiprocessing` works, and the parent beside it."""
    global _client  # noqa: PLW0603 - so does an application of whose client a worker makes use
    _client = Fastpaca(scene.address)
    work.report(scene.directory, "parent-0", work.work(_client, "parent-0", 1))
    tasks = [(scene, name) for name in scene.names()]
    with multiprocessing.get_context(method).Pool(scene.children) as pool:
        done = pool.starmap_async(in_pool, tasks, chunksize=1)
        work.report(scene.directory, "parent-1", work.work(_client, "parent-1", scene.rounds))
        done.get(120)
    _client.close()


_client: Fastpaca | None = None


def in_pool(scene: Scene, name: str) -> None:
    client = _client or Fastpaca(scene.address)
    work.report(scene.directory, name, work.work(client, name, scene.rounds))


SCENES: dict[str, Callable[[Scene], None]] = {
    "threads": threads,
    "untold": untold,
    "streams": streams,
    "loops": loops,
    "running_loop": running_loop,
    "local": local,
    "multiprocessing_fork": lambda scene: pool_of(scene, "fork"),
    "multiprocessing_spawn": lambda scene: pool_of(scene, "spawn"),
}

if __name__ == "__main__":
    _name, _address, _directory, _children, _rounds = sys.argv[1:]
    SCENES[_name](Scene(_address, Path(_directory), int(_children), int(_rounds)))
