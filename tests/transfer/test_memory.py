"""Contexts are moved in pages: their length takes no memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import Raw

from fastpaca.context.config import LastN, policy_text
from fastpaca.context.message import Counts, encode_counts
from fastpaca.context.persisted import Persisted, Run
from fastpaca.context.usage import UsageTotals
from fastpaca.store.base import CompactionRow, MessageRow
from fastpaca.store.sqlite.store import WRITER_CACHE_BYTES
from fastpaca.transfer.format import FORMAT, ContextLine, HeaderLine, HistoryLine, encode
from fastpaca.transfer.history import HistoryPage, lines
from fastpaca.transfer.reader import ExportReader

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024

MEASURED = """
import resource, sys
from fastpaca.cli.main import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def write_long(path: Path, messages: int) -> None:
    """Write an export of one context with so many messages of 1 kB, of which 50 are its window."""
    counts = encode_counts(Counts(260, 4, (), (256,)))
    body = b'{"role":"user","parts":[{"type":"text","text":"%s"}],"metadata":{}}' % (b"m" * 1000)
    reading = ExportReader()
    with path.open("wb") as file:

        def put(text: bytes) -> None:
            reading.read(text)
            file.write(text)

        put(encode(HeaderLine(FORMAT, "0.0.0", "nowhere", "")))
        put(encode(_state(messages)))
        for seq in range(1, messages + 1):
            for line in _lines(seq, body, counts):
                put(encode(line))
        put(reading.context_end())
        put(reading.file_end())


def _state(messages: int) -> ContextLine:
    return ContextLine(
        id="long",
        status="active",
        token_budget=1_000_000,
        trigger_ratio=0.7,
        token_factor=1.0,
        policy=Raw(policy_text(LastN())),
        metadata=Raw(b"{}"),
        version=messages,
        last_seq=messages,
        created_at_us=1,
        updated_at_us=messages,
        spoken_at_us=messages,
        usage=UsageTotals(),
    )


def _lines(seq: int, body: bytes, counts: bytes) -> list[HistoryLine]:
    page = HistoryPage(seq - 1, seq, [MessageRow(seq, seq, body, counts, seq)], [], [])
    if seq % 1000 == 0:
        window = Persisted(seq, (Run(seq - 49, seq),)).encode()
        page.compactions.append(
            CompactionRow(seq, "last_n", seq - 999, seq - 50, 9, 8, window, seq)
        )
    return list(lines(page))


def peak_bytes(*argv: str, cwd: Path) -> int:
    """Run a command, and give the most memory that it had."""
    command = [sys.executable, "-c", MEASURED, *argv]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stderr.splitlines()[-1]) * unit


@pytest.mark.slow
def test_a_long_log_takes_no_more_memory(tmp_path: Path) -> None:
    """
    A log of 40 MB is imported, compared and exported in the memory of a short one, but for what
    the store keeps of its own file.
    """
    peaks = {}
    for messages in (1_000, 40_000):
        write_long(tmp_path / f"{messages}", messages)
        data = ("--data-dir", f"{messages}-data")
        peaks[messages] = [
            peak_bytes("import", f"{messages}", "--verify", *data, cwd=tmp_path),
            peak_bytes("export", "--output", f"{messages}-again", *data, cwd=tmp_path),
        ]
    for short, long in zip(*peaks.values(), strict=True):
        assert long - short < WRITER_CACHE_BYTES + 8 * MIB, peaks
