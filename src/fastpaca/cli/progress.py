"""The progress of a long command: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

from fastpaca.cli.output import readable_size

DRAW_SECONDS: Final = 0.1
"""How often to redraw the bar."""

LINE_SECONDS: Final = 10.0
"""How often to write a line."""

BAR_CHARS: Final = 24


class Progress:
    """
    Shows the progress of *title* on *stream*.

    Args:
        stream: A terminal, or any other stream of text.
        title: What is going on, such as "Importing".
        bytes_total: The number of bytes to process, if it is known.
        clock: Returns seconds since an arbitrary moment.
    """

    def __init__(
        self,
        stream: TextIO,
        title: str,
        bytes_total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._title = title
        self._bytes_total = bytes_total
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._pause = DRAW_SECONDS if self._is_terminal else LINE_SECONDS
        self._began = clock()
        self._shown_at = self._began
        self._shown_chars = 0
        self.contexts = self.messages = self.bytes = 0

    def __call__(self, contexts: int, messages: int, size_bytes: int) -> None:
        """Add the progress since the last call."""
        self.contexts += contexts
        self.messages += messages
        self.bytes += size_bytes
        now = self._clock()
        if now - self._shown_at >= self._pause:
            self._shown_at = now
            self._show(now)

    def clear(self) -> None:
        """Clear the line of the terminal."""
        if self._shown_chars:
            self._stream.write("\r" + " " * self._shown_chars + "\r")
            self._stream.flush()
            self._shown_chars = 0

    def _show(self, now: float) -> None:
        text = self._text(now - self._began)
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._shown_chars))
            self._shown_chars = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def _text(self, seconds: float) -> str:
        rate = self.messages / seconds if seconds > 0 else 0
        done = (
            f"{self.contexts:,} contexts, {self.messages:,} messages, {readable_size(self.bytes)},"
            f" {rate:,.0f} messages/s"
        )
        if not self._bytes_total:
            return f"{self._title}: {done}"
        share = min(self.bytes / self._bytes_total, 1.0)
        if not self._is_terminal:
            return f"{self._title}: {share:.0%}, {done}"
        full = round(share * BAR_CHARS)
        return f"{self._title} [{'#' * full}{'.' * (BAR_CHARS - full)}] {share:4.0%}  {done}"
