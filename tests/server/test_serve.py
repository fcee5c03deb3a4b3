"""`fastpaca serve` as a process: how it begins, what it says, and how it ends."""

import asyncio
import json
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

import fastpaca
from tests.kit.load import Load
from tests.kit.messages import user
from tests.kit.process import STOP_SECONDS_MAX, DidNotStart, Process, module, running, started


@contextmanager
def connected(process: Process) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection("127.0.0.1", process.port, timeout=30)) as connection:
        yield connection


def ask(
    connection: HTTPConnection, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, object]]:
    """Send one request on *connection*, and give the status and the JSON of the answer."""
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, {"Content-Type": "application/json", **headers})
    with connection.getresponse() as response:
        data = response.read()
    found: dict[str, object] = json.loads(data) if data else {}
    return response.status, found


def refusal(directory: Path, *flags: str, **environment: str) -> str:
    """Give the one line that a process which does not start says, and check that it is one."""
    with pytest.raises(DidNotStart) as caught, started(directory, *flags, **environment) as process:
        pytest.fail(f"it started: {process.banner}")
    assert caught.value.code == 1
    said = str(caught.value).partition("\n")[2]
    lines = [line for line in said.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert lines[0].startswith("fastpaca: ")
    assert "Traceback" not in said
    return lines[0]


# --- the beginning ----------------------------------------------------------------------------


def test_banner_tells_what_runs_where(tmp_path: Path) -> None:
    """
    Who starts a node reads its version, address, store, directory and counter, and about the key.
    """
    with started(tmp_path) as process:
        banner = dict(
            line.strip().split(None, 1) for line in process.banner.replace(" d", "_d").splitlines()
        )
        assert process.banner.startswith(f"fastpaca {fastpaca.__version__}\n")
        assert banner["address"] == process.address
        assert banner["store"].startswith("sqlite")
        assert str(tmp_path / "data") in process.banner
        assert "chars" in process.banner
        assert "none" in process.banner.splitlines()[-1]
        with connected(process) as connection:
            assert ask(connection, "GET", "/health/ready") == (200, {"status": "ok"})
        assert process.stop() == 0
        assert not [line for line in process.errors.splitlines() if not line.startswith("{")]


def test_banner_of_other_settings(tmp_path: Path) -> None:
    """
    It also tells that nothing is kept, that a count is approximate, and that there is a key, but
    not which.
    """
    flags = ("--store", "memory", "--token-estimator", "tiktoken:claude-sonnet-4")
    with started(tmp_path, *flags, FASTPACA_API_KEY="correct-horse") as process:
        assert "everything is lost when the node stops" in process.banner
        assert "approximate for claude-sonnet-4" in process.banner
        assert process.banner.splitlines()[-1].split()[-1] == "set"
        assert "horse" not in process.banner
        with connected(process) as connection:
            assert ask(connection, "GET", "/v1/contexts")[0] == 401
            key = {"Authorization": "Bearer correct-horse"}
            assert ask(connection, "GET", "/v1/contexts", **key)[0] == 200
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_open_node_is_warned_of(host: str, tmp_path: Path) -> None:
    """
    Listening beyond the machine without a key prints a box that nobody can miss, on stderr.
    """
    with skipped_without(host), started(tmp_path, "--host", host) as process:
        assert process.stop() == 0
        assert "!!!!!!!!" in process.errors
        assert "WARNING" in process.errors
        assert "FASTPACA_API_KEY" in process.errors
        assert "all other addresses" in process.banner


@contextmanager
def skipped_without(host: str) -> Iterator[None]:
    """Skip what needs IPv6 on a machine that has none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    yield


def test_closed_node_is_not_warned_of(tmp_path: Path) -> None:
    """
    With a key, there is nothing to warn of.
    """
    with started(tmp_path, "--host", "0.0.0.0", FASTPACA_API_KEY="key") as process:
        assert process.stop() == 0
        assert "WARNING" not in process.errors


def test_address_in_use_is_a_sentence(tmp_path: Path) -> None:
    """
    A port that another program listens on is told in one line, before any data is touched.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refusal(tmp_path, "--port", port)
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_address_of_another_machine_is_a_sentence(host: str, tmp_path: Path) -> None:
    """
    So is an address that this machine does not have, and a name that nobody has.
    """
    assert host in refusal(tmp_path, "--host", host)


def test_second_process_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """
    A data directory belongs to one process, and the second one says so and leaves the first alone.
    """
    with started(tmp_path) as process:
        line = refusal(tmp_path)
        assert "data directory" in line
        assert "in use" in line
        with connected(process) as connection:
            assert ask(connection, "PUT", "/v1/contexts/a")[0] == 201
        assert process.stop() == 0
    with started(tmp_path) as process, connected(process) as connection:
        assert ask(connection, "GET", "/v1/contexts/a")[0] == 200


def test_copies_of_a_backup_that_was_killed_are_cleared_away(tmp_path: Path) -> None:
    """
    What a killed process left of a backup takes no space for longer than until the next start.
    """
    left = tmp_path / "data" / "backup-x1y2z3"
    left.mkdir(parents=True)
    (left / "fastpaca.db").write_bytes(b"half of it")
    with started(tmp_path):
        assert not left.exists()


def test_unknown_model_is_a_sentence(tmp_path: Path) -> None:
    """
    A model that nobody knows ends the start with code 2, like every setting that cannot be used.
    """
    unknown = started(tmp_path, "--token-estimator", "tiktoken:nonsense")
    with pytest.raises(DidNotStart, match=r"fastpaca: .*nonsense") as caught, unknown:
        pass
    assert caught.value.code == 2


# --- connections ------------------------------------------------------------------------------


def test_connection_goes_on_after_refusals(tmp_path: Path) -> None:
    """
    A request that is refused by a route leaves its connection as it was.
    """
    with started(tmp_path) as process, connected(process) as connection:
        connection.connect()
        first = connection.sock
        assert ask(connection, "PUT", "/v1/contexts/a", {"token_budget": 0})[0] == 400
        assert ask(connection, "POST", "/v1/contexts/a/messages", {"message": {}})[0] == 400
        assert ask(connection, "GET", "/v1/contexts/a")[0] == 404
        assert ask(connection, "POST", "/v1/contexts/a", {})[0] == 405
        assert ask(connection, "PUT", "/v1/contexts/a")[0] == 201
        assert connection.sock is first


def test_what_is_no_request_is_refused_in_json(tmp_path: Path) -> None:
    """
    The real server refuses broken requests, tells nobody what it is made of, and goes on.
    """
    with started(tmp_path) as process:
        for data in (b"hello\r\n\r\n", b"GET /" + b"a" * 100_000, b"\x16\x03\x01" + bytes(500)):
            with socket.create_connection(("127.0.0.1", process.port), 30) as client:
                client.sendall(data)
                head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(
                    b"\r\n\r\n"
                )
            assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
            assert b"\r\ndate: " in head
            assert b"server: " not in head
            assert json.loads(body)["error"] in {"invalid_request", "headers_too_large"}
        with connected(process) as connection:
            assert ask(connection, "GET", "/health/live")[0] == 200
        assert process.stop() == 0
        assert "Traceback" not in process.errors


def test_no_websocket_is_opened(tmp_path: Path) -> None:
    """
    A request to become a WebSocket gets an error like any other, not a traceback.
    """
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with started(tmp_path) as process, connected(process) as connection:
        status, answer = ask(connection, "GET", "/v1/contexts/a/stream", **upgrade)
        assert (status, answer["error"]) == (404, "not_found")


# --- the end ----------------------------------------------------------------------------------


@contextmanager
def stuck_clients(process: Process) -> Iterator[list[socket.socket]]:
    """Hold connections of clients that begin something and never go on."""
    with connected(process) as connection:
        large = user("a" * 8_000_000)
        ask(connection, "PUT", "/v1/contexts/large", {"token_budget": 10**7})
        body = {"message": {**large, "token_count": 1}}
        assert ask(connection, "POST", "/v1/contexts/large/messages", body)[0] == 201
    head = b"Host: localhost\r\n"
    half_a_head = b"GET /v1/contexts HTTP/1.1\r\n" + head
    half_a_body = (
        b"POST /v1/contexts/large/messages HTTP/1.1\r\n" + head + b"Content-Length: 99\r\n\r\n{"
    )
    unread = b"GET /v1/contexts/large/tail HTTP/1.1\r\n" + head + b"\r\n"
    clients = [socket.create_connection(("127.0.0.1", process.port), 30) for _ in range(4)]
    try:
        for client, data in zip(clients, (b"", half_a_head, half_a_body, unread), strict=True):
            client.sendall(data)
        clients[3].recv(1)
        yield clients
    finally:
        for client in clients:
            client.close()


async def stopped_under_load(process: Process, load: Load, number: signal.Signals) -> float:
    """Stop a server while clients write to it; how long that took."""
    writing = [asyncio.create_task(load.keep_writing(process.port)) for _ in range(8)]
    await load.answered(100)
    began = time.monotonic()
    process.send(number)
    await asyncio.gather(*writing)
    assert await asyncio.to_thread(process.wait) == 0
    return time.monotonic() - began


@pytest.mark.slow
async def test_stuck_clients_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """
    SIGTERM under load: what was acknowledged stays, and the process ends well, within ten seconds,
    although some clients never will.
    """
    load = Load(contexts=8, seed=1)
    with started(tmp_path) as process, stuck_clients(process):
        await load.create(process.port)
        assert await stopped_under_load(process, load, signal.SIGTERM) < STOP_SECONDS_MAX
    with started(tmp_path) as process:
        await load.check_to_the_end(process.port)


async def test_idle_clients_do_not_delay_the_end(tmp_path: Path) -> None:
    """
    Ctrl-C under load, with idle connections only: the same, and at once.
    """
    load = Load(contexts=8, seed=2)
    with started(tmp_path) as process, connected(process) as idle:
        ask(idle, "GET", "/health/ready")
        await load.create(process.port)
        assert await stopped_under_load(process, load, signal.SIGINT) < STOP_SECONDS_MAX / 2
    with started(tmp_path) as process:
        await load.check_to_the_end(process.port)


def test_second_signal_ends_the_waiting(tmp_path: Path) -> None:
    """
    Who asks twice does not wait for clients, and learns from the exit code that some were cut off.
    """
    with started(tmp_path) as process, stuck_clients(process) as clients:
        process.send(signal.SIGTERM)
        assert clients[0].recv(1) == b""  # idle connections are closed: it is under way
        began = time.monotonic()
        assert process.stop(signal.SIGINT) == 1
        assert time.monotonic() - began < STOP_SECONDS_MAX / 2
    with started(tmp_path) as process, connected(process) as connection:
        _, found = ask(connection, "GET", "/v1/contexts/large")
        assert found["version"] == 1


def test_request_under_way_is_finished(tmp_path: Path) -> None:
    """
    A write whose body is still coming in when the end begins is taken, answered and kept.
    """
    body = json.dumps({"message": {"role": "user", "parts": []}}).encode()
    with started(tmp_path) as process:
        with connected(process) as connection:
            ask(connection, "PUT", "/v1/contexts/a")
        with (
            socket.create_connection(("127.0.0.1", process.port), 30) as client,
            socket.create_connection(("127.0.0.1", process.port), 30) as idle,
        ):
            head = b"POST /v1/contexts/a/messages HTTP/1.1\r\nHost: localhost\r\n"
            head += b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(head)
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            process.send(signal.SIGTERM)
            assert idle.recv(1) == b""
            client.sendall(body)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 201 ")
            assert b"connection: close" in answer
        assert process.wait() == 0
    with started(tmp_path) as process, connected(process) as connection:
        assert ask(connection, "GET", "/v1/contexts/a")[1]["last_seq"] == 1


def test_failed_store_ends_the_process(tmp_path: Path) -> None:
    """
    After a failed fsync the write is not acknowledged, liveness fails, and the process ends with an
    error at once.
    """
    with running(module("tests.server.fatal", "sync"), tmp_path) as process:
        with connected(process) as connection:
            assert ask(connection, "PUT", "/v1/contexts/a")[0] == 201
        head = b" HTTP/1.1\r\nHost: localhost\r\n"
        body = b'{"message":{"role":"user","parts":[]}}'
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        append = b"POST /v1/contexts/a/messages" + head + length + body
        with socket.create_connection(("127.0.0.1", process.port), 30) as client:
            client.sendall(append + b"GET /health/live" + head + b"\r\n")
            answers = b"".join(iter(lambda: client.recv(65536), b""))
        assert answers.count(b"HTTP/1.1 503 ") == 2
        assert b'"error":"outcome_unknown"' in answers
        assert b'"status":"degraded"' in answers
        assert process.wait() == 1
        assert "fsync failed" in process.errors
        assert "Traceback" not in process.errors


def test_store_that_hangs_is_left_behind(tmp_path: Path) -> None:
    """
    Whatever hangs at the end, the process does not: it says so and ends with an error.
    """
    with running(module("tests.server.fatal", "hang"), tmp_path) as process:
        assert process.stop() == 1
        assert "the shutdown is stuck" in process.errors


def test_help_is_there_without_a_server(tmp_path: Path) -> None:
    """
    `--help` lists the flags and starts nothing.
    """
    command = [sys.executable, "-m", "fastpaca", "serve", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "--data-dir" in done.stdout
    assert not list(tmp_path.iterdir())


# --- settings that a process shows ------------------------------------------------------------


def test_idle_connections_are_closed_when_they_are_told_to(tmp_path: Path) -> None:
    """
    FASTPACA_KEEPALIVE_SECONDS says for how long a connection may ask for nothing.
    """
    with started(tmp_path, FASTPACA_KEEPALIVE_SECONDS="1") as process, connected(process) as client:
        assert ask(client, "GET", "/health/ready")[0] == 200
        assert client.sock is not None
        assert client.sock.recv(1) == b""


def test_secrets_stand_in_files(tmp_path: Path) -> None:
    """
    A key and a store that stand in files are used, and neither the banner nor the log shows them.
    """
    (tmp_path / "key").write_text("correct-horse\n")
    (tmp_path / "store").write_text("memory\n")
    files = {"FASTPACA_API_KEY_FILE": "key", "FASTPACA_STORE_FILE": "store"}
    with started(tmp_path, **files) as process, connected(process) as client:
        assert "everything is lost when the node stops" in process.banner
        assert ask(client, "GET", "/v1/contexts")[0] == 401
        key = {"Authorization": "Bearer correct-horse"}
        assert ask(client, "GET", "/v1/contexts", **key)[0] == 200
        assert process.stop() == 0
        assert "horse" not in process.banner + process.errors


def test_metrics_tell_of_process_build_and_database(tmp_path: Path) -> None:
    """
    They are the figures of the process that answers and of the files in its data directory.
    """
    with started(tmp_path) as process, connected(process) as client:
        ask(client, "PUT", "/v1/contexts/c")
        client.request("GET", "/metrics")
        shown = client.getresponse().read().decode()
        found = dict(re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", shown, re.MULTILINE))
        release = f'python="{platform.python_version()}",version="{fastpaca.__version__}"'
        assert found[f"fastpaca_build_info{{{release}}}"] == "1.0"
        database = tmp_path / "data" / "fastpaca.db"
        wal = tmp_path / "data" / "fastpaca.db-wal"
        assert float(found["fastpaca_store_database_bytes"]) == database.stat().st_size > 0
        assert float(found["fastpaca_store_wal_bytes"]) == wal.stat().st_size > 0
        if sys.platform == "linux":
            assert float(found["process_resident_memory_bytes"]) > 10 * 1024**2
            assert float(found["process_open_fds"]) > 3


def test_metrics_of_a_store_without_files_have_no_sizes(tmp_path: Path) -> None:
    """
    Memory has no database, and nothing is shown of one.
    """
    with started(tmp_path, "--store", "memory") as process, connected(process) as client:
        client.request("GET", "/metrics")
        assert b"fastpaca_store_" not in client.getresponse().read()
