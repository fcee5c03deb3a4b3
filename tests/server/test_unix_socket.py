"""A node that listens on a Unix socket: who reaches it there, and what becomes of the socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import unix_connect

from fastpaca import AsyncFastpaca, Fastpaca
from fastpaca.cli.main import main
from tests.kit.messages import user
from tests.kit.process import DidNotStart, Process, running, started

MESSAGE = user("Hi")


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A path that is short enough for a socket on every system."""
    directory = Path("/tmp") / f"fastpaca-{os.getpid()}-{tmp_path_factory.mktemp('x').name}"
    directory.mkdir(mode=0o700)
    yield directory / "socket"
    for left in directory.iterdir():
        left.unlink()
    directory.rmdir()


@contextmanager
def listening(directory: Path, path: Path, *flags: str, **environment: str) -> Iterator[Process]:
    with started(directory, "--host", f"unix:{path}", *flags, **environment) as process:
        yield process


def test_everything_goes_over_a_socket(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The banner names it; a client, its stream and a backup find the node there, and no port is open.
    """
    with listening(tmp_path, path) as process:
        assert f"unix:{path}\n" in process.banner
        assert process.port == 0
        make = partial(httpx.HTTPTransport, uds=str(path))
        with Fastpaca("http://localhost", transport=make) as client:
            context = client.context("a/../b", budget=8000)
            context.append(MESSAGE)
            with context.stream(cursor=0) as stream:
                assert next(stream).type == "message"
        backup = tmp_path / "backup.db"
        assert main(["backup", "--url", f"unix:{path}", str(backup)]) == 0
        assert backup.read_bytes().startswith(b"SQLite format 3\0")
        assert process.stop() == 0
        assert "WARNING" not in process.errors
        assert not path.exists()
    assert main(["backup", "--url", f"unix:{path}", str(tmp_path / "other")]) == 1
    assert f"unix:{path} cannot be reached" in capsys.readouterr().err


async def test_streams_over_a_socket(tmp_path: Path, path: Path) -> None:
    """
    The asynchronous client and WebSockets reach it as well.
    """
    with listening(tmp_path, path):
        make = partial(httpx.AsyncHTTPTransport, uds=str(path))
        async with AsyncFastpaca("http://localhost", transport=make) as client:
            await (await client.context("c", budget=8000)).append(MESSAGE)
        address = "ws://anything/v1/contexts/c/stream?cursor=0"
        async with unix_connect(str(path), address) as frames:
            assert json.loads(await frames.recv())["type"] == "message"


def test_the_host_is_not_looked_at_there(tmp_path: Path, path: Path) -> None:
    """
    A proxy may send whatever name it is called by; pages of browsers stay outside all the same.
    """
    with (
        listening(tmp_path, path, "--rate-limit", "3/hour"),
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client,
    ):
        address = "http://conversations.example.com/v1/contexts"
        assert client.get(address).status_code == 200
        foreign = client.get(address, headers={"Origin": "https://example.com"})
        assert foreign.status_code == 403
        answers = [client.get(address).status_code for _ in range(3)]
        assert answers == [200, 200, 429], "all that comes over the socket is one address"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o007, 0o770), (0o077, 0o700)])
def test_the_umask_says_who_may_connect(umask: int, mode: int, tmp_path: Path, path: Path) -> None:
    """
    The socket is made under the umask of the process, and not changed afterwards.
    """
    code = f"import os, sys; os.umask({umask}); os.execv(sys.executable, sys.argv[1:])"
    serve = [sys.executable, "-m", "fastpaca", "serve", "--host", f"unix:{path}"]
    flags = ["--store", "memory", "--token-estimator", "chars"]
    with running([sys.executable, "-c", code, *serve, *flags], tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_socket_of_a_killed_node_is_replaced(tmp_path: Path, path: Path) -> None:
    """
    Nobody listens there any more, so the next start takes its place.
    """
    with listening(tmp_path, path) as process:
        process.kill()
        assert path.is_socket()
    with (
        listening(tmp_path, path),
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client,
    ):
        assert client.get("http://a/health/ready").status_code == 200


def test_a_socket_in_use_is_left_alone(tmp_path: Path, path: Path) -> None:
    """
    A second node, with data of its own, says that the first is there, which goes on.
    """
    other = tmp_path / "other"
    other.mkdir()
    with listening(tmp_path, path) as process:
        in_use = pytest.raises(DidNotStart, match=r"unix:\S+: another process is listening there")
        with in_use as caught, listening(other, path):
            pass
        assert caught.value.code == 1
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://a/health/ready").status_code == 200
        assert process.stop() == 0


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(kind: str, tmp_path: Path, path: Path) -> None:
    """
    A mistyped path destroys nothing.
    """
    kept = tmp_path / "kept"
    kept.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "link":
        path.symlink_to(kept)
    else:
        path = tmp_path
    no_socket = pytest.raises(DidNotStart, match="a file that is not a socket is in the way")
    with no_socket as caught, listening(tmp_path, path):
        pass
    assert caught.value.code == 1
    assert kept.read_text() == "precious"
    if kind == "file":
        assert path.read_text() == "precious"


def test_a_missing_directory_is_a_sentence(tmp_path: Path, path: Path) -> None:
    """
    Directories are not made: whose they should be is not for a node to say.
    """
    missing = pytest.raises(DidNotStart, match="no such file or directory; create its directory")
    with missing as caught, listening(tmp_path, path.parent / "deeper" / "socket"):
        pass
    assert caught.value.code == 1


def test_a_socket_of_another_is_not_removed_at_the_end(tmp_path: Path, path: Path) -> None:
    """
    Whoever put a socket of its own in the place keeps it.
    """
    with listening(tmp_path, path) as process:
        path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(str(path))
            assert process.stop(signal.SIGTERM) == 0
            assert path.is_socket()
