"""
The pages of a PDF, and what they cost.

Pages are the objects of `/Type /Page`. Since PDF 1.5 most writers put objects into compressed
streams, so those are unpacked as well, up to a limit: a kilobyte can claim to be a gigabyte. Where
neither shows a page (an encrypted file, a truncated one), the length has to do.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final

PAGE_TOKENS: Final = 2400
"""
What a page costs.

Anthropic's page "PDF support" names about 7,000 tokens for a PDF of three pages, which are read as
text and as images, and 1,500 to 3,000 a page for the text alone. Claude Sonnet 4.5 has reported
1,600 for a page with a line of text and 2,670 for a full one. Gemini takes less, 258 to 560.
"""

PAGE_BYTES: Final = 50_000
"""How long a page is taken to be where the pages cannot be counted: between text and a scan."""

PAGES_MAX: Final = 1000
"""The most pages that are counted. No provider takes more in one file (Gemini: 1,000)."""

_PAGE: Final = re.compile(rb"/Type\s{0,8}/Page(?![A-Za-z0-9])")
_OBJECT_STREAM: Final = re.compile(rb"/Type\s{0,8}/ObjStm")
_LONGEST_MATCH: Final = 32
_WINDOW_BYTES: Final = 1 << 20  # a search holds the interpreter's lock, so it goes step by step
_UNPACKED_MAX: Final = 8 << 20
_STREAM_UNPACKED_MAX: Final = 1 << 20
_UNPACKED_RATIO_MAX: Final = 32  # of the whole file; lists of pages shrink to a tenth or so


def tokens_of_pdf(data: bytes) -> int:
    """Count the tokens of a PDF by its pages."""
    return pages_of_pdf(data) * PAGE_TOKENS


def pages_of_pdf(data: bytes) -> int:
    """Count the pages of a PDF, or reckon them from its length; at least 1, at most `PAGES_MAX`."""
    texts = chain((data,), _object_streams(data))
    pages = sum(1 for _ in islice(_pages_in(texts), PAGES_MAX))
    return pages or min(max(-(-len(data) // PAGE_BYTES), 1), PAGES_MAX)


def _pages_in(texts: Iterable[bytes]) -> Iterator[re.Match[bytes]]:
    return chain.from_iterable(_matches(_PAGE, text) for text in texts)


def _object_streams(data: bytes) -> Iterator[bytes]:
    """Unpack the streams that hold objects, up to a limit for each and for all."""
    left = min(_UNPACKED_MAX, len(data) * _UNPACKED_RATIO_MAX)
    end = 0
    for match in _matches(_OBJECT_STREAM, data):
        if match.start() < end:
            continue  # inside of the stream before
        start = data.find(b"stream", match.end())
        if start < 0 or left <= 0:
            return
        end = data.find(b"endstream", start)
        end = len(data) if end < 0 else end
        unpacked = _unpacked(data[start + len(b"stream") : end], min(left, _STREAM_UNPACKED_MAX))
        left -= len(unpacked)
        yield unpacked


def _unpacked(stream: bytes, limit: int) -> bytes:
    try:
        # A line break stands between the keyword and the data; zlib data begins with neither.
        return zlib.decompressobj().decompress(stream.lstrip(b"\r\n"), limit)
    except zlib.error:
        return b""


def _matches(pattern: re.Pattern[bytes], data: bytes) -> Iterator[re.Match[bytes]]:
    for start in range(0, len(data), _WINDOW_BYTES):
        end = start + _WINDOW_BYTES
        for match in pattern.finditer(data, start, end + _LONGEST_MATCH):
            if match.start() < end:
                yield match
