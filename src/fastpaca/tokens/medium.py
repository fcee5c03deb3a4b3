"""
What a piece of binary data costs: an image, a document, sound, film, or a file of another kind.

`Base64` gives access to the data without decoding more of it than is asked for.
"""

from __future__ import annotations

import binascii
import codecs
import re
from typing import Final, NamedTuple

from fastpaca.tokens.counter import TokenCounter
from fastpaca.tokens.image import IMAGE_TOKENS, tokens_of_image
from fastpaca.tokens.pdf import PAGE_TOKENS, tokens_of_pdf

IMAGE, AUDIO, VIDEO, PDF, TEXT, OTHER = "image", "audio", "video", "pdf", "text", "other"

FILE_TOKENS: Final = PAGE_TOKENS
"""What a file costs that cannot be read, or that only a URL or an id names: as much as a page."""


class Stream(NamedTuple):
    """Sound or film: tokens and bytes that a second takes, and what an unread one costs."""

    tokens_per_second: int
    bytes_per_second: int
    unread_tokens: int


# Gemini's "Understand and count tokens": 32 tokens a second of audio, 263 of video. The bytes are
# those of usual recordings, 64 kbit/s and 1 Mbit/s; an unread one is taken to last a minute.
STREAMS: Final = {AUDIO: Stream(32, 8_000, 32 * 60), VIDEO: Stream(263, 125_000, 263 * 60)}

_WAV_BYTES_PER_SECOND_MIN: Final = 1_000  # a header that claims less is broken, or a trap

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_TEXT_BYTES: Final = 3 << 10
_STEP_BYTES: Final = 3 << 16  # what is decoded at once; it holds the interpreter's lock

_TEXT_TYPE: Final = re.compile(
    r"text/|application/(?:[\w.-]+\+)?(?:json|xml|yaml|toml|csv|sql)\b"
    r"|application/(?:x-)?(?:javascript|typescript|ecmascript|yaml|ndjson|sh|python|httpd-php)\b"
    r"|image/svg\+xml"
)

_MAGIC: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP", re.DOTALL), IMAGE),
    (re.compile(rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", re.DOTALL), IMAGE),
    (re.compile(rb".{4}ftyp(?:avif|avis|heic|heix|mif1|msf1)", re.DOTALL), IMAGE),
    (re.compile(rb"%PDF-"), PDF),
    (re.compile(rb"RIFF.{4}WAVE|ID3[\x02-\x04]|OggS|fLaC", re.DOTALL), AUDIO),
    (re.compile(rb".{4}ftyp|\x1a\x45\xdf\xa3", re.DOTALL), VIDEO),
    (re.compile(rb"PK\x03\x04|\x1f\x8b\x08|\xd0\xcf\x11\xe0"), OTHER),
)


class Base64:
    """Data in base64, in the standard or the URL-safe alphabet, decoded as it is asked for."""

    __slots__ = ("_end", "_start", "_text", "size")

    def __init__(self, text: bytes, start: int, end: int) -> None:
        """Take the data that stands in *text* from *start* to *end*."""
        for _padding in range(2):
            if end > start and text[end - 1 : end] == b"=":
                end -= 1
        self._text = text
        self._start = start
        self._end = end
        self.size: Final = (end - start) * 3 // 4

    def is_plausible(self) -> bool:
        """Tell whether there is data, and nothing that base64 does not have."""
        step = _STEP_BYTES
        return self._end > self._start and not any(
            self._text[at : min(at + step, self._end)].translate(None, _ALPHABET)
            for at in range(self._start, self._end, step)
        )

    def read(self, offset: int, size: int) -> bytes:
        """Give *size* bytes from *offset* on, fewer at the end of the data."""
        first = self._start + offset // 3 * 4
        last = min(self._start + -(-(offset + size) // 3) * 4, self._end)
        piece = self._text[first:last].translate(_URL_SAFE)
        if len(piece) % 4 == 1:
            piece = piece[:-1]  # six bits are no byte
        try:
            decoded = binascii.a2b_base64(piece + b"=" * (-len(piece) % 4))
        except binascii.Error:
            return b""
        return decoded[offset % 3 :][:size]

    def begins_as_text(self) -> bool:
        """Tell whether the data can be a text in UTF-8, by its first few thousand bytes."""
        try:
            codecs.getincrementaldecoder("utf-8")().decode(self.read(0, _TEXT_BYTES))
        except UnicodeDecodeError:
            return False
        return True

    def whole(self) -> bytes:
        """Give all of the data."""
        return b"".join(self.read(at, _STEP_BYTES) for at in range(0, self.size, _STEP_BYTES))


def kind_of(media_type: str, label: str) -> str:
    """
    Tell the kind of a medium by its media type, or else by its *label*.

    The label is what else names it: the type of the part, the key that it stands under.
    """
    major = media_type.partition("/")[0]
    if _TEXT_TYPE.match(media_type):
        return TEXT
    if major in (IMAGE, AUDIO, VIDEO):
        return major
    if media_type == "application/pdf":
        return PDF
    if "image" in label or "screenshot" in label:
        return IMAGE
    return next((kind for kind in (AUDIO, VIDEO) if kind in label), OTHER)


def kind_of_data(data: Base64) -> str | None:
    """Tell the kind of a medium by how its data begins; None if that says nothing."""
    head = data.read(0, 32)
    return next((kind for magic, kind in _MAGIC if magic.match(head)), None)


def unread_tokens(kind: str) -> int:
    """Give what a medium costs that is not there: a remote one, or one of the provider's files."""
    if kind == IMAGE:
        return IMAGE_TOKENS
    return STREAMS[kind].unread_tokens if kind in STREAMS else FILE_TOKENS


def tokens_of(data: Base64, kind: str, counter: TokenCounter) -> int:
    """Count what *data* costs, given as a medium of this *kind*."""
    if kind == IMAGE:
        return tokens_of_image(data.read)
    if kind == PDF:
        return tokens_of_pdf(data.whole())
    if kind == TEXT:
        return counter.count(data.whole().decode(errors="replace"))
    if kind in STREAMS:
        return _tokens_of_stream(data, kind)
    return FILE_TOKENS


def _tokens_of_stream(data: Base64, kind: str) -> int:
    tokens_per_second, bytes_per_second, _ = STREAMS[kind]
    head = data.read(0, 32)
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt ":
        claimed = int.from_bytes(head[28:32], "little")
        bytes_per_second = max(claimed, _WAV_BYTES_PER_SECOND_MIN)
    return -(-data.size * tokens_per_second // bytes_per_second)
