"""Files: sync a directory, and recognise paths that are not regular files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def special_kind(path: Path) -> str | None:
    """
    Return what *path* is if it exists and is not a regular file; None otherwise.

    Renaming a file to *path* would replace the device, link or socket that is there. Links are not
    followed: a rename replaces the link itself, and it may lead to a device, as /dev/stdout does.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)


def sync_directory(directory: Path) -> None:
    """Sync *directory*, so that a new or renamed file in it survives a power failure."""
    if os.name == "nt":  # which keeps names without it, and can't open directories
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
