"""A disk for a database that can be full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.kit.postgres import Server, run_sql

TABLES: Final = ("contexts", "messages", "answers")

NAME: Final = "small_disk"

DISK_MB: Final = 4

FILL = """
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device'; END
$$
"""


class Disk(ABC):
    """Where the tables of fastpaca are in one database."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    @abstractmethod
    async def prepare(self) -> None:
        """Let the tables be there."""

    @abstractmethod
    async def fill(self) -> None:
        """Leave no room."""

    @abstractmethod
    async def clear(self) -> None:
        """Make room again."""


class MountedDisk(Disk):
    """A real disk, which is small."""

    def __init__(self, dsn: str, directory: Path) -> None:
        super().__init__(dsn)
        self._filling = directory / "filling"

    async def prepare(self) -> None:
        for table in TABLES:
            await run_sql(self._dsn, f"ALTER TABLE fastpaca.{table} SET TABLESPACE {NAME}")

    async def fill(self) -> None:
        with self._filling.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    async def clear(self) -> None:
        self._filling.unlink()


class RaisedError(Disk):
    """No disk, but the error of one."""

    async def prepare(self) -> None:
        await run_sql(self._dsn, FILL)

    async def fill(self) -> None:
        await run_sql(
            self._dsn,
            "CREATE TRIGGER full_disk BEFORE INSERT ON fastpaca.messages EXECUTE FUNCTION fill()",
        )

    async def clear(self) -> None:
        await run_sql(self._dsn, "DROP TRIGGER full_disk ON fastpaca.messages")


def can_mount() -> bool:
    """Tell whether this process may mount a disk."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return False
    directory = Path(tempfile.mkdtemp(prefix="fastpaca-disk-", dir="/tmp"))
    try:
        is_mounted = _mount(directory)
        if is_mounted:
            _unmount(directory)
    finally:
        directory.rmdir()
    return is_mounted


def _mount(directory: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "fastpaca", str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@asynccontextmanager
async def small_disk(server: Server, dsn: str, kind: str) -> AsyncIterator[Disk]:
    """Give a database a disk of a kind."""
    if kind == "raised":
        yield RaisedError(dsn)
        return
    directory = Path(tempfile.mkdtemp(prefix="fastpaca-disk-", dir="/tmp"))
    assert _mount(directory)
    try:
        server.own(directory)
        await run_sql(dsn, f"CREATE TABLESPACE {NAME} LOCATION '{directory}'")
        yield MountedDisk(dsn, directory)
        for table in TABLES:
            await run_sql(dsn, f"ALTER TABLE fastpaca.{table} SET TABLESPACE pg_default")
        await run_sql(dsn, f"DROP TABLESPACE {NAME}")
    finally:
        _unmount(directory)
        shutil.rmtree(directory)
