"""
The machine that reads an export: what may follow what, and how much of it there was.

It is pure: lines come in, what they say comes out. Whoever writes a file has this read what is
written, so that what was written can be read.
"""

from __future__ import annotations

import hashlib

import msgspec

from fastpaca.transfer.format import (
    BadLine,
    Compaction,
    End,
    Header,
    Line,
    Message,
    Past,
    State,
    Synthetic,
    Tally,
    Whole,
    check_body,
    check_opening,
    check_state,
    check_window,
    decode,
    encode,
    kind,
)


class _Open:
    """The context that is being read: where it has come to."""

    __slots__ = (
        "compactions",
        "digest",
        "may_trim",
        "messages",
        "position",
        "state",
        "synthetics",
        "version",
    )

    def __init__(self, state: State, text: bytes) -> None:
        self.state = state
        self.version = 0
        self.messages = 0
        self.synthetics = 0
        self.compactions = 0
        self.may_trim = False  # whether the last line was a message, which may have caused a trim
        self.position: int | None = None  # of the last synthetic that waits for its compaction
        self.digest = hashlib.sha256(text)

    def take(self, line: Past, text: bytes) -> None:
        """Let *line* be what happened next."""
        if isinstance(line, Message):
            self._take_message(line)
        elif isinstance(line, Synthetic):
            self._take_synthetic(line)
        else:
            self._take_compaction(line)
        self.digest.update(text)

    def _take_message(self, line: Message) -> None:
        if line.seq != self.messages + 1:
            raise BadLine(f"has the message {line.seq} where {self.messages + 1} would be next")
        if self.position is not None:
            raise BadLine("has a message where the compaction of a replacement would be next")
        self._check_next(line.version)
        check_body(line.body, line.counts)
        self.messages, self.version, self.may_trim = line.seq, line.version, True

    def _take_synthetic(self, line: Synthetic) -> None:
        self._check_next(line.version)
        if self.position is not None and line.position <= self.position:
            raise BadLine(f"has the position {line.position} behind {self.position}")
        check_body(line.body, line.counts)
        self.position, self.may_trim = line.position, False
        self.synthetics += 1

    def _take_compaction(self, line: Compaction) -> None:
        if not (self.may_trim and line.version == self.version):
            self._check_next(line.version)
        check_window(line.window, self.messages)
        self.version, self.position, self.may_trim = line.version, None, False
        self.compactions += 1

    def _check_next(self, version: int) -> None:
        if version != self.version + 1:
            raise BadLine(f"has the version {version} where {self.version + 1} would be next")

    def whole(self) -> Whole:
        """
        Give the line that ends the context.

        Raises:
            BadLine: It has not come to where it should stand.
        """
        state = self.state
        if self.position is not None:
            raise BadLine("ends a context where the compaction of a replacement would be next")
        if (self.version, self.messages) != (state.version, state.last_seq):
            raise BadLine(
                f"ends a context at version {self.version} with {self.messages} messages, where"
                f" there should be version {state.version} and {state.last_seq} messages"
            )
        return Whole(self.messages, self.synthetics, self.compactions, self.digest.hexdigest())


class Reading:
    """
    Reads an export line by line, and refuses the first line that does not belong where it stands.

    Attributes:
        header: The header, once it was read.
        tally: What whole contexts have held.
        last_id: The id of the last whole context; empty before the first.
        is_complete: Whether the end of the file was read.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.tally = Tally()
        self.last_id = ""
        self.is_complete = False
        self._open: _Open | None = None
        self._digest = hashlib.sha256()

    def take(self, text: bytes) -> Line:
        """
        Read the next line, its end included.

        Raises:
            BadLine: It does not belong there, or is no line at all. Nothing was taken.
        """
        line = self._decoded(text)
        if isinstance(line, Header):
            self._take_header(line)
        elif isinstance(line, State):
            self._take_state(line, text)
        elif isinstance(line, Whole):
            self._take_whole(line, text)
        elif isinstance(line, End):
            self._take_end(line)
        elif self._open is None:
            raise BadLine(f"is a {kind(line)} that belongs to no context")
        else:
            self._open.take(line, text)
        return line

    def leave_out(self) -> None:
        """Forget the context that is not whole, as if nothing of it had been read."""
        self._open = None

    def whole(self) -> bytes:
        """
        Write the line that ends the context that is being read.

        Raises:
            BadLine: It has not come to where it should stand.
        """
        assert self._open is not None
        return encode(self._open.whole())

    def end(self) -> bytes:
        """Write the line that ends the file."""
        return encode(End(*self.tally, self._digest.hexdigest()))

    def _decoded(self, text: bytes) -> Line:
        if self.is_complete:
            raise BadLine("stands behind the end")
        if not text.endswith(b"\n"):
            raise BadLine("is cut off")
        try:
            if self.header is None:
                check_opening(text)
            return decode(text)
        except msgspec.ValidationError as error:
            raise BadLine(f"is not as it should be: {error}") from None
        except UnicodeDecodeError:
            raise BadLine("is not UTF-8") from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadLine(f"is not JSON: {error}") from None

    def _take_header(self, line: Header) -> None:
        if self.header is not None:
            raise BadLine("is a second header")
        self.header = line

    def _take_state(self, line: State, text: bytes) -> None:
        if self._open is not None:
            raise BadLine(f"begins a context before {self._open.state.id!r} is whole")
        check_state(line)
        assert self.header is not None
        if not line.id.startswith(self.header.prefix):
            raise BadLine(f"has an id that does not begin with {self.header.prefix!r}")
        if self.tally.contexts and line.id.encode() <= self.last_id.encode():
            why = (
                "is there twice" if line.id == self.last_id else f"belongs before {self.last_id!r}"
            )
            raise BadLine(f"begins the context {line.id!r}, which {why}")
        self._open = _Open(line, text)

    def _take_whole(self, line: Whole, text: bytes) -> None:
        if self._open is None:
            raise BadLine("ends a context where none has begun")
        expected = self._open.whole()
        if line != expected:
            raise BadLine(
                f"does not fit the context {self._open.state.id!r}, which was changed or has lost"
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

    def _take_end(self, line: End) -> None:
        if self._open is not None:
            raise BadLine(f"ends the file before the context {self._open.state.id!r} is whole")
        if encode(line) != self.end():
            raise BadLine("does not fit the file, which was changed or has lost contexts")
        self.is_complete = True
