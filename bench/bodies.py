"""
What large bodies leave in memory: resident bytes of a node after 36 of 15 MiB, beside hot bytes.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from bench.measure import Bench, Result
from bench.memory import resident_bytes
from bench.processes import node_process

MIB: Final = 1024 * 1024
BODIES: Final = 36
AT_ONCE: Final = 6
BODY_BYTES: Final = 15 * MIB
HOT_BYTES: Final = 64 * MIB
SETTLE_SECONDS: Final = 3.0
"""A node returns memory a second after large bodies."""


def shapes() -> dict[str, list[dict[str, Any]]]:
    """Parts of messages of 15 MiB: what takes most memory in one way or another."""
    records = [{"id": number, "ok": True} for number in range(BODY_BYTES // 26)]
    return {
        "one text": [{"type": "text", "text": "some words " * (BODY_BYTES // 11 - 100)}],
        "texts with an emoji": [{"type": "text", "text": "words " * 250 + "\N{LLAMA}"}] * 9000,
        "records": [{"type": "tool_result", "tool_call_id": "c", "content": records}],
    }


def memory_after_large_bodies(bench: Bench) -> Iterator[Result]:
    """Resident memory after the bodies, and its peak, beside the hot bytes of the node."""
    del bench
    for what, parts in shapes().items():
        message = {"role": "user", "parts": parts}
        body = json.dumps({"message": message}, ensure_ascii=False, separators=(",", ":")).encode()
        with (
            tempfile.TemporaryDirectory(prefix="fastpaca-bench-") as name,
            node_process(Path(name), "--hot-bytes", str(HOT_BYTES)) as (port, process),
        ):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                tries = sum(pool.map(partial(append, port, body), range(BODIES)))
            time.sleep(SETTLE_SECONDS)
            left = resident_bytes(process)
            peak = peak_bytes(process.pid)
        yield Result(
            f"MiB beside hot bytes after 36 bodies of 15 MiB: {what}",
            "<= 200",
            [(left - HOT_BYTES) / MIB],
            f"{left / MIB:.0f} MiB resident, {peak / MIB:.0f} at its peak; {tries} tries",
        )


def append(port: int, body: bytes, number: int) -> int:
    """Create a context and append to it, as often as it takes; returns how often that was."""
    name = f"c{number}"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1/contexts", timeout=300) as client:
        client.put(f"/{name}", json={"token_budget": 10**9}).raise_for_status()
        tries = 1
        while not sent(client, name, body):
            time.sleep(1)
            tries += 1
    return tries


def sent(client: httpx.Client, name: str, body: bytes) -> bool:
    """Append; returns False if there was no room."""
    headers = {"content-type": "application/json"}
    try:
        reply = client.post(f"/{name}/messages", content=body, headers=headers)
    except httpx.WriteError:  # refused while it was sent
        return False
    if reply.status_code != 429:
        reply.raise_for_status()
    return reply.status_code == 201


def peak_bytes(pid: int) -> int:
    """Return the most that a process has taken of the machine's memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
