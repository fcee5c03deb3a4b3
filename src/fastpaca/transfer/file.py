"""The file of an export: read line by line, written under another name until it is complete."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from fastpaca.transfer.format import LINE_BYTES_MAX, BadLine, Header, Line, Whole, decode
from fastpaca.transfer.outgoing import CannotTakeBack
from fastpaca.transfer.reading import Reading
from fastpaca.transfer.target import other_kind

BUFFER_BYTES: Final = 1024 * 1024


class BadFile(Exception):
    """The file is no export, or not a whole one. The message is a sentence for the operator."""


class UnusableFile(Exception):
    """The file cannot be written here. The message is a sentence for the operator."""


class Told(NamedTuple):
    """A line of a file: what it says, where it begins, and where the next one does."""

    line: Line
    begin: int
    end: int


class ExportFile:
    """
    The export at *path*, to be read.

    Raises:
        BadFile: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        self.size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Let go."""
        self._file.close()

    def lines(self) -> Iterator[Told]:
        """
        Read all lines, and hold each to its place.

        Raises:
            BadFile: One does not belong where it stands, or the end is missing.
        """
        reading = Reading()
        number = 0
        try:
            for number, (text, begin) in enumerate(_texts(self._file, 0), 1):  # noqa: B007  # told below
                yield Told(reading.take(text), begin, begin + len(text))
        except BadLine as error:
            raise BadFile(f"{self.path}, line {number}: it {error}.") from None
        except OSError as error:
            raise BadFile(f"{self.path} cannot be read: {error.strerror}.") from None
        if not reading.is_complete:
            raise BadFile(
                f"{self.path} ends with line {number}, and that is not the end of an export: it was"
                " cut off, or never finished."
            )

    def again(self, begin: int, end: int) -> Iterator[Line]:
        """Read the lines between two places again; they have been held to their places before."""
        with _opened(self.path) as file:
            for text, place in _texts(file, begin):
                if place >= end:
                    return
                yield decode(text)


def _opened(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode  # before it is opened: a FIFO that nobody writes to would wait
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise BadFile(f"{path} cannot be read twice, which an import has to do; name a file.")
        return path.open("rb", buffering=BUFFER_BYTES)
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}.") from None


def _texts(file: BinaryIO, begin: int) -> Iterator[tuple[bytes, int]]:
    """Give lines with the places where they begin."""
    file.seek(begin)
    while text := file.readline(LINE_BYTES_MAX):
        yield text, begin
        begin += len(text)


class StreamSink:
    """Passes lines on to a stream that may be read at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written = 0

    def write(self, text: bytes) -> None:
        """Write lines."""
        self._stream.write(text)
        self._stream.flush()
        self._written += len(text)

    def mark(self) -> int:
        """Tell how much was written."""
        return self._written

    def take_back(self, mark: int) -> None:
        """
        Do nothing if nothing was written since *mark*.

        Raises:
            CannotTakeBack: Something was.
        """
        if mark != self._written:
            raise CannotTakeBack


class PartialFile:
    """
    An export that is being written to *target*; until it is complete it is `target.part`.

    Raises:
        UnusableFile: There is one already that is not to be resumed, or it cannot be written.
    """

    def __init__(self, target: Path, *, resume: bool) -> None:
        self._target = target
        self._check_target()
        self.path = target.with_name(target.name + ".part")
        how = os.O_RDWR | os.O_CLOEXEC | (0 if resume else os.O_CREAT | os.O_EXCL)
        try:
            self._file = os.fdopen(os.open(self.path, how, 0o600), "r+b")
        except FileNotFoundError:
            raise UnusableFile(
                f"{self.path} does not exist: there is nothing to resume."
                if resume
                else f"the directory {target.parent} does not exist."
            ) from None
        except FileExistsError:
            raise UnusableFile(
                f"{self.path} exists: an export is under way, or was interrupted. Go on with"
                " --resume, or remove it."
            ) from None
        except OSError as error:
            raise UnusableFile(f"{self.path} cannot be written: {error.strerror}.") from None
        self._lock()

    def _check_target(self) -> None:
        if self._target.is_dir():
            raise UnusableFile(f"{self._target} is a directory; name a file in it.")
        if (kind := other_kind(self._target)) is not None:
            raise UnusableFile(f"{self._target} is {kind}; name a file, or - for standard output.")
        if os.path.lexists(self._target):
            raise UnusableFile(f"{self._target} exists; name another file, or remove it.")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UnusableFile(f"{self.path} is being written by another process.") from None

    def resumed(self, header: Header) -> Reading:
        """
        Read what is there, cut off what is behind the last whole context, and go on from there.

        Raises:
            UnusableFile: It is an export of something else than *header* says.
        """
        reading, end = _read_as_far_as_whole(self._file)
        found = reading.header
        if found is not None and (found.source, found.prefix) != (header.source, header.prefix):
            raise UnusableFile(
                f"{self.path} was begun from {found.source} with the prefix {found.prefix!r}, and"
                f" cannot go on from {header.source} with the prefix {header.prefix!r}."
            )
        self._file.seek(end)
        self._file.truncate()
        return reading

    def write(self, text: bytes) -> None:
        """Write lines."""
        self._file.write(text)

    def mark(self) -> int:
        """Tell where the next line will stand."""
        return self._file.tell()

    def take_back(self, mark: int) -> None:
        """Cut off what was written since *mark*."""
        self._file.seek(mark)
        self._file.truncate()

    def complete(self) -> None:
        """
        Bring the file to the disk, and give it its name.

        Raises:
            UnusableFile: Another file has taken the name.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self._check_target()
        self.path.replace(self._target)
        _sync_directory(self._target.parent)

    def close(self) -> None:
        """Let go of what is written so far; it stays."""
        self._file.close()


def _read_as_far_as_whole(file: BinaryIO) -> tuple[Reading, int]:
    """Read up to the end of the last whole context, and tell where that is."""
    reading = Reading()
    end = 0
    try:
        for text, begin in _texts(file, 0):
            line = reading.take(text)
            if isinstance(line, Header | Whole):
                end = begin + len(text)
    except BadLine:
        pass  # cut off there, or damaged by a loss of power
    reading.leave_out()
    reading.is_complete = False  # where only the name was missing, the end is written again
    return reading, end


def _sync_directory(directory: Path) -> None:
    """Make a new name last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
