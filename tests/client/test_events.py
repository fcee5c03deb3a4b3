"""Server-sent events out of bytes, whole or in pieces."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.client.errors import UnexpectedResponse
from fastpaca.client.events import EVENT_BYTES_MAX, EventReader
from tests.client.rules import rules


@pytest.mark.parametrize("case", rules("events")["cases"], ids=lambda case: repr(case["text"]))
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_however_they_are_cut(case: Any, size: int) -> None:
    """
    Line ends of all kinds, comments, other fields, and characters that lie across two pieces.
    """
    reader = EventReader()
    found = read(reader, case["text"].encode(), size)
    assert [data.decode() for data in found] == case["data"]
    assert reader.retry_seconds == case.get("retry_seconds")


def test_the_limit_is_that_of_all_clients() -> None:
    """
    What one client can read, another can.
    """
    assert rules("limits")["event_bytes_max"] == EVENT_BYTES_MAX


def read(reader: EventReader, text: bytes, size: int) -> list[bytes]:
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    return [data for piece in pieces for data in reader.feed(piece)]


LINES = st.text().map(str.encode).filter(lambda line: not re.search(rb"[\r\n]", line))


@given(
    st.lists(st.lists(LINES, min_size=1)),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.integers(1, 9),
)
def test_what_was_written_is_read(events: list[list[bytes]], end: bytes, size: int) -> None:
    """
    Any events, in any line ends, in pieces of any size.
    """
    text = b"".join(b"".join(b"data: " + line + end for line in lines) + end for lines in events)
    assert read(EventReader(), text, size) == [b"\n".join(lines) for lines in events]


@pytest.mark.parametrize("line", [b"data: " + b"x" * 90 + b"\n", b"y" * 90])
def test_an_event_has_a_limit(line: bytes) -> None:
    """
    What never ends is refused before it fills the memory; events that end start anew.
    """
    reader = EventReader(bytes_max=200)
    fine = read(reader, (b"data: " + b"x" * 90 + b"\n\n") * 10, 7)
    assert len(fine) == 10
    with pytest.raises(UnexpectedResponse, match="larger than 200 bytes"):
        read(reader, line * 3, 7)
