"""
A node that kills itself while it makes a fork: `python -m tests.server.mortal WHEN NUMBER serve …`.

WHEN is `before` or `after` the commit of that NUMBER, of those that write a context which is
forming or becomes active.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from fastpaca.store.base import Change
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.store.sqlite.store import SqliteStore

_when, _number = sys.argv[1], int(sys.argv[2])
_numbers = itertools.count(1)


def _mortal(kind: type[Any]) -> None:
    commit = kind.commit

    async def commit_and_die(self: object, changes: Sequence[Change]) -> None:
        is_fork = any(one.row.status == "forming" or one.activates for one in changes)
        is_last = is_fork and next(_numbers) == _number
        if is_last and _when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await commit(self, changes)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)

    kind.commit = commit_and_die


if __name__ == "__main__":
    from fastpaca.cli.main import main

    _mortal(SqliteStore)
    _mortal(PostgresStore)
    sys.exit(main(sys.argv[3:]))
