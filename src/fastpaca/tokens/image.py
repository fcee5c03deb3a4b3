"""
The size of an image, read from its header, and what an image of that size costs.

The formats are PNG, JPEG, GIF, WebP and BMP. Nothing is decompressed, so an image that claims a
huge size is harmless.
"""

from __future__ import annotations

import re
from typing import Final, Literal

IMAGE_TOKENS: Final = 1600
"""
The cost of an image whose size can't be read: a remote one, or one in another format.

It is that of a picture slightly above a megapixel, the most that Claude models before 4.7 process.
"""

IMAGE_TOKENS_MAX: Final = 4784
"""The most that an image costs; providers scale larger ones down."""

_PATCH_EDGE: Final = 28
_LONG_EDGE_MAX: Final = 2576

# Where width and height are, in little endian except for PNG, and how many bits they take.
_SIZES: Final = tuple(
    (re.compile(pattern, re.DOTALL), bits)
    for pattern, bits in (
        (rb"\x89PNG\r\n\x1a\n.{4}IHDR(.{4})(.{4})", 32),
        (rb"GIF8[79]a(..)(..)", 16),
        (rb"BM.{12}\x0c\0\0\0(..)(..)", 16),
        (rb"BM.{12}[\x28\x34\x38\x40\x6c\x7c]\0\0\0(.{4})(.{4})", 32),
        (rb"RIFF.{4}WEBPVP8 .{7}\x9d\x01\x2a(..)(..)", 14),
        (rb"RIFF.{4}WEBPVP8L.{4}\x2f(.{4})()", 28),
        (rb"RIFF.{4}WEBPVP8X.{8}(.{3})(.{3})", 24),
    )
)

_JPEG_SEGMENTS_MAX: Final = 1024  # real files have a few dozen before the one with the size
_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_JPEG_ENDS: Final = frozenset({0xD9, 0xDA})  # no size comes after these


def tokens_of_image(data: bytes) -> int:
    """
    Count the tokens of an image by its pixels.

    The rule is from Anthropic's "Images and vision": a token for each patch of 28 by 28 pixels,
    after scaling down to a long edge of 2576 pixels and 4784 tokens (the limits of Claude 4.7 and
    later). It is documented, needs only the size, and is within a fifth of what other providers
    charge for a screenshot of a megapixel (OpenAI's GPT-5: 1.2 for each patch of 32 by 32; Gemini:
    about 1,100 at any size). For larger images providers differ, from 765 tokens to 14,000 for a
    photograph. This uses the larger limits: a low count overflows the model, while a high one only
    trims a little sooner.
    """
    size = size_of_image(data)
    if size is None:
        return IMAGE_TOKENS
    width, height = size
    long_edge = max(width, height)
    if long_edge > _LONG_EDGE_MAX:
        width = max(width * _LONG_EDGE_MAX // long_edge, 1)
        height = max(height * _LONG_EDGE_MAX // long_edge, 1)
    return min(-(-width // _PATCH_EDGE) * -(-height // _PATCH_EDGE), IMAGE_TOKENS_MAX)


def size_of_image(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels from the header of an image; None if it has none."""
    size = _jpeg(data) if data.startswith(b"\xff\xd8\xff") else _header(data[:30])
    return size if size is not None and min(size) > 0 else None


def _header(head: bytes) -> tuple[int, int] | None:
    matches = ((pattern.match(head), bits) for pattern, bits in _SIZES)
    match, bits = next(((match, bits) for match, bits in matches if match), (None, 0))
    if match is None:
        return None
    order: Literal["big", "little"] = "big" if head.startswith(b"\x89") else "little"
    is_signed = head.startswith(b"BM")
    width, height = (int.from_bytes(edge, order, signed=is_signed) for edge in match.groups())
    if bits == 28:  # both in one number, each minus one
        return (width & 0x3FFF) + 1, (width >> 14 & 0x3FFF) + 1
    if bits == 24:
        return width + 1, height + 1
    if bits == 14:  # the two upper bits ask for scaling
        return width & 0x3FFF, height & 0x3FFF
    return abs(width), abs(height)  # a BMP with rows from top to bottom has a negative height


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Go from segment to segment: cameras write large ones, such as previews, before the size."""
    at = 2
    for _segment in range(_JPEG_SEGMENTS_MAX):
        segment = data[at : at + 9]
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker in _JPEG_SIZES:
            return int.from_bytes(segment[7:9]), int.from_bytes(segment[5:7])
        if marker in _JPEG_ENDS:
            return None
        if marker == 0xFF:
            at += 1  # a padding byte
        else:
            at += 2 if marker in _JPEG_BARE else 2 + int.from_bytes(segment[2:4])
    return None
