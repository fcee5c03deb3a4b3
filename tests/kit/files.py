"""Looking into the files of a store, as somebody would who has the disk."""

from __future__ import annotations

from pathlib import Path


def files_with(directory: Path, text: bytes) -> list[str]:
    """Name the files of a directory that hold *text* anywhere in their bytes."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path.name for path in files if text in path.read_bytes()]


def copy_as_after_kill(directory: Path, target: Path) -> None:
    """Copy the files of a store that is open, as the next process finds them after a kill."""
    target.mkdir()
    for name in ("fastpaca.db", "fastpaca.db-wal"):
        (target / name).write_bytes((directory / name).read_bytes())
