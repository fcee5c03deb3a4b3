"""
Parse server-sent events as the HTML standard says, however the bytes are divided. Pure.

Lines end with CR, LF or both. Each event is returned whole, so decoding it never splits a
character. The size of an event is limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fastpaca.client.errors import UnexpectedResponse

EVENT_BYTES_MAX: Final = 500 * 1024 * 1024
"""Far more than any message; the same as in TypeScript, where no string is above 512 MiB."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_DIGITS: Final = re.compile(rb"[0-9]+")
_BOM: Final = b"\xef\xbb\xbf"


class EventReader:
    """
    Turns bytes, as they come, into the data of whole events.

    Attributes:
        retry_seconds: How long the server asks readers to wait before they reconnect; None if it
            hasn't said.
    """

    def __init__(self, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.retry_seconds: float | None = None
        self._bytes_max = bytes_max
        self._size_bytes = 0
        self._line: list[bytes] = []  # pieces of the line that has not ended yet
        self._data: list[bytes] = []  # lines of the event that has not ended yet
        self._skips_lf = False  # the last chunk ended with a CR, which may be half of a CRLF
        self._is_first = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """
        Iterate over the data of the events that *chunk* completes.

        Raises:
            UnexpectedResponse: An event is above the limit.
        """
        if self._skips_lf and chunk:
            self._skips_lf = False
            chunk = chunk.removeprefix(b"\n")
        start = 0
        for end in _LINE_END.finditer(chunk):
            self._line.append(chunk[start : end.start()])
            start = end.end()
            line = b"".join(self._line)
            self._line.clear()
            if (data := self._take(line)) is not None:
                yield data
        self._skips_lf = chunk.endswith(b"\r")
        if start < len(chunk):
            self._line.append(chunk[start:])
            self._grow(len(chunk) - start)

    def _take(self, line: bytes) -> bytes | None:
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(_BOM)
        if not line:
            data, self._data, self._size_bytes = self._data, [], 0
            return b"\n".join(data) if data else None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._grow(len(value))
            self._data.append(value)
        elif name == b"retry" and _DIGITS.fullmatch(value):
            self.retry_seconds = float(value) / 1000
        return None

    def _grow(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        if self._size_bytes > self._bytes_max:
            raise UnexpectedResponse(f"An event is larger than {self._bytes_max:,} bytes.")
