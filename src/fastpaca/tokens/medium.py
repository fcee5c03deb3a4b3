"""What a piece of binary data is and costs: an image, a document, sound, film, another file."""

from __future__ import annotations

import binascii
import re
from typing import Final, NamedTuple

from fastpaca.tokens.counter import TokenCounter
from fastpaca.tokens.image import IMAGE_TOKENS, tokens_of_image
from fastpaca.tokens.pdf import PAGE_TOKENS, tokens_of_pdf

IMAGE, AUDIO, VIDEO, PDF, TEXT, OTHER = "image", "audio", "video", "pdf", "text", "other"

FILE_TOKENS: Final = PAGE_TOKENS
"""What a file costs that cannot be read, or that only a URL or an id names: as much as a page."""


class Recording(NamedTuple):
    """Sound or film: tokens and bytes that a second takes, and what an unread one costs."""

    tokens_per_second: int
    bytes_per_second: int
    unread_tokens: int


# Gemini's "Understand and count tokens": 32 tokens a second of audio, 263 of video. The bytes are
# those of usual recordings, 64 kbit/s and 1 Mbit/s; an unread one is taken to last a minute.
RECORDINGS: Final = {
    AUDIO: Recording(32, 8_000, 32 * 60),
    VIDEO: Recording(263, 125_000, 263 * 60),
}

_WAV_BYTES_PER_SECOND_MIN: Final = 1_000  # a header that claims less is broken, or a trap

_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_STEP_BYTES: Final = 1 << 18  # what is decoded at once; it holds the interpreter's lock
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
    """Decode base64 in either alphabet, padded or not, cut off or not; None if it is none."""
    text = text[: len(text) - text.endswith(b"=") - text.endswith(b"==")]
    is_cut_off = len(text) % 4 == 1  # the last six bits are no byte
    text += b"A" * is_cut_off
    pieces = []
    for at in range(0, len(text), _STEP_BYTES):
        piece = text[at : at + _STEP_BYTES].translate(_URL_SAFE)
        try:
            pieces.append(binascii.a2b_base64(piece + b"=" * (-len(piece) % 4), strict_mode=True))
        except binascii.Error:
            return None
    return b"".join(pieces)[: -1 if is_cut_off else None]


def kind_of(media_type: str, label: str) -> str:
    """
    Tell the kind of a medium by its media type, or else by its *label*.

    The label is what else names it: the type of the part, the key that it stands under.
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
    """Tell the kind of a medium by how its data begins; None if that says nothing."""
    return next((kind for magic, kind in _MAGIC if magic.match(data)), None)


def begins_as_text(data: bytes) -> bool:
    """Tell whether *data* can be a text in UTF-8, by its first few thousand bytes."""
    head = data[:_TEXT_BYTES]
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut in two at the end.
        return len(data) > len(head) and error.start > len(head) - _CHARACTER_BYTES_MAX
    return True


def unread_tokens(kind: str) -> int:
    """Return what a medium costs that is not there: a remote one, or one of a provider's files."""
    if kind == IMAGE:
        return IMAGE_TOKENS
    return RECORDINGS[kind].unread_tokens if kind in RECORDINGS else FILE_TOKENS


def tokens_of(data: bytes, kind: str, counter: TokenCounter) -> int:
    """Count what *data* costs, given as a medium of this *kind*."""
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
