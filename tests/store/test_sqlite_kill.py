"""A process that is killed has lost nothing that it acknowledged, and left nothing half done."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from fastpaca.store.base import PageBounds, message_id_hash
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.author import ALL, body
from tests.store.committer import NAMES

ROOT = Path(__file__).parents[2]


def commit_until_killed(directory: Path, lines: int) -> int:
    """Let a process commit, kill it behind so many acknowledgements, and give the last one."""
    command = [sys.executable, "-m", "tests.store.committer", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        process.kill()
        rest = process.stdout.read().split("\n")
        whole = [line for line in rest[:-1] if line]
    return int(whole[-1]) if whole else 0


async def check(directory: Path, acknowledged: int) -> None:
    """Look at what the killed process has left."""
    store = SqliteStore(directory)
    await store.open()
    rows = await store.contexts("", "", 10)
    assert [row.id for row in rows] == list(NAMES)
    assert {row.last_seq for row in rows} == {rows[0].last_seq}
    assert rows[0].last_seq >= acknowledged
    for row in rows:
        log = await store.messages(row.id, 1, ALL, PageBounds(ALL, ALL))
        assert [message.seq for message in log] == list(range(1, row.last_seq + 1))
        assert [message.body for message in log] == [body(m.seq, 1500) for m in log]
        path = [(1, row.last_seq)]
        assert await store.path(row.id, path, 1, ALL, PageBounds(ALL, ALL)) == log[1::2]
        places = range(1, row.last_seq, 2)
        assert await store.revisions_of(row.id, path) == [(seq, seq + 1) for seq in places]
        for seq in places:
            hashed = message_id_hash(str(seq))
            assert await store.places_of_id(row.id, hashed, path, 2) == [seq]
    await store.close()


def test_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed again and again at random moments, the data goes on from the last acknowledgement."""
    rng = random.Random(7)
    acknowledged = 0
    for _ in range(4):
        acknowledged = max(acknowledged, commit_until_killed(tmp_path, rng.randint(1, 150)))
        asyncio.run(check(tmp_path, acknowledged))
