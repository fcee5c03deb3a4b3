"""How far a command says it is: on a terminal, and in a log."""

from __future__ import annotations

import io

from fastpaca.cli.progress import Progress


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock in seconds that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_shows_a_bar() -> None:
    """
    The bar is drawn over itself, not more often than anybody can see, and goes in the end.
    """
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, "Importing", 1000, clock)
    progress(1, 20, 100)
    assert stream.getvalue() == ""
    clock.now += 2
    progress(1, 20, 400)
    assert stream.getvalue() == (
        "\rImporting [############............]  50%  2 contexts, 40 messages, 500 bytes,"
        " 20 messages/s"
    )
    progress.clear()
    assert stream.getvalue().endswith(" \r")
    progress.clear()
    assert stream.getvalue().count("\r") == 3


def test_a_log_is_spared() -> None:
    """
    Where nobody looks, there is a line every ten seconds, and none for what is done sooner.
    """
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, "Exporting", None, clock)
    for _ in range(25):
        clock.now += 1
        progress(1, 1000, 1024 * 1024)
    progress.clear()
    assert stream.getvalue() == (
        "Exporting: 10 contexts, 10,000 messages, 10.0 MiB, 1,000 messages/s\n"
        "Exporting: 20 contexts, 20,000 messages, 20.0 MiB, 1,000 messages/s\n"
    )


def test_a_log_shows_the_share() -> None:
    """
    Where the end is known, a line says how much is done.
    """
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, "Checking", 2000, clock)
    clock.now += 10
    progress(0, 0, 500)
    assert stream.getvalue().startswith("Checking: 25%, 0 contexts")
