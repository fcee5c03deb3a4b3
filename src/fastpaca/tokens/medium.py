"""The kind of a piece of binary data, and its cost: image, document, audio, video, other file."""

from __future__ import annotations

import binascii
import re
from typing import Final, NamedTuple

from fastpaca.tokens.counter import TokenCounter
from fastpaca.tokens.image import IMAGE_TOKENS, tokens_of_image
from fastpaca.tokens.pdf import PAGE_TOKENS, tokens_of_pdf

IMAGE, AUDIO, VIDEO, PDF, TEXT, OTHER = "image", "audio", "video", "pdf", "text", "other"

FILE_TOKENS: Final = PAGE_TOKENS
"""The cost of a file that can't be read, or that only a URL or an id names: that of a page."""


class Recording(NamedTuple):
    """Audio or video: the tokens and bytes of a second, and the cost of a recording elsewhere."""

    tokens_per_second: int
    bytes_per_second: int
    unread_tokens: int


# Gemini's "Understand and count tokens": 32 tokens for a second of audio, 263 for one of video. The
# bytes are those of usual recordings, 64 kbit/s and 1 Mbit/s. One elsewhere counts as a minute.
RECORDINGS: Final = {
    AUDIO: Recording(32, 8_000, 32 * 60),
    VIDEO: Recording(263, 125_000, 263 * 60),
}

_WAV_BYTES_PER_SECOND_MIN: Final = 1_000  # a header with less is broken, or an attack

_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_STEP_BYTES: Final = 1 << 18  # of one decoding step, which holds the interpreter's lock
_TEXT_BYTES: Final = 3 << 10
_CHARACTER_BYTES_MAX: Final = 4

_TEXT_TYPE: Final = re.compile(
    r"text/|application/(?:[\w.-]+\+)?(?:json|xml|yaml|toml|csv|sql)\b"
    r"|application/(?:x-)?(?:javascript|typescript|ecmascript|yaml|ndjson|sh|python|httpd-php)\b"
    r"|image/svg\+xml"
)

_MAGIC: Final = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP", IMAGE),
        (rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", IMAGE),
        (rb".{4}ftyp(?:avif|avis|heic|heix|mif1|msf1)", IMAGE),
        (rb"%PDF-", PDF),
        (rb"RIFF.{4}WAVE|ID3[\x02-\x04]|OggS|fLaC", AUDIO),
        (rb".{4}ftyp|\x1a\x45\xdf\xa3", VIDEO),
        (rb"PK\x03\x04|\x1f\x8b\x08|\xd0\xcf\x11\xe0", OTHER),
    )
)


def decoded(text: bytes) -> bytes | None:
    """Decode base64 of either alphabet, padded or not, truncated or not; None for anything else."""
    text = text[: len(text) - text.endswith(b"=") - text.endswith(b"==")]
    is_truncated = len(text) % 4 == 1  # the last six bits are not a byte
    text += b"A" * is_truncated
    pieces = []
    for at in range(0, len(text), _STEP_BYTES):
        piece = text[at : at + _STEP_BYTES].translate(_URL_SAFE)
        try:
            pieces.append(binascii.a2b_base64(piece + b"=" * (-len(piece) % 4), strict_mode=True))
        except binascii.Error:
            return None
    return b"".join(pieces)[: -1 if is_truncated else None]


def kind_of(media_type: str, label: str) -> str:
    """
    Return the kind of a medium, by its media type or else by its *label*.

    The label is everything else that names it: the type of its part, and its key.
    """
    if _TEXT_TYPE.match(media_type):
        return TEXT
    if media_type == "application/pdf":
        return PDF
    major = media_type.partition("/")[0]
    if major in (IMAGE, AUDIO, VIDEO):
        return major
    words = label.replace("screenshot", IMAGE)
    return next((kind for kind in (IMAGE, AUDIO, VIDEO) if kind in words), OTHER)


def kind_of_data(data: bytes) -> str | None:
    """Return the kind of a medium by its first bytes; None if they don't tell."""
    return next((kind for magic, kind in _MAGIC if magic.match(data)), None)


def begins_as_text(data: bytes) -> bool:
    """Return whether the first few thousand bytes of *data* can be UTF-8 text."""
    head = data[:_TEXT_BYTES]
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The last character may be incomplete.
        return len(data) > len(head) and error.start > len(head) - _CHARACTER_BYTES_MAX
    return True


def unread_tokens(kind: str) -> int:
    """Return the cost of a medium elsewhere: behind a URL, or a file of a provider."""
    if kind == IMAGE:
        return IMAGE_TOKENS
    return RECORDINGS[kind].unread_tokens if kind in RECORDINGS else FILE_TOKENS


def tokens_of(data: bytes, kind: str, counter: TokenCounter) -> int:
    """Return the cost of *data* as a medium of this *kind*."""
    if kind == IMAGE:
        return tokens_of_image(data)
    if kind == PDF:
        return tokens_of_pdf(data)
    if kind == TEXT:
        return counter.count(data.decode(errors="replace"))
    if kind in RECORDINGS:
        return _tokens_of_recording(data, RECORDINGS[kind])
    return FILE_TOKENS


def _tokens_of_recording(data: bytes, recording: Recording) -> int:
    bytes_per_second = recording.bytes_per_second
    if data[:4] == b"RIFF" and data[8:16] == b"WAVEfmt ":
        claimed = int.from_bytes(data[28:32], "little")
        bytes_per_second = max(claimed, _WAV_BYTES_PER_SECOND_MIN)
    return -(-len(data) * recording.tokens_per_second // bytes_per_second)
