"""A real nginx in front of a node, with the configuration that the documentation gives."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.programs import program

START_SECONDS_MAX = 30


@contextmanager
def running_nginx(config: str, node_port: int) -> Iterator[Path]:
    """
    Run nginx with *config*, what stands in its block `http`, and give the socket of its server.

    The config listens on port 80 and has the node at port 4000; both are put where they are.
    """
    assert "listen 80;" in config
    assert "127.0.0.1:4000;" in config
    command = program("nginx")
    directory = Path(tempfile.mkdtemp(prefix="fastpaca-nginx-", dir="/tmp"))
    listener = directory / "socket"
    placed = config.replace("listen 80;", f"listen unix:{listener};")
    placed = placed.replace("127.0.0.1:4000;", f"127.0.0.1:{node_port};")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    as_root = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"{as_root} daemon off; master_process off; pid {directory}/pid;"
        f" error_log {directory}/errors; events {{}}"
        f" http {{ access_log off; {temporary}\n{placed}\n}}"
    )
    # It ends with this block, or with this process if it is killed.
    script = '"$0" -e stderr -c "$1" >"$2" 2>&1 & read -r _; kill -KILL "$!"; wait; rm -rf "$3"'
    log = directory / "log"
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            script,
            command,
            str(directory / "nginx.conf"),
            str(log),
            str(directory),
        ],
        stdin=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )
    try:
        _wait_for(listener, log)
        yield listener
    finally:
        process.communicate()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(listener: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(listener))
            except OSError:
                said = log.read_text() if log.exists() else ""
                assert "emerg" not in said, said
                assert time.monotonic() < deadline, said
                time.sleep(0.01)
            else:
                return
