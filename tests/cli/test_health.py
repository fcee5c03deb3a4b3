"""`fastpaca health`, and the HEALTHCHECK of the image, against real nodes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fastpaca.cli.main import main
from tests.kit.process import started

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


def healthcheck(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run what the image runs, in the environment of a container."""
    match = re.search(r"^HEALTHCHECK .*\\\n +CMD (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert match is not None
    program, *arguments = json.loads(match[1])
    assert program == "fastpaca"
    ours = {n: v for n, v in os.environ.items() if not n.startswith("FASTPACA_") and n != "PORT"}
    command = [sys.executable, "-m", "fastpaca", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env={**ours, **environment}
    )


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "::1", "::"])
def test_node_is_asked_where_it_listens(host: str, tmp_path: Path) -> None:
    """
    The port and the host are those of the node, whatever they are, and no key is needed.
    """
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with started(tmp_path, "--host", host, FASTPACA_API_KEY="key") as process:
        done = healthcheck(PORT=str(process.port), FASTPACA_HOST=host)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
        assert process.stop(signal.SIGTERM) == 0
        done = healthcheck(PORT=str(process.port), FASTPACA_HOST=host)
    assert done.returncode == 1
    assert done.stderr.startswith("fastpaca: the node at ")
    assert done.stderr.endswith(f" port {process.port} does not respond: Connection refused.\n")


def test_node_is_asked_at_its_socket() -> None:
    """
    A node that listens on a Unix socket is found there.
    """
    with TemporaryDirectory(dir="/tmp") as name:  # the path of a socket may not be long
        host = f"unix:{name}/socket"
        with started(Path(name), "--host", host):
            assert healthcheck(FASTPACA_HOST=host).returncode == 0
        assert healthcheck(FASTPACA_HOST=f"unix:{name}/other").returncode == 1


class Unready(BaseHTTPRequestHandler):
    """A node that is not ready."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b'{"status":"degraded"}')

    def log_request(self, *args: object) -> None:
        """Say nothing."""


def test_node_that_is_not_ready_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Any answer but 200 is not healthy, and is shown as it is.
    """
    with HTTPServer(("127.0.0.1", 0), Unready) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert main(["health", "--port", str(server.server_port)]) == 1
        thread.join()
    error = capsys.readouterr().err
    assert error.startswith("fastpaca: the node at 127.0.0.1 port ")
    assert error.endswith(' is not ready: 503 {"status":"degraded"}\n')


def test_port_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A node that takes any free port cannot be asked without naming it.
    """
    assert main(["health", "--port", "0"]) == 2
    assert "pass it with --port" in capsys.readouterr().err
