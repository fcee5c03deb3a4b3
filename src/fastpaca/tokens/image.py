"""
The size of an image, read from its header, and what an image of a size costs.

Sizes are read from PNG, JPEG, GIF, WebP and BMP. Nothing is decompressed, and only the few bytes
that say the size are asked for, so it does not matter how long an image is, or what it claims.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Read = Callable[[int, int], bytes]
"""Gives the bytes of a file from an offset on: so many, or fewer at its end."""

IMAGE_TOKENS: Final = 1600
"""
What an image costs whose size cannot be read: a remote one, or one in another format.

That is a picture of somewhat more than a megapixel, the most that Claude models before 4.7 take in.
"""

IMAGE_TOKENS_MAX: Final = 4784
"""The most that an image costs; a larger one is scaled down by the provider."""

_PATCH_EDGE: Final = 28
_LONG_EDGE_MAX: Final = 2576

_JPEG_SEGMENTS_MAX: Final = 1024  # real files have a few dozen before the one that says the size
_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that no length follows
_JPEG_ENDS: Final = frozenset({0xD9, 0xDA})  # behind these there is no size any more


def tokens_of_image(read: Read) -> int:
    """
    Count the tokens of an image by its pixels.

    The rule is Anthropic's, "Images and vision": a token for each patch of 28 by 28 pixels, after
    scaling down to a long edge of 2576 pixels and 4784 tokens (the limits of Claude 4.7 and later).
    It was chosen since it is documented, needs no more than the size, and lies within a fifth of
    what other providers take for a screenshot of a megapixel (OpenAI's GPT-5: 1.2 for each patch of
    32 by 32; Gemini: about 1,100 at any size). For larger images they part ways, from 765 tokens to
    14,000 for a photograph. The larger limits are used there: who counts too little overflows
    the model, who counts too much trims a little sooner.
    """
    size = size_of_image(read)
    if size is None:
        return IMAGE_TOKENS
    width, height = size
    long_edge = max(width, height)
    if long_edge > _LONG_EDGE_MAX:
        width = max(width * _LONG_EDGE_MAX // long_edge, 1)
        height = max(height * _LONG_EDGE_MAX // long_edge, 1)
    return min(-(-width // _PATCH_EDGE) * -(-height // _PATCH_EDGE), IMAGE_TOKENS_MAX)


def size_of_image(read: Read) -> tuple[int, int] | None:
    """Read width and height in pixels from the header of an image; None if it does not say."""
    head = read(0, 30)
    for magic, size_of in _FORMATS:
        if head.startswith(magic):
            size = size_of(head, read)
            return size if size is not None and min(size) > 0 else None
    return None


def _png(head: bytes, _: Read) -> tuple[int, int] | None:
    if head[12:16] != b"IHDR" or len(head) < 24:
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def _gif(head: bytes, _: Read) -> tuple[int, int] | None:
    if head[3:6] not in (b"87a", b"89a"):
        return None
    return _little(head, 6, 2), _little(head, 8, 2)


def _bmp(head: bytes, _: Read) -> tuple[int, int] | None:
    header_bytes = _little(head, 14, 4)
    if header_bytes == 12:
        return _little(head, 18, 2), _little(head, 20, 2)
    if header_bytes not in (40, 52, 56, 64, 108, 124):
        return None
    # A negative height says that the rows run from top to bottom.
    signed = (int.from_bytes(head[at : at + 4], "little", signed=True) for at in (18, 22))
    width, height = (abs(edge) for edge in signed)
    return width, height


def _webp(head: bytes, _: Read) -> tuple[int, int] | None:
    kind = head[8:16]
    if kind == b"WEBPVP8 " and head[23:26] == b"\x9d\x01\x2a":
        return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF
    if kind == b"WEBPVP8L" and head[20:21] == b"\x2f":
        packed = _little(head, 21, 4)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    if kind == b"WEBPVP8X" and len(head) == 30:
        return _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
    return None


def _jpeg(_: bytes, read: Read) -> tuple[int, int] | None:
    """Go from segment to segment; a camera puts large ones, previews included, before the size."""
    at = 2
    for _segment in range(_JPEG_SEGMENTS_MAX):
        segment = read(at, 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker in _JPEG_SIZES:
            return int.from_bytes(segment[7:9]), int.from_bytes(segment[5:7])
        if marker in _JPEG_ENDS:
            return None
        if marker == 0xFF:
            at += 1  # a byte of padding
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + int.from_bytes(segment[2:4])
    return None


def _little(head: bytes, at: int, size: int) -> int:
    return int.from_bytes(head[at : at + size], "little")


_FORMATS: Final = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
    (b"BM", _bmp),
)
