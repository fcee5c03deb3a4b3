"""
The pages of a PDF, and their cost.

Pages are the objects of `/Type /Page`. Since PDF 1.5 most writers put objects into compressed
streams, so these are decompressed too, up to a limit: a kilobyte can decompress to a gigabyte. If
no page is found (the file is encrypted or truncated), the number is estimated from the length.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final

PAGE_TOKENS: Final = 2400
"""
The cost of a page.

Anthropic's page "PDF support" gives about 7,000 tokens for a PDF of three pages, which are read as
text and as images, and 1,500 to 3,000 a page for the text alone. Claude Sonnet 4.5 reported 1,600
for a page with a line of text and 2,670 for a full one. Gemini charges less, 258 to 560.
"""

PAGE_BYTES: Final = 50_000
"""The assumed size of a page if pages can't be counted: between that of text and of a scan."""

PAGES_MAX: Final = 1000
"""The most pages that are counted; no provider accepts more in a file (Gemini: 1,000)."""

_PAGE: Final = re.compile(rb"/Type\s{0,8}/Page(?![A-Za-z0-9])")
_OBJECT_STREAM: Final = re.compile(rb"/Type\s{0,8}/ObjStm")
_LONGEST_MATCH: Final = 32
_WINDOW_BYTES: Final = 1 << 20  # a search holds the interpreter's lock, so it goes in steps
_UNPACKED_BYTES_MAX: Final = 8 << 20
_STREAM_UNPACKED_BYTES_MAX: Final = 1 << 20
_UNPACKED_RATIO_MAX: Final = 32  # relative to the file; lists of pages shrink to about a tenth


def tokens_of_pdf(data: bytes) -> int:
    """Count the tokens of a PDF by its pages."""
    return pages_of_pdf(data) * PAGE_TOKENS


def pages_of_pdf(data: bytes) -> int:
    """Count the pages of a PDF, or estimate them by its length; from 1 to `PAGES_MAX`."""
    texts = chain((data,), _object_streams(data))
    pages = sum(1 for _ in islice(_pages_in(texts), PAGES_MAX))
    return pages or min(max(-(-len(data) // PAGE_BYTES), 1), PAGES_MAX)


def _pages_in(texts: Iterable[bytes]) -> Iterator[re.Match[bytes]]:
    return chain.from_iterable(_matches(_PAGE, text) for text in texts)


def _object_streams(data: bytes) -> Iterator[bytes]:
    """Decompress the streams with objects, up to a limit for each and for all of them."""
    left = min(_UNPACKED_BYTES_MAX, len(data) * _UNPACKED_RATIO_MAX)
    end = 0
    for match in _matches(_OBJECT_STREAM, data):
        if match.start() < end:
            continue  # inside the previous stream
        start = data.find(b"stream", match.end())
        if start < 0 or left <= 0:
            return
        end = data.find(b"endstream", start)
        end = len(data) if end < 0 else end
        unpacked = _unpacked(
            data[start + len(b"stream") : end], min(left, _STREAM_UNPACKED_BYTES_MAX)
        )
        left -= len(unpacked)
        yield unpacked


def _unpacked(stream: bytes, bytes_max: int) -> bytes:
    try:
        # A line break separates the keyword from the data; zlib data begins with neither byte.
        return zlib.decompressobj().decompress(stream.lstrip(b"\r\n"), bytes_max)
    except zlib.error:
        return b""


def _matches(pattern: re.Pattern[bytes], data: bytes) -> Iterator[re.Match[bytes]]:
    for start in range(0, len(data), _WINDOW_BYTES):
        end = start + _WINDOW_BYTES
        for match in pattern.finditer(data, start, end + _LONGEST_MATCH):
            if match.start() < end:
                yield match
