"""What a file may not be that a command is to write: anything that is there and is no file."""

from __future__ import annotations

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


def other_kind(path: Path) -> str | None:
    """
    Say what *path* is if it is there and is no regular file; None otherwise.

    A file that is renamed to *path* would take its place. A link is not followed: it may lead to a
    device, as /dev/stdout does, and would itself be what is replaced.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)
