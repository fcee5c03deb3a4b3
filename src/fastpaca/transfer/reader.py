"""
The machine that reads an export: it checks the order of lines, and counts them. Pure.

The exporter passes every line that it writes through this machine, so each file it writes can be
read.
"""

from __future__ import annotations

import hashlib

import msgspec

from fastpaca.context.config import REWIND
from fastpaca.context.path import WHOLE_LOG, Path
from fastpaca.transfer.format import (
    BadLine,
    CompactionLine,
    ContextEndLine,
    ContextLine,
    FileEndLine,
    HeaderLine,
    HistoryLine,
    Line,
    MessageLine,
    SyntheticLine,
    Tally,
    check_body,
    check_context,
    check_header_start,
    checked_window,
    decode,
    encode,
    kind,
)


class _OpenContext:
    """The state of the context that is being read."""

    def __init__(self, state: ContextLine, text: bytes) -> None:
        self.state = state
        self.version = 0
        self.messages = 0
        self.synthetics = 0
        self.compactions = 0
        self.may_trim = False  # true after a message, which may have caused a trim
        self.position: int | None = None  # of the last synthetic whose compaction is still to come
        self.path = WHOLE_LOG
        self.revisions: set[int] = set()
        self.digest = hashlib.sha256(text)

    def add(self, line: HistoryLine, text: bytes) -> None:
        """Add *line*, which happened next."""
        if isinstance(line, MessageLine):
            self._add_message(line)
        elif isinstance(line, SyntheticLine):
            self._add_synthetic(line)
        else:
            self._add_compaction(line)
        self.digest.update(text)

    def _add_message(self, line: MessageLine) -> None:
        if line.seq != self.messages + 1:
            raise BadLine(f"has the message {line.seq} where {self.messages + 1} should be next")
        if self.position is not None:
            raise BadLine("has a message where the compaction of a replacement should be next")
        self._check_next(line.version)
        check_body(line.body, line.counts)
        if line.revises is not None:
            self._check_place(line.revises)
            self.revisions.add(line.seq)
        self.messages, self.version, self.may_trim = line.seq, line.version, True

    def _check_place(self, place: int) -> None:
        is_there = place <= self.messages and self.path.holds(place)
        if not is_there or place in self.revisions:
            raise BadLine(f"revises the place {place}, which is not on the path")

    def _add_synthetic(self, line: SyntheticLine) -> None:
        self._check_next(line.version)
        if self.position is not None and line.position <= self.position:
            raise BadLine(f"has the position {line.position} after {self.position}")
        check_body(line.body, line.counts)
        self.position, self.may_trim = line.position, False
        self.synthetics += 1

    def _add_compaction(self, line: CompactionLine) -> None:
        if not (self.may_trim and line.version == self.version):
            self._check_next(line.version)
        stored = checked_window(line.window, self.messages)
        if (line.strategy == REWIND) is (stored.to_version is None):
            raise BadLine("has a version to go back to, which rewinds have, and only they")
        self.path = WHOLE_LOG if stored.path is None else Path.of(stored.path, self.messages)
        self.version, self.position, self.may_trim = line.version, None, False
        self.compactions += 1

    def _check_next(self, version: int) -> None:
        if version != self.version + 1:
            raise BadLine(f"has the version {version} where {self.version + 1} should be next")

    def end(self) -> ContextEndLine:
        """
        Return the line that ends the context.

        Raises:
            BadLine: The context is not complete.
        """
        state = self.state
        if self.position is not None:
            raise BadLine("ends a context where the compaction of a replacement should be next")
        if (self.version, self.messages) != (state.version, state.last_seq):
            raise BadLine(
                f"ends a context at version {self.version} with {self.messages} messages, where"
                f" there should be version {state.version} and {state.last_seq} messages"
            )
        return ContextEndLine(
            self.messages, self.synthetics, self.compactions, self.digest.hexdigest()
        )


class ExportReader:
    """
    Reads an export line by line, and refuses the first line that is in the wrong place.

    Attributes:
        header: The header, once it was read.
        tally: The totals of all whole contexts.
        last_id: The id of the last whole context; empty before the first.
        is_complete: Whether the end of the file was read.
    """

    def __init__(self) -> None:
        self.header: HeaderLine | None = None
        self.tally = Tally()
        self.last_id = ""
        self.is_complete = False
        self._open: _OpenContext | None = None
        self._digest = hashlib.sha256()

    def read(self, text: bytes) -> Line:
        """
        Read the next line, including the line end.

        Raises:
            BadLine: It is in the wrong place, or not a line of an export. Nothing was read.
        """
        line = self._decoded(text)
        if isinstance(line, HeaderLine):
            self._add_header(line)
        elif isinstance(line, ContextLine):
            self._begin_context(line, text)
        elif isinstance(line, ContextEndLine):
            self._end_context(line, text)
        elif isinstance(line, FileEndLine):
            self._end_file(line)
        elif self._open is None:
            raise BadLine(f"is a {kind(line)} outside any context")
        else:
            self._open.add(line, text)
        return line

    def drop_open_context(self) -> None:
        """Forget the incomplete context, as if none of it had been read."""
        self._open = None

    def context_end(self) -> bytes:
        """
        Return the line that ends the context that is being read.

        Raises:
            BadLine: The context is not complete.
        """
        assert self._open is not None
        return encode(self._open.end())

    def file_end(self) -> bytes:
        """Return the line that ends the file."""
        return encode(FileEndLine(*self.tally, self._digest.hexdigest()))

    def _decoded(self, text: bytes) -> Line:
        if self.is_complete:
            raise BadLine("comes after the end")
        if not text.endswith(b"\n"):
            raise BadLine("is cut off")
        try:
            if self.header is None:
                check_header_start(text)
            return decode(text)
        except msgspec.ValidationError as error:
            raise BadLine(f"is not valid: {error}") from None
        except UnicodeDecodeError:
            raise BadLine("is not UTF-8") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadLine(f"is not JSON: {error}") from None

    def _add_header(self, line: HeaderLine) -> None:
        if self.header is not None:
            raise BadLine("is a second header")
        self.header = line

    def _begin_context(self, line: ContextLine, text: bytes) -> None:
        if self._open is not None:
            raise BadLine(f"starts a context before {self._open.state.id!r} is complete")
        check_context(line)
        assert self.header is not None
        if not line.id.startswith(self.header.prefix):
            raise BadLine(f"has an id that does not start with {self.header.prefix!r}")
        if self.tally.contexts and line.id.encode() <= self.last_id.encode():
            why = (
                "is there twice" if line.id == self.last_id else f"belongs before {self.last_id!r}"
            )
            raise BadLine(f"starts the context {line.id!r}, which {why}")
        self._open = _OpenContext(line, text)

    def _end_context(self, line: ContextEndLine, text: bytes) -> None:
        if self._open is None:
            raise BadLine("ends a context that was not started")
        expected = self._open.end()
        if line != expected:
            raise BadLine(
                f"doesn't match the context {self._open.state.id!r}, which was changed or has lost"
                " lines"
            )
        contexts, messages, synthetics, compactions = self.tally
        self.tally = Tally(
            contexts + 1,
            messages + line.messages,
            synthetics + line.synthetics,
            compactions + line.compactions,
        )
        self._digest.update(text)
        self.last_id = self._open.state.id
        self._open = None

    def _end_file(self, line: FileEndLine) -> None:
        if self._open is not None:
            raise BadLine(f"ends the file before the context {self._open.state.id!r} is complete")
        if encode(line) != self.file_end():
            raise BadLine("doesn't match the file, which was changed or has lost contexts")
        self.is_complete = True
