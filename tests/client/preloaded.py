"""
An application for `gunicorn --preload`: its client is made and used before the workers are forked,
and the master goes on with it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastpaca import Fastpaca
from tests.client import work

CONNECTIONS = 8

client = Fastpaca(os.environ["NODE_ADDRESS"])


def use(worker: str, rounds: int) -> None:
    work.report(Path(os.environ["REPORTS"]), worker, work.work(client, worker, rounds))


def meet(processes: int) -> None:
    """Wait until so many workers have something to do."""
    while len(list(Path(os.environ["REPORTS"]).glob("*.seen"))) < processes:
        time.sleep(0.01)


def go_on() -> None:
    """Use the client in the master, whose connections were idle when the workers were forked."""
    meet(1)
    use("parent-1", int(os.environ["ROUNDS"]))


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Do the work of the worker whose name is the path; what it was told, and by which process."""
    worker, rounds = environ["PATH_INFO"].removeprefix("/"), int(os.environ["ROUNDS"])
    (Path(os.environ["REPORTS"]) / f"{os.getpid()}.seen").touch()
    meet(2)
    try:
        done = {"pid": os.getpid(), "seqs": work.work(client, worker, rounds)}
    except AssertionError as error:
        start_response("500 Internal Server Error", [])
        return [str(error).encode()]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(done).encode()]


use("parent-0", 1)
with ThreadPoolExecutor(CONNECTIONS) as _pool:  # connections that are idle at the fork
    deque(_pool.map(lambda _: client.context(work.LOG).info(), range(10 * CONNECTIONS)), maxlen=0)
threading.Thread(target=go_on, daemon=True).start()
