"""`fastpaca backup`, against a small server that can answer as badly as a network can."""

import os
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fastpaca.cli.main import main

KEY = "correct-horse-battery-staple"


class Node(ThreadingHTTPServer):
    """Answers `POST /backup` with whatever *answer* writes, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, answer: Callable[["Request"], None]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, str | None]] = []
        super().__init__(("127.0.0.1", 0), Request)

    def handle_error(self, *args: object) -> None:
        """Say nothing; a client that goes away is what some tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Node

    def do_POST(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers["Authorization"]))
        self.server.answer(self)
        self.close_connection = True

    def log_request(self, *args: object) -> None:
        """Say nothing; the tests look at what was asked."""

    def reply(self, body: bytes, *, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.sqlite3")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(answer: Callable[[Request], None]) -> Iterator[Node]:
    with Node(answer) as node:
        thread = threading.Thread(target=node.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield node
        finally:
            node.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real SQLite file of more than one chunk."""
    path = tmp_path_factory.mktemp("database") / "source.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE messages (body BLOB)")
        connection.execute("INSERT INTO messages VALUES (zeroblob(3000000))")
        connection.commit()
    return path.read_bytes()


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("fastpaca: no backup was made: ")
    assert output.err.count("\n") == 1
    assert output.err.endswith((".\n", "?\n"))
    return output.err


def test_backup_is_a_whole_private_database(
    database: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The file is what the node sent, only its owner can read it, and one line tells its size.
    """
    target = tmp_path / "backup.db"
    with serving(lambda request: request.reply(database)) as node:
        assert main(["backup", str(target), "--url", node.url]) == 0
    assert target.read_bytes() == database
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]
    assert capsys.readouterr().out == f"Wrote {target} (2.9 MiB).\n"
    assert node.asked == [("POST", "/backup", None)]


@pytest.mark.parametrize("path", ["", "/", "/prefix", "/prefix/"])
def test_address_may_have_a_path(path: str, database: bytes, tmp_path: Path) -> None:
    """
    A node behind a proxy may live below a path.
    """
    with serving(lambda request: request.reply(database)) as node:
        assert main(["backup", str(tmp_path / "b.db"), "--url", node.url + path]) == 0
    assert node.asked[0][1] == path.rstrip("/") + "/backup"


@pytest.mark.parametrize(
    ("environment", "flags", "sent"),
    [
        ("", [], None),
        ("new,old", [], "Bearer new"),
        ("new,old", ["--api-key", "mine"], "Bearer mine"),
    ],
)
def test_key_comes_from_flag_or_environment(
    environment: str,
    flags: list[str],
    sent: str | None,
    database: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The flag wins over the variable that the node itself reads.
    """
    monkeypatch.setenv("FASTPACA_API_KEY", environment)
    with serving(lambda request: request.reply(database)) as node:
        assert main(["backup", str(tmp_path / "b.db"), "--url", node.url, *flags]) == 0
    assert node.asked[0][2] == sent


def test_unusable_key_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A key that no header could carry is refused before anything is asked, and not repeated.
    """
    monkeypatch.delenv("FASTPACA_API_KEY", raising=False)
    assert main(["backup", str(tmp_path / "b.db"), "--api-key", f"{KEY} x"]) == 2
    error = capsys.readouterr().err
    assert "--api-key" in error
    assert KEY not in error


def break_off(request: Request, body: bytes) -> None:
    request.reply(body[: len(body) // 2], length=len(body))


def reset(request: Request, body: bytes) -> None:
    request.reply(body[: len(body) // 2], length=len(body))
    # Closing without lingering makes the kernel send a reset instead of an orderly end.
    linger = struct.pack("ii", 1, 0)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    for end in (request.rfile, request.wfile, request.connection):
        end.close()


def say_no_length(request: Request, body: bytes) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(body)


def refuse(request: Request, body: bytes) -> None:
    message = b'{"error": "unauthorized", "message": "Send the\\u001b[31m key."}'
    request.reply(message, status=401)


def talk_nonsense(request: Request, body: bytes) -> None:
    request.wfile.write(b"nonsense\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (break_off, "ended after 1,5"),
        (reset, "cannot be read"),
        (lambda request, body: request.reply(b""), "ended after 0 of 0 bytes"),
        (lambda request, body: request.reply(b"", length=4096), "ended after 0 of 4,096"),
        (lambda request, body: request.reply(b"<html>"), "is not an SQLite file"),
        (lambda request, body: request.reply(body[:10]), "is not an SQLite file"),
        (say_no_length, "has no length"),
        (refuse, "returned 401 unauthorized: Send the [31m key."),
        (lambda request, body: request.reply(b"oops", status=502), "returned 502 Bad Gateway."),
        (lambda request, body: request.reply(b"[]", status=404), "returned 404 Not Found."),
        (lambda request, body: request.reply(b"", status=302), "returned 302 Found."),
        (talk_nonsense, "cannot be read"),
        (lambda request, body: None, "cannot be read"),
    ],
)
def test_bad_answer_leaves_no_file(
    answer: Callable[[Request, bytes], None],
    words: str,
    database: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """
    Whatever is not a whole database is told in one sentence, and nothing of it stays.
    """
    with serving(lambda request: answer(request, database)) as node:
        assert main(["backup", str(tmp_path / "b.db"), "--url", node.url]) == 1
    assert words in failure(capsys)
    assert not list(tmp_path.iterdir())


def test_node_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A refused connection is a sentence with the address in it.
    """
    with serving(lambda request: None) as node:
        url = node.url
    assert main(["backup", str(tmp_path / "b.db"), "--url", url]) == 1
    assert url in failure(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:4000",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1:0",
        "http://127.0.0.1?x=1",
        "http://127.0.0.1/ü",
        "http://127.0.0.1/\r\nX: y",
        f"http://me:{KEY}@127.0.0.1",
        "http://[::1",
    ],
)
def test_unusable_address(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    What is not the plain address of a node is refused without being repeated.
    """
    assert main(["backup", str(tmp_path / "b.db"), "--url", url]) == 1
    error = failure(capsys)
    assert "--url must be" in error
    assert KEY not in error


def test_existing_file_is_kept(
    database: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    An existing file is replaced only with --force, and only by a whole backup.
    """
    target = tmp_path / "backup.db"
    target.write_text("precious")
    with serving(lambda request: request.reply(database)) as node:
        assert main(["backup", str(target), "--url", node.url]) == 1
        assert "--force" in failure(capsys)
        assert not node.asked
    with serving(lambda request: break_off(request, database)) as node:
        assert main(["backup", str(target), "--url", node.url, "--force"]) == 1
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]
    with serving(lambda request: request.reply(database)) as node:
        assert main(["backup", str(target), "--url", node.url, "--force"]) == 0
    assert target.read_bytes() == database


def device(path: Path) -> None:
    if os.geteuid() == 0:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    else:
        path.symlink_to("/dev/null")  # who may not make a device can still be led to one


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


OTHERS: dict[str, Callable[[Path], None]] = {
    "a directory": Path.mkdir,
    "a symbolic link": lambda path: path.symlink_to(path.with_name("target")),
    "a FIFO": os.mkfifo,
    "a socket": unix_socket,
    "a device": device,
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("flags", [[], ["--force"]])
def test_what_is_no_file_is_never_replaced(
    kind: str,
    flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A device, a FIFO, a link, a socket and a directory stay what they are, whatever is asked for.
    """
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    target = tmp_path / "backup.db"
    OTHERS[kind](target)
    before = target.lstat()
    assert main(["backup", str(target), "--url", "http://127.0.0.1:1", *flags]) == 1
    said = failure(capsys)
    assert f"{target} is a" in said
    assert "device" not in kind or os.geteuid() != 0 or "is a device" in said
    after = target.lstat()
    assert os.path.samestat(after, before)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [target]


def backup_to_output(node: Node, **redirected: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "fastpaca", "backup", "-", "--url", node.url]
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, **redirected)


def test_dash_is_standard_output(database: bytes, tmp_path: Path) -> None:
    """
    The whole backup, and nothing else, goes to a pipe or to a file; none is called `-`.
    """
    with serving(lambda request: request.reply(database)) as node:
        done = backup_to_output(node, stdout=subprocess.PIPE, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == database
        with (tmp_path / "redirected").open("wb") as file:
            assert backup_to_output(node, stdout=file, cwd=tmp_path).returncode == 0
    assert (tmp_path / "redirected").read_bytes() == database
    assert [path.name for path in tmp_path.iterdir()] == ["redirected"]


def test_broken_backup_on_standard_output_is_told(database: bytes) -> None:
    """
    Half a backup ends with exit code 1, so that a pipeline can tell.
    """
    with serving(lambda request: break_off(request, database)) as node:
        done = backup_to_output(node, stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert b"the response ended" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_standard_output_that_cannot_be_written_is_told(database: bytes) -> None:
    """
    A terminal is refused before anything is asked; a reader that goes away, and a disk that is
    full, get one sentence.
    """
    with serving(lambda request: request.reply(database)) as node:
        ours, theirs = os.openpty()
        done = backup_to_output(node, stdout=theirs)
        os.close(ours)
        os.close(theirs)
        assert b"standard output is a terminal; redirect it" in done.stderr
        assert done.returncode == 1
        assert not node.asked
        reading, writing = os.pipe()
        os.close(reading)
        done = backup_to_output(node, stdout=writing)
        os.close(writing)
        assert done.stderr == (
            b"fastpaca: no backup was made: cannot write to standard output: Broken pipe.\n"
        )
        assert done.returncode == 1
        if Path("/dev/full").exists():
            with Path("/dev/full").open("wb") as full:
                done = backup_to_output(node, stdout=full)
            assert b"cannot write to standard output: No space left" in done.stderr
            assert done.returncode == 1
        done = backup_to_output(node, preexec_fn=lambda: os.close(1))
        assert b"cannot write to standard output: it is closed." in done.stderr


def test_file_that_appears_meanwhile_is_kept(
    database: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A file that somebody else writes while the backup comes in is not replaced.
    """
    target = tmp_path / "backup.db"

    def answer(request: Request) -> None:
        target.write_text("precious")
        request.reply(database)

    with serving(answer) as node:
        assert main(["backup", str(target), "--url", node.url]) == 1
    assert "--force" in failure(capsys)
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]


def test_backup_under_way_is_not_disturbed(
    database: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The partial file of another backup is neither written to nor removed.
    """
    part = tmp_path / "backup.db.part"
    part.write_text("of another")
    with serving(lambda request: request.reply(database)) as node:
        assert main(["backup", str(tmp_path / "backup.db"), "--url", node.url]) == 1
    assert "another backup is running" in failure(capsys)
    assert part.read_text() == "of another"


@pytest.mark.parametrize("name", ["missing/backup.db", "."])
def test_unusable_target(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A missing directory, or a directory in the place of the file, is found before anything is asked.
    """
    assert main(["backup", str(tmp_path / name), "--url", "http://127.0.0.1:1"]) == 1
    assert "directory" in failure(capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_is_told_as_such(
    database: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A disk that fills up is not blamed on the network.
    """
    real_open = os.open

    def open_full(path: object, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".part"):
            os.close(real_open(str(path), flags, mode))
            return real_open("/dev/full", os.O_WRONLY)
        return real_open(str(path), flags, mode)

    monkeypatch.setattr(os, "open", open_full)
    with serving(lambda request: request.reply(database)) as node:
        assert main(["backup", str(tmp_path / "b.db"), "--url", node.url]) == 1
    assert "b.db.part cannot be written: No space left on device." in failure(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("signal_number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_interrupted_backup_leaves_no_file(
    signal_number: signal.Signals, exit_code: int, database: bytes, tmp_path: Path
) -> None:
    """
    Ctrl-C and SIGTERM in the middle of a transfer remove what has come so far.
    """
    part = tmp_path / "backup.db.part"
    go_on = threading.Event()

    def stall(request: Request) -> None:
        request.reply(database[:1_100_000], length=len(database))
        request.wfile.flush()
        go_on.wait(30)

    with serving(stall) as node:
        command = [sys.executable, "-m", "fastpaca", "backup", str(tmp_path / "backup.db")]
        process = subprocess.Popen([*command, "--url", node.url], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal_number)
        assert process.wait(20) == exit_code
        go_on.set()
    assert not list(tmp_path.iterdir())
