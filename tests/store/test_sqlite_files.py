"""The data directory: who may use it, and what is refused with a sentence."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from fastpaca.store.base import StoreRefused
from fastpaca.store.sqlite.files import DataDirectory
from fastpaca.store.sqlite.store import SqliteStore
from tests.kit.author import create

OPEN_IN_ANOTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from fastpaca.store.base import StoreRefused
from fastpaca.store.sqlite.store import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    try:
        await store.open()
    except StoreRefused as error:
        print("refused:", error)
    else:
        print("open")
        await store.close()

asyncio.run(main())
"""


def open_and_close(directory: Path) -> None:
    """Open a store, write something, and close it."""

    async def main() -> None:
        store = SqliteStore(directory)
        await store.open()
        await create(store, f"c{os.urandom(4).hex()}")
        await store.close()

    asyncio.run(main())


def refusal(directory: Path) -> str:
    """Open a store that must be refused, and give the sentence."""
    with pytest.raises(StoreRefused) as caught:
        open_and_close(directory)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert str(directory) in sentence
    return sentence


def in_another_process(directory: Path) -> str:
    """Open the store in another process, and give what that says."""
    command = [sys.executable, "-c", OPEN_IN_ANOTHER_PROCESS, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def mode(path: Path) -> int:
    """Give the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_the_data(tmp_path: Path) -> None:
    """Directory and files are made for nobody else, whatever the umask, while open and after."""
    directory = tmp_path / "a" / "data"

    async def main() -> dict[str, int]:
        store = SqliteStore(directory)
        await store.open()
        await create(store, "c")
        modes = {path.name: mode(path) for path in directory.iterdir()}
        await store.close()
        return modes

    before = os.umask(0)
    try:
        modes = asyncio.run(main())
    finally:
        os.umask(before)
    assert mode(directory) == 0o700
    assert modes == dict.fromkeys(
        ("fastpaca.db", "fastpaca.db-shm", "fastpaca.db-wal", "fastpaca.lock"), 0o600
    )


def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    """After a clean end nothing is left in the log, so that one file can be copied."""
    open_and_close(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"fastpaca.db", "fastpaca.lock"}


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """The directory belongs to one process at a time, and the other one learns to which."""

    async def main() -> None:
        store = SqliteStore(tmp_path)
        await store.open()
        said = await asyncio.to_thread(in_another_process, tmp_path)
        assert said == (
            f"refused: The data directory {tmp_path} is in use by another fastpaca process"
            f" (pid {os.getpid()}); stop it, or use another directory."
        )
        with pytest.raises(StoreRefused, match="in use by this process already"):
            await SqliteStore(tmp_path).open()
        await store.close()
        assert await asyncio.to_thread(in_another_process, tmp_path) == "open"

    asyncio.run(main())


def test_a_refused_open_lets_go(tmp_path: Path) -> None:
    """A store that could not be opened does not keep the directory from the next one."""
    (tmp_path / "fastpaca.db").write_bytes(b"this is no database" * 100)
    refusal(tmp_path)
    (tmp_path / "fastpaca.db").unlink()
    open_and_close(tmp_path)


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """Data of a newer release is not touched."""
    open_and_close(tmp_path)
    with closing(sqlite3.connect(tmp_path / "fastpaca.db")) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = (tmp_path / "fastpaca.db").read_bytes()
    with pytest.raises(StoreRefused, match=r"newer release .* version 999.*\.$"):
        open_and_close(tmp_path)
    assert (tmp_path / "fastpaca.db").read_bytes() == before


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A database that happens to have our name is not ours."""
    with closing(sqlite3.connect(tmp_path / "fastpaca.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert "another program. Use another directory." in refusal(tmp_path)


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """What is not a database is left alone."""
    (tmp_path / "fastpaca.db").write_bytes(b"Dear diary, " * 1000)
    said = refusal(tmp_path)
    assert "is not a database" in said
    assert "Restore a backup." in said
    assert (tmp_path / "fastpaca.db").read_bytes().startswith(b"Dear diary")


def test_damaged_database_is_refused(tmp_path: Path) -> None:
    """A file whose schema cannot be read is not served from."""
    open_and_close(tmp_path)
    path = tmp_path / "fastpaca.db"
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)
    path.write_bytes(content)
    assert "damaged" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (apsw.FullError("full"), "Free space on its disk."),
        (apsw.IOError("disk I/O error"), "Check its disk."),
        (apsw.CantOpenError("unable to open"), "write to the directory and its files."),
        (apsw.SchemaChangeError("schema"), ")."),
    ],
)
def test_refusal_says_what_to_do(error: apsw.Error, said: str, tmp_path: Path) -> None:
    """An operator reads what SQLite says, and what to do if that follows from it."""
    assert DataDirectory(tmp_path, None, "FULL").refusal(error).endswith(said)


def test_empty_file_is_a_new_database(tmp_path: Path) -> None:
    """A start that was killed right at its beginning does not stand in the way."""
    (tmp_path / "fastpaca.db").touch()
    open_and_close(tmp_path)
    open_and_close(tmp_path)


def test_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The sentence names the path, whatever is in its way."""
    (tmp_path / "data").touch()
    refusal(tmp_path / "data")
    refusal(tmp_path / "data" / "below")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Run as somebody whom permissions apply to."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Missing permissions are told, not stumbled over."""
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(0o500)
    with without_privileges():
        assert "Permission denied" in refusal(directory)


def test_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A database that can only be read is refused before anything is served."""
    open_and_close(tmp_path)
    (tmp_path / "fastpaca.db").chmod(0o400)
    with without_privileges():
        refusal(tmp_path)


def test_connections_are_set_up_for_durability_and_erasure(tmp_path: Path) -> None:
    """What durability and purge rest on is set on every connection."""
    directory = DataDirectory(tmp_path, None, "FULL")
    directory.take()
    writer = directory.prepare(1024 * 1024)
    connections = [writer, directory.connect()]
    try:
        for connection in connections:
            found = {name: connection.pragma(name) for name in SETTINGS}
            assert found == SETTINGS
        assert writer.pragma("integrity_check") == "ok"
    finally:
        for connection in connections:
            connection.close()
        directory.release()


SETTINGS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "fullfsync": 1,
    "checkpoint_fullfsync": 1,
    "wal_autocheckpoint": 0,
    "secure_delete": 1,
    "temp_store": 2,
    "foreign_keys": 0,
    "trusted_schema": 0,
    "page_size": 4096,
    "busy_timeout": 10_000,
}


def test_sqlite_is_new_enough_for_a_second_checkpointer() -> None:
    """Until 3.51.2 a checkpoint that races a writer could lose transactions."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    assert version >= (3, 51, 3)
    assert apsw.using_amalgamation
