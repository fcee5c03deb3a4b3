"""
A disk that loses power: an apsw VFS that keeps what was not synced apart.

Files are real files in a folder, so that SQLite's shared memory works as ever; beside each of them
the disk remembers what a platter would hold: the bytes as of the last sync, and the writes since.
At the moment chosen beforehand (the n-th write or sync of the run) it takes a picture of the
platter: of the writes that no sync had confirmed some are there, some are not, and one may be there
in half, in any order. The run goes on, unaware. `restore` lays the picture out as the files that
the machine would find when it starts again.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import apsw

SECTOR = 512
"""Bytes that a disk writes as one; a torn write ends at a multiple of it."""


class Write(NamedTuple):
    """Bytes written at an offset, or (data None) a file cut to a length."""

    offset: int
    data: bytes | None


class Platter:
    """What is known of one file: its bytes as of the last sync, and what came after."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.pending: list[Write] = []
        self.exists = False  # a new file is found again only after its first sync

    def sync(self) -> None:
        for write in self.pending:
            apply(self.synced, write)
        self.pending.clear()
        self.exists = True

    def after_power_loss(self, rng: random.Random) -> bytes | None:
        """Give what is found of the file, or None if it is not there."""
        if not self.exists and (not self.pending or rng.random() < 0.5):
            return None
        found = bytearray(self.synced)
        survivors = _survivors(self.pending, rng)
        for write in survivors:
            apply(found, write)
        return bytes(found)


def _survivors(pending: list[Write], rng: random.Random) -> list[Write]:
    """Choose which unconfirmed writes reached the platter: a prefix, or any of them, one torn."""
    if not pending:
        return []
    fate: Literal["none", "all", "prefix", "any"] = rng.choice(["none", "all", "prefix", "any"])
    if fate == "none":
        return []
    if fate == "all":
        return pending
    if fate == "prefix":
        kept = pending[: rng.randrange(len(pending) + 1)]
    else:
        kept = [write for write in pending if rng.random() < 0.5]
        rng.shuffle(kept)
    if kept and rng.random() < 0.5:
        kept[-1] = _torn(kept[-1], rng)
    return kept


def _torn(write: Write, rng: random.Random) -> Write:
    if write.data is None or len(write.data) <= SECTOR:
        return write
    sectors = rng.randrange(1, (len(write.data) + SECTOR - 1) // SECTOR)
    if rng.random() < 0.5:
        return Write(write.offset, write.data[: sectors * SECTOR])
    return Write(write.offset + sectors * SECTOR, write.data[sectors * SECTOR :])


def apply(content: bytearray, write: Write) -> None:
    """Do *write* to *content*."""
    if write.data is None:
        del content[write.offset :]
        return
    if len(content) < write.offset:
        content.extend(bytes(write.offset - len(content)))
    content[write.offset : write.offset + len(write.data)] = write.data


class Disk:
    """
    A VFS under a name of its own, which loses power at operation number *loses_power_at*.

    Attributes:
        name: What to open databases with.
        operations: How many writes and syncs there have been.
        fault: Asked before every operation with what it is ("write", "sync", "read",
            "truncate") and the name of the file; an exception it raises is what SQLite gets.
        at_power_loss: Called at the moment of power loss, from the thread that wrote.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        loses_power_at: int | None = None,
        at_power_loss: Callable[[], None] | None = None,
    ) -> None:
        self.name = f"disk-{uuid.UUID(int=rng.getrandbits(128)).hex}"
        self.operations = 0
        self.fault: Callable[[str, str], None] | None = None
        self.at_power_loss = at_power_loss
        self._rng = rng
        self._loses_power_at = loses_power_at
        self._lock = threading.RLock()
        self._platters: dict[str, Platter] = {}
        self._picture: dict[str, bytes] | None = None
        self._vfs = _DiskVfs(self)

    def lose_power(self) -> None:
        """Take the picture of the platter now, if it was not taken before."""
        with self._lock:
            if self._picture is None:
                if self.at_power_loss is not None:
                    self.at_power_loss()
                found = {
                    name: platter.after_power_loss(self._rng)
                    for name, platter in sorted(self._platters.items())
                }
                self._picture = {name: data for name, data in found.items() if data is not None}

    def restore(self, folder: Path) -> None:
        """Lay out in the empty *folder* the files that are found after the power loss."""
        self.lose_power()
        assert self._picture is not None
        for name, data in self._picture.items():
            (folder / name).write_bytes(data)

    def eject(self) -> None:
        """Let the VFS go; no connection may be open on it."""
        self._vfs.unregister()

    # --- what files report --------------------------------------------------------------------

    def open(self, path: str) -> str:
        """Note that a file was opened; gives the name that it goes by."""
        name = Path(path).name
        with self._lock:
            if name not in self._platters:
                platter = self._platters[name] = Platter()
                found = Path(path)
                if found.exists() and found.stat().st_size:
                    platter.synced = bytearray(found.read_bytes())
                    platter.exists = True
        return name

    def check(self, what: str, name: str) -> None:
        """Fail an operation if that was asked for."""
        if self.fault is not None:
            self.fault(what, name)

    def wrote(self, name: str, write: Write) -> None:
        """Note a write that nothing has confirmed yet."""
        with self._lock:
            self._platters[name].pending.append(write)
            self._count()

    def synced(self, name: str) -> None:
        """Note that all writes to a file are confirmed; the moment before is one to lose power."""
        with self._lock:
            self._count()
            self._platters[name].sync()

    def deleted(self, path: str) -> None:
        """Note that a file is gone."""
        with self._lock:
            self._platters.pop(Path(path).name, None)

    def _count(self) -> None:
        self.operations += 1
        if self.operations == self._loses_power_at:
            self.lose_power()


class _DiskVfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "unix")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        kept = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
        if name is None or not flags[0] & kept:
            return apsw.VFSFile("unix", name, flags)
        return _DiskFile(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._disk.deleted(filename)


class _DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename, flags: list[int]) -> None:
        path = name if isinstance(name, str) else name.filename()
        self._disk = disk
        self._name = disk.open(path)
        super().__init__("unix", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.check("read", self._name)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.check("write", self._name)
        super().xWrite(data, offset)
        self._disk.wrote(self._name, Write(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.check("truncate", self._name)
        super().xTruncate(newsize)
        self._disk.wrote(self._name, Write(newsize, None))

    def xSync(self, flags: int) -> None:
        self._disk.check("sync", self._name)
        self._disk.synced(self._name)
