"""Looking into the files of a store, as somebody would who has the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from fastpaca.store.sqlite.files import DATABASE_NAME


def files_with(directory: Path, text: bytes) -> list[str]:
    """Name the files of a directory that hold *text* anywhere in their bytes."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path.name for path in files if text in path.read_bytes()]


def copy_as_after_kill(directory: Path, target: Path) -> None:
    """Copy the files of a store that is open, as the next process finds them after a kill."""
    target.mkdir()
    for name in ("fastpaca.db", "fastpaca.db-wal"):
        (target / name).write_bytes((directory / name).read_bytes())


def content_of(directory: Path) -> dict[str, list[tuple[Any, ...]]]:
    """
    Read all rows of a store that nobody has open, by table, but for numbers and places.

    Rows that were emptied in their place are not there, nor is what counts the commits.
    """
    connection = apsw.Connection(str(directory / DATABASE_NAME))
    try:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables: dict[str, list[tuple[Any, ...]]] = {}
        for name in [str(name) for (name,) in names]:
            rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            tables[name] = [row for row in rows if any(value is not None for value in row[1:])]
    finally:
        connection.close()
    return tables
