"""How far a long command is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

from fastpaca.cli.backup import readable

DRAW_SECONDS: Final = 0.1
"""How long a terminal shows the same."""

LINE_SECONDS: Final = 10.0
"""How long a log is spared the next line."""

BAR_CHARS: Final = 24


class Progress:
    """
    Tells on *stream* how far something called *title* is.

    Args:
        stream: A terminal or anything else that takes text.
        title: What is done, as in "Importing".
        bytes_total: How many bytes there are to do, if that is known.
        clock: Seconds, from whenever.
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

    def __call__(self, contexts: int, messages: int, size: int) -> None:
        """Note what has been done since the last call."""
        self.contexts += contexts
        self.messages += messages
        self.bytes += size
        now = self._clock()
        if now - self._shown_at >= self._pause:
            self._shown_at = now
            self._show(now)

    def clear(self) -> None:
        """Leave the line of the terminal empty for what comes next."""
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
            f"{self.contexts:,} contexts, {self.messages:,} messages, {readable(self.bytes)},"
            f" {rate:,.0f} messages/s"
        )
        if not self._bytes_total:
            return f"{self._title}: {done}"
        share = min(self.bytes / self._bytes_total, 1.0)
        if not self._is_terminal:
            return f"{self._title}: {share:.0%}, {done}"
        full = round(share * BAR_CHARS)
        return f"{self._title} [{'#' * full}{'.' * (BAR_CHARS - full)}] {share:4.0%}  {done}"
