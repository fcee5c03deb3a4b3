"""A VFS whose files fail when a test says so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw

Fault = Callable[[str, str], None]
"""Called with what is done (`read`, `write`, `sync`, `truncate`) and the name of the file."""

_numbers = itertools.count(1)


class Faults:
    """
    The faults of one VFS.

    Attributes:
        name: What to open databases with.
        check: Raises the error that an operation fails with.
        sleeps: How often SQLite has wanted to sleep, until a lock is free; it was let go on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sleeps = 0
        self.check: Fault = lambda what, file: None

    def fail(self, what: str, file: str, error: BaseException, *, skip: int = 0) -> None:
        """Let every *what* on a file whose name ends with *file* fail, after *skip* that do not."""
        left = itertools.count(-skip)

        def check(done: str, name: str) -> None:
            if done == what and name.endswith(file) and next(left) >= 0:
                raise error

        self.check = check

    def stop(self) -> None:
        """Let nothing fail any more."""
        self.check = lambda what, file: None


@contextmanager
def faulty_vfs() -> Iterator[Faults]:
    """Register a VFS over the usual one; databases on it are closed before this ends."""
    faults = Faults(f"faulty-{next(_numbers)}")
    vfs = _Vfs(faults)
    try:
        yield faults
    finally:
        vfs.unregister()


def sqlite_error(kind: type[apsw.Error], code: int) -> apsw.Error:
    """Make an error that SQLite gets as *code*."""
    error = kind("as the test wants it")
    vars(error).update(result=code & 0xFF, extendedresult=code)
    return error


class _Vfs(apsw.VFS):
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        super().__init__(faults.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        return _File(self._faults, name, flags)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802  # SQLite's name
        self._faults.sleeps += 1
        return microseconds


class _File(apsw.VFSFile):
    def __init__(
        self, faults: Faults, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._faults = faults
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802  # SQLite's name
        self._faults.check("read", self._name)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        self._faults.check("write", self._name)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  # SQLite's name
        self._faults.check("truncate", self._name)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's name
        self._faults.check("sync", self._name)
        super().xSync(flags)
