"""
Taking the binary data out of a part, and counting it by what it is.

Providers and SDKs have a dozen shapes for an image or a file, at the top of a part and inside of
the results of tools, and the next release has another. So this is no list of shapes; it goes by
what a string is and by what stands beside it:

- A `data:…;base64,…` URL is binary data, wherever it stands.
- A string in base64 is binary data if its object names a media type, or if it stands under a key
  that is used for data and either begins as files do or belongs to something that is called an
  image, a file, an audio or a video.
- Signatures and encrypted reasoning are in base64 too and are no media. They count as text: some
  providers bill the thoughts in them and some bill nothing, and none says how much.
- Nor is what stands in a `text`, whatever it looks like: the model is given it as text.

A medium that is only referred to, by a URL or by the id of a file, is found by the type of its
object and by the reference itself. The type alone does not do below the top of a part: a list of
files in the result of a tool has such types too.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from fastpaca.tokens.counter import TokenCounter
from fastpaca.tokens.medium import (
    OTHER,
    TEXT,
    Base64,
    kind_of,
    kind_of_data,
    tokens_of,
    unread_tokens,
)
from fastpaca.tokens.scan import DATA_KEYS, LONG_BYTES, Object, Text, may_have_media, objects

# What these keys hold is no medium, however much it looks like one.
_NO_MEDIUM: Final = re.compile(rb"text|signature|encrypted|redacted|cipher|id$", re.IGNORECASE)

# Types that say by themselves that an object stands for a medium.
_MEDIA_TYPES: Final = frozenset(
    {
        *("image_url", "input_image", "input_audio", "input_file", "input_video", "image_file"),
        *("audio_url", "video_url", "file_url", "computer_screenshot"),
        *("image-url", "image-data", "image-file-id", "file-url", "file-data", "file-id"),
    }
)
# Types that say so at the top of a part; below it they have other uses.
_PERCEIVED_TYPES: Final = frozenset({"image", "audio", "video"})
_AMBIGUOUS_TYPES: Final = _PERCEIVED_TYPES | {"file", "document", "media"}

# The keys under which an object keeps the reference to the medium that it stands for.
_HOLDERS: Final = frozenset(
    {
        *(b"source", b"data", b"file", b"image", b"audio", b"video", b"image_url", b"imageUrl"),
        *(b"image_file", b"input_file", b"audio_url", b"video_url"),
    }
)
# Gemini's, whose objects have no type.
_TYPELESS_HOLDERS: Final = frozenset({b"fileData", b"file_data"})

_DATA_URL: Final = re.compile(rb'data:([\w.+/\\-]{0,100})(?:;[^;,"\\]{0,100}){0,8};base64,')
_FILE_LABEL: Final = re.compile(r"image|screenshot|audio|video|(?:^|[ _])(?:file|document|media)")
_NOT_BASE64: Final = re.compile(rb"[^\w+/=\\-]|\\[^/nrtu]")
_WHITE_SPACE: Final = b" \t\r\n"


class Found(NamedTuple):
    """A part without its binary data, and what that data and the references in it cost."""

    text: bytes
    tokens: int


def without_media(part: bytes, counter: TokenCounter) -> Found:
    """
    Take the binary data out of *part*, and count it by what it is.

    What is left is JSON, with an empty string in place of each piece of data.
    """
    if not may_have_media(part):
        return Found(part, 0)
    cuts: list[Text] = []
    tokens = 0
    for closed, outer in objects(part):
        for text in closed.texts:
            medium = _medium(part, closed, text)
            if medium is not None:
                tokens += tokens_of(*medium, counter)
                cuts.append(text)
                closed.is_settled = True
        if not closed.is_settled and _is_reference(closed, outer):
            tokens += unread_tokens(kind_of(closed.media_type, closed.label()))
            closed.is_settled = True
        if outer is not None:
            outer.is_settled |= closed.is_settled
            outer.is_held |= closed.refers and closed.key in _HOLDERS
    return Found(_without(part, cuts), tokens)


def _without(part: bytes, cuts: list[Text]) -> bytes:
    pieces = []
    at = 0
    for cut in sorted(cuts, key=lambda text: text.start):
        pieces.append(part[at : cut.start])
        at = cut.end
    pieces.append(part[at:])
    return b"".join(pieces)


def _is_reference(closed: Object, outer: Object | None) -> bool:
    """Tell whether an object without data stands for a medium that is elsewhere."""
    if closed.kind in _MEDIA_TYPES:
        return closed.refers or closed.is_held or outer is None
    if closed.kind in _AMBIGUOUS_TYPES:
        if closed.refers and (closed.media_type or outer is None):
            return True
        return closed.is_held or (outer is None and closed.kind in _PERCEIVED_TYPES)
    return closed.refers and closed.key in _TYPELESS_HOLDERS


def _medium(part: bytes, holder: Object, text: Text) -> tuple[Base64, str] | None:
    """Give the data in a string of *holder* and its kind; None if it is no medium."""
    if _NO_MEDIUM.search(text.key):
        return None
    if part.startswith(b"data:", text.start):
        return _medium_of_url(part, holder, text)
    is_for_data, is_long = text.key in DATA_KEYS, text.end - text.start >= LONG_BYTES
    if holder.media_type:
        return _medium_of_type(part, holder, text) if is_for_data or is_long else None
    return _medium_of_name(part, holder, text) if is_for_data and is_long else None


def _medium_of_url(part: bytes, holder: Object, text: Text) -> tuple[Base64, str] | None:
    url = _DATA_URL.match(part, text.start, text.end)
    if url is None:
        return None  # percent-encoded, most of all drawings in SVG: text
    media_type = url[1].decode().replace("\\", "").lower() or holder.media_type
    data = _data(part, url.end(), text.end)
    return data, _kind(media_type, holder.label(text.key), data)


def _medium_of_type(part: bytes, holder: Object, text: Text) -> tuple[Base64, str] | None:
    """Read a string that stands beside a media type."""
    data = _data_if_any(part, text)
    # A text document may be given as text. It then has a media type as well.
    if data is None or holder.kind == "text":
        return None
    kind = _kind(holder.media_type, holder.label(text.key), data)
    return None if kind == TEXT and not data.begins_as_text() else (data, kind)


def _medium_of_name(part: bytes, holder: Object, text: Text) -> tuple[Base64, str] | None:
    """Read a long string under a key for data, of which nothing says the media type."""
    data = _data_if_any(part, text)
    if data is None:
        return None
    label = holder.label(text.key)
    kind = kind_of_data(data) or (kind_of("", label) if _FILE_LABEL.search(label) else None)
    return None if kind is None else (data, kind)


def _kind(media_type: str, label: str, data: Base64) -> str:
    kind = kind_of(media_type, label)
    return kind_of_data(data) or kind if kind == OTHER else kind


def _data_if_any(part: bytes, text: Text) -> Base64 | None:
    # Prose is found out by its beginning, without a look at the rest.
    if _NOT_BASE64.search(part, text.start, min(text.start + LONG_BYTES, text.end)):
        return None
    data = _data(part, text.start, text.end)
    return data if data.is_plausible() else None


def _data(part: bytes, start: int, end: int) -> Base64:
    """Give access to data, rid of the escapes and line breaks that some encoders put into it."""
    if part.find(b"\\", start, end) < 0:
        return Base64(part, start, end)
    clean: str = msgspec.json.decode(b'"%b"' % part[start:end], type=str)
    encoded = clean.encode().translate(None, _WHITE_SPACE)
    return Base64(encoded, 0, len(encoded))
