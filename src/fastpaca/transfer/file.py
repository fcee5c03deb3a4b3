"""The file of an export: read line by line, and written under another name until it is complete."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from fastpaca.files import special_kind, sync_directory
from fastpaca.transfer.exporter import CannotTruncate
from fastpaca.transfer.format import (
    LINE_BYTES_MAX,
    BadLine,
    ContextEndLine,
    HeaderLine,
    Line,
    decode,
)
from fastpaca.transfer.reader import ExportReader

BUFFER_BYTES: Final = 1024 * 1024


class BadFile(Exception):
    """The file is not a complete export. The message is a sentence for the operator."""


class UnusableFile(Exception):
    """The file can't be written here. The message is a sentence for the operator."""


class PlacedLine(NamedTuple):
    """A line of a file, from offset *begin* up to *end*, exclusive."""

    line: Line
    begin: int
    end: int


class ExportFile:
    """
    An export to read, at *path*.

    Raises:
        BadFile: It can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def lines(self) -> Iterator[PlacedLine]:
        """
        Read all lines, and check that each is in its place.

        Raises:
            BadFile: A line is in the wrong place, or the end is missing.
        """
        reader = ExportReader()
        number = 0
        try:
            for number, (text, begin) in enumerate(_texts(self._file, 0), 1):  # noqa: B007  # for errors
                yield PlacedLine(reader.read(text), begin, begin + len(text))
        except BadLine as error:
            raise BadFile(f"{self.path}, line {number}: it {error}.") from None
        except OSError as error:
            raise BadFile(f"{self.path} cannot be read: {error.strerror}.") from None
        if not reader.is_complete:
            raise BadFile(
                f"{self.path} ends with line {number}, which is not the end of an export: it was"
                " cut off, or never finished."
            )

    def read_again(self, begin: int, end: int) -> Iterator[Line]:
        """Read the lines between two offsets again, without checking them a second time."""
        with _opened(self.path) as file:
            for text, offset in _texts(file, begin):
                if offset >= end:
                    return
                yield decode(text)


def _opened(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode  # before opening it: a FIFO without a writer would block
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise BadFile(f"{path} cannot be read twice, as an import must; name a file.")
        return path.open("rb", buffering=BUFFER_BYTES)
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from None


def _texts(file: BinaryIO, begin: int) -> Iterator[tuple[bytes, int]]:
    """Iterate over the lines from *begin* on, each with its offset."""
    file.seek(begin)
    while text := file.readline(LINE_BYTES_MAX):
        yield text, begin
        begin += len(text)


class StreamSink:
    """Writes lines to a stream, whose reader gets them at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written_bytes = 0

    def write(self, text: bytes) -> None:
        """Write lines."""
        self._stream.write(text)
        self._stream.flush()
        self._written_bytes += len(text)

    def offset(self) -> int:
        """Return how many bytes were written."""
        return self._written_bytes

    def truncate(self, offset: int) -> None:
        """
        Do nothing if *offset* is the current one.

        Raises:
            CannotTruncate: It isn't: bytes after it have been written.
        """
        if offset != self._written_bytes:
            raise CannotTruncate


class PartialFile:
    """
    An export that is being written to *target*; until it is complete, it is `target.part`.

    Raises:
        UnusableFile: There is a partial export and *resume* is false, or the file can't be written.
    """

    def __init__(self, target: Path, *, resume: bool) -> None:
        self._target = target
        self._check_target()
        self.path = target.with_name(target.name + ".part")
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if resume else os.O_CREAT | os.O_EXCL)
        try:
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "r+b")
        except FileNotFoundError:
            raise UnusableFile(
                f"{self.path} does not exist: there is nothing to resume."
                if resume
                else f"the directory {target.parent} does not exist."
            ) from None
        except FileExistsError:
            raise UnusableFile(
                f"{self.path} exists: an export is running, or was interrupted. Continue it with"
                " --resume, or remove the file."
            ) from None
        except OSError as error:
            raise UnusableFile(f"{self.path} cannot be written: {error.strerror}.") from None
        self._lock()

    def _check_target(self) -> None:
        if self._target.is_dir():
            raise UnusableFile(f"{self._target} is a directory; name a file in it.")
        if (kind := special_kind(self._target)) is not None:
            raise UnusableFile(f"{self._target} is {kind}; name a file, or - for standard output.")
        if os.path.lexists(self._target):
            raise UnusableFile(f"{self._target} exists; name another file, or remove it.")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UnusableFile(f"{self.path} is being written by another process.") from None

    def resumed(self, header: HeaderLine) -> ExportReader:
        """
        Read the file, remove everything after the last whole context, and continue from there.

        Raises:
            UnusableFile: Its header has another source or prefix than *header*.
        """
        reader, end = _read_whole_contexts(self._file)
        begun = reader.header
        if begun is not None and (begun.source, begun.prefix) != (header.source, header.prefix):
            raise UnusableFile(
                f"{self.path} was started from {begun.source} with the prefix {begun.prefix!r},"
                f" and cannot continue from {header.source} with the prefix {header.prefix!r}."
            )
        self.truncate(end)
        return reader

    def write(self, text: bytes) -> None:
        """Write lines."""
        self._file.write(text)

    def offset(self) -> int:
        """Return the offset of the next line."""
        return self._file.tell()

    def truncate(self, offset: int) -> None:
        """Remove everything after *offset*."""
        self._file.seek(offset)
        self._file.truncate()

    def complete(self) -> None:
        """
        Sync the file to disk, and rename it to its target.

        Raises:
            UnusableFile: Another file has the name by now.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self._check_target()
        self.path.replace(self._target)
        sync_directory(self._target.parent)

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._file.close()


def _read_whole_contexts(file: BinaryIO) -> tuple[ExportReader, int]:
    """Read up to the end of the last whole context, and return the offset of that end."""
    reader = ExportReader()
    end = 0
    try:
        for text, begin in _texts(file, 0):
            line = reader.read(text)
            if isinstance(line, HeaderLine | ContextEndLine):
                end = begin + len(text)
    except BadLine:
        pass  # an interruption or a power failure has left half a line
    reader.drop_open_context()
    reader.is_complete = False  # if only the rename was missing, the end is written again
    return reader, end
