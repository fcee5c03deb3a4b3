"""Server-sent events out of bytes, whole or in pieces."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.client.errors import UnexpectedAnswer
from fastpaca.client.events import EventReader

CASES = [
    (b"data: a\n\n", [b"a"]),
    (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
    (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
    (b"data: a\r\ndata: b\rdata: c\n\r\n", [b"a\nb\nc"]),
    (b": ping\n\nid: 7\ndata: a\nevent: x\nfoo: bar\ndata\n\n", [b"a\n"]),
    (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    (b"data: \xef\xbb\xbfa\n\n\n\n", [b"\xef\xbb\xbfa"]),
    ("data: é🦙\u2028\u0085x\n\n".encode(), ["é🦙\u2028\u0085x".encode()]),
    (b"data: a\n\ndata: never ended\n", [b"a"]),
    (b"data:\n\n", [b""]),
    (b"dataset: a\n\n data: b\n\n", []),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_however_they_are_cut(
    text: bytes, expected: list[bytes], size: int
) -> None:
    """
    Line ends of all kinds, comments, other fields, and characters that lie across two pieces.
    """
    assert read(EventReader(), text, size) == expected


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


def test_the_wait_that_is_asked_for_is_noted() -> None:
    """
    `retry:` counts if it is a number.
    """
    reader = EventReader()
    assert read(reader, b"retry: soon\nretry:\n\n", 100) == []
    assert reader.retry_seconds is None
    assert read(reader, b"retry: 2500\n\n", 100) == []
    assert reader.retry_seconds == 2.5


@pytest.mark.parametrize("line", [b"data: " + b"x" * 90 + b"\n", b"y" * 90])
def test_an_event_has_a_limit(line: bytes) -> None:
    """
    What never ends is refused before it fills the memory; events that end start anew.
    """
    reader = EventReader(bytes_max=200)
    fine = read(reader, (b"data: " + b"x" * 90 + b"\n\n") * 10, 7)
    assert len(fine) == 10
    with pytest.raises(UnexpectedAnswer, match="larger than 200 bytes"):
        read(reader, line * 3, 7)
