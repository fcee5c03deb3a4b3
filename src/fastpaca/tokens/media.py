"""
Taking binary data out of a part, and counting it by what it is.

Providers and SDKs have a dozen shapes for an image or a file, at the top of a part and inside the
results of tools, and the next release has another. So this is no list of shapes; it goes by what a
string is and by what stands next to it:

- A `data:…;base64,…` URL is binary data, wherever it stands.
- A string in base64 is binary data if its object names a media type, or if it stands under a key
  for data and either begins as files do or belongs to something called an image, a file, an audio
  or a video.
- Signatures and encrypted reasoning are base64 too, and no media.
- Nor is what stands in a `text`, whatever it looks like: the model gets it as text.

A medium that is only referred to, by a URL or the id of a file, is found by the type of its object
and by the reference. Below the top of a part the type alone is not enough: a list of files in the
result of a tool has such types too.

Whatever may be data is taken out first; what is left is then small enough to decode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from fastpaca.tokens.counter import TokenCounter
from fastpaca.tokens.medium import (
    OTHER,
    TEXT,
    begins_as_text,
    decoded,
    kind_of,
    kind_of_data,
    tokens_of,
    unread_tokens,
)
from fastpaca.tokens.scan import is_found, strings, without

LONG_BYTES: Final = 256
"""Strings from this length on may be data whatever key they stand under."""

VALUES_MAX: Final = 20_000
"""In a part of more values, strings are judged by themselves: decoding it would take too long."""

# fmt: off
MEDIA_TYPE_KEYS: Final = frozenset({
    "media_type", "mediaType", "mime_type", "mimeType", "content_type", "contentType",
})
DATA_KEYS: Final = frozenset({
    "data", "bytes", "blob", "base64", "b64", "b64_json", "result", "screenshot", "image",
    "image_data", "imageData", "image_base64", "partial_image_b64", "file_data", "fileData",
    "audio", "audio_data", "audioData", "video",
})
REFERENCE_KEYS: Final = frozenset({
    "url", "uri", "file_id", "fileId", "file_url", "fileUrl", "file_uri", "fileUri", "image_url",
    "imageUrl", "audio_url", "video_url",
})

# Types that say by themselves that an object stands for a medium; those that say so at the top of a
# part, and below it have other uses; and those that say it together with a reference.
MEDIA_TYPES: Final = frozenset({
    "image_url", "input_image", "input_audio", "input_file", "input_video", "image_file",
    "audio_url", "video_url", "file_url", "computer_screenshot", "image-url", "image-data",
    "image-file-id", "file-url", "file-data", "file-id",
})
_PERCEIVED_TYPES: Final = frozenset({"image", "audio", "video"})
_AMBIGUOUS_TYPES: Final = _PERCEIVED_TYPES | {"file", "document", "media"}

# Keys under which an object keeps the reference to its medium; and Gemini's, whose objects have no
# type.
_HOLDERS: Final = frozenset({
    "source", "data", "file", "image", "audio", "video", "image_url", "imageUrl", "image_file",
    "input_file", "audio_url", "video_url",
})
_TYPELESS_HOLDERS: Final = frozenset({"fileData", "file_data"})
# fmt: on

# What these keys hold is no medium, however much it looks like one.
_NO_MEDIUM: Final = re.compile(r"text|signature|encrypted|redacted|cipher|id$", re.IGNORECASE)
_FILE_LABEL: Final = re.compile(r"image|screenshot|audio|video|(?:^|[ _])(?:file|document|media)")


def _any_of(words: frozenset[str]) -> bytes:
    return "|".join(sorted(words)).encode()


# What follows a quote where a string may be data, or an object may refer to some. Quotes inside a
# string are escaped, so nothing there is found.
_DATA: Final = rb'(?:%b)":"(?=[\w+/=\\-])|(?<!\\")(?=data:|[\w+/=\\-]{%d})' % (
    _any_of(DATA_KEYS),
    LONG_BYTES,
)
_REFERENCE: Final = rb'type":"\s*(?i:%b)|(?:%b)":\{' % (
    _any_of(MEDIA_TYPES | _AMBIGUOUS_TYPES),
    _any_of(_TYPELESS_HOLDERS),
)
_MAY_BE_DATA: Final = re.compile(b'"(?:%b)' % _DATA)
_MAY_BE_EITHER: Final = re.compile(b'"(?:%b|%b)' % (_DATA, _REFERENCE))
_DATA_URL: Final = re.compile(rb'data:([\w.+/\\-]{0,100})(?:;[^;,"\\]{0,100}){0,8};base64,')
_LINE_BREAKS: Final = b"\t\r\n"

Span = tuple[int, int]


class Found(NamedTuple):
    """A part without its binary data, and what that data and the references in it cost."""

    text: bytes
    tokens: int


def without_media(part: bytes, counter: TokenCounter) -> Found:
    """
    Take the binary data out of *part*, and count it by what it is.

    What is left is JSON, with an empty string in place of each piece of data.
    """
    if not is_found(_MAY_BE_EITHER, part):
        return Found(part, 0)
    spans = [
        (start, end)
        for start, end in strings(_MAY_BE_DATA, part)
        if part[end + 1 : end + 2] != b":"  # it is no key
    ]
    reader = _Reader(part, spans, counter)
    tree = _tree(without(part, spans, marked=True))
    if tree is not None:
        reader.look(tree, "", is_top=True)
    else:
        for span in spans:
            reader.take(span, "data", _Holder())
    return Found(without(part, sorted(reader.cuts)), reader.tokens)


def _tree(text: bytes) -> dict[str, Any] | None:
    """Decode *text*, unless that would take long, or holds a number that Python does not read."""
    if text.count(b",") + text.count(b"{") + text.count(b"[") > VALUES_MAX:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError):
        return None


class _Reader:
    """
    Finds the media of one part, of which *spans* may be data and have marks in their places.

    Attributes:
        cuts: The data.
        tokens: What it costs, and what references cost.
    """

    def __init__(self, part: bytes, spans: Iterable[Span], counter: TokenCounter) -> None:
        self._part = part
        self._spans = {f"\0{number}": span for number, span in enumerate(spans)}
        self._counter = counter
        self.cuts: list[Span] = []
        self.tokens = 0

    def look(self, members: dict[str, Any], key: str, *, is_top: bool = False) -> tuple[bool, bool]:
        """
        Find the media in an object that stands under *key*.

        Returns:
            Whether there are any, and whether it holds a reference itself.
        """
        holder = _holder(members, key)
        has_media = refers = is_held = False
        for name, value in _flat(members):
            if isinstance(value, dict):
                inner_has_media, inner_refers = self.look(value, name)
                has_media |= inner_has_media
                is_held |= inner_refers and name in _HOLDERS
            elif isinstance(value, str) and name != "type" and name not in MEDIA_TYPE_KEYS:
                span = self._spans.get(value)
                if span is None:
                    refers |= _refers(name, value.encode())
                else:
                    refers |= _refers(name, self._part[span[0] : span[0] + 5])
                    has_media |= self.take(span, name, holder)
        if not has_media and holder.stands_for_medium(refers, is_held, is_top):
            self.tokens += unread_tokens(kind_of(holder.media_type, holder.label()))
            has_media = True
        return has_media, refers

    def take(self, span: Span, key: str, holder: _Holder) -> bool:
        """Count the string under *key* in *holder* if it is a medium, and tell whether it is."""
        start, end = span
        media_type, label = holder.media_type, holder.label(key)
        is_long = end - start >= LONG_BYTES
        url = _DATA_URL.match(self._part, start, end)
        if _NO_MEDIUM.search(key):
            return False
        if url is not None:
            start = url.end()
            media_type = url[1].decode().replace("\\", "").lower() or media_type
        elif holder.kind == TEXT or (key in DATA_KEYS) + is_long + bool(media_type) < 2:
            return False
        data = self._decoded(start, end)
        kind: str | None = kind_of(media_type, label)
        if url is None and (not data or (kind == TEXT and not begins_as_text(data))):
            return False
        if kind == OTHER or not media_type:
            is_named = url is not None or media_type or _FILE_LABEL.search(label)
            kind = kind_of_data(data or b"") or (kind if is_named else None)
        if kind is None:
            return False
        self.tokens += tokens_of(data or b"", kind, self._counter)
        self.cuts.append(span)
        return True

    def _decoded(self, start: int, end: int) -> bytes | None:
        """Decode data, rid of the escapes and line breaks that some encoders put into it."""
        text = self._part[start:end]
        if b"\\" in text:
            clean: str = msgspec.json.decode(b'"%b"' % text, type=str)
            text = clean.encode().translate(None, _LINE_BREAKS)
        return decoded(text)


class _Holder(NamedTuple):
    """An object, as far as it says what a string in it is: its key, type and media type."""

    key: str = ""
    kind: str = ""
    media_type: str = ""

    def label(self, key: str = "") -> str:
        """Put together all that names what stands in it under *key*."""
        return f"{self.kind} {self.key} {key}".lower()

    def stands_for_medium(self, refers: bool, is_held: bool, is_top: bool) -> bool:
        """Tell whether it stands for a medium that is elsewhere, as it has no data."""
        if self.kind in MEDIA_TYPES:
            return refers or is_held or is_top
        if self.kind in _AMBIGUOUS_TYPES:
            is_perceived = is_top and self.kind in _PERCEIVED_TYPES
            return is_held or is_perceived or (refers and (is_top or bool(self.media_type)))
        return refers and self.key in _TYPELESS_HOLDERS


def _holder(members: dict[str, Any], key: str) -> _Holder:
    media_types = (_name(members[name]) for name in members if name in MEDIA_TYPE_KEYS)
    return _Holder(key, _name(members.get("type")), next(filter(None, media_types), ""))


def _name(value: object) -> str:
    """Read a type without its parameters."""
    return value.partition(";")[0].strip().lower() if isinstance(value, str) else ""


def _refers(key: str, text: bytes) -> bool:
    if key in REFERENCE_KEYS:
        return text != b"" and not text.startswith(b"data:")
    return key in DATA_KEYS and text.startswith(b"http")


def _flat(members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object, and what stands in its lists, which has no key."""
    for name, value in members.items():
        if not isinstance(value, list):
            yield name, value
            continue
        items = value[::-1]
        while items:
            item = items.pop()
            if isinstance(item, list):
                items += item[::-1]
            else:
                yield "", item
