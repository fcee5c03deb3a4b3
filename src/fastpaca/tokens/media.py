"""
Find the binary data in a part, and count it by its kind.

Providers and SDKs have a dozen shapes for images and files, at the top of a part and inside tool
results, and each release adds more. This module therefore has no list of shapes. It looks at a
string and at what is next to it:

- A `data:…;base64,…` URL is binary data, wherever it is.
- A base64 string is binary data if its object names a media type. It is, too, if it is under a key
  for data and either begins like a file or belongs to something called an image, a file, an audio
  or a video.
- Signatures and encrypted reasoning are base64 too, but not media.
- Neither is anything in a `text`, even if it looks like it: the model gets it as text.

A medium that is only referenced, by a URL or a file id, is recognised by the type of its object and
by the reference. Below the top of a part the type alone is not enough, because a list of files in a
tool result has such types too.

Everything that may be data is cut out first; the rest is then small enough to decode.
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
from fastpaca.tokens.scan import has_match, strings, without

LONG_BYTES: Final = 256
"""A string of this length may be data, whichever key it is under."""

VALUES_MAX: Final = 20_000
"""A part with more values would take too long to decode; its strings are judged one by one."""

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

# Types of objects that always stand for a medium; types that do at the top of a part, and have
# other uses below it; and types that do together with a reference.
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

# The values of these keys are never media, even if they look like it.
_NOT_MEDIA: Final = re.compile(r"text|signature|encrypted|redacted|cipher|id$", re.IGNORECASE)
_FILE_LABEL: Final = re.compile(r"image|screenshot|audio|video|(?:^|[ _])(?:file|document|media)")


def _any_of(words: frozenset[str]) -> bytes:
    return "|".join(sorted(words)).encode()


# What follows a quote where a string may be data, or an object may reference it. Quotes inside a
# string are escaped, so there is no match inside strings.
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


class StrippedPart(NamedTuple):
    """A part without its binary data, and the tokens of that data and of references to media."""

    text: bytes
    tokens: int


def without_media(part: bytes, counter: TokenCounter) -> StrippedPart:
    """
    Cut the binary data out of *part*, and count it by its kind.

    The rest is JSON, with an empty string in place of each piece of data.
    """
    if not has_match(_MAY_BE_EITHER, part):
        return StrippedPart(part, 0)
    spans = [
        (start, end)
        for start, end in strings(_MAY_BE_DATA, part)
        if part[end + 1 : end + 2] != b":"  # it is not a key
    ]
    reader = _Reader(part, spans, counter)
    tree = _tree(without(part, spans, placeholders=True))
    if tree is not None:
        reader.look(tree, "", is_top=True)
    else:
        for span in spans:
            reader.take(span, "data", _Holder())
    return StrippedPart(without(part, sorted(reader.cuts)), reader.tokens)


def _tree(text: bytes) -> dict[str, Any] | None:
    """
    Decode *text*; return None if that would take long, or if Python can't read a number in it.
    """
    if text.count(b",") + text.count(b"{") + text.count(b"[") > VALUES_MAX:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError):
        return None


class _Reader:
    """
    Finds the media of one part, in which *spans* may be data and are replaced by placeholders.

    Attributes:
        cuts: The spans that are data.
        tokens: The tokens of the data and of references.
    """

    def __init__(self, part: bytes, spans: Iterable[Span], counter: TokenCounter) -> None:
        self._part = part
        self._spans = {f"\0{number}": span for number, span in enumerate(spans)}
        self._counter = counter
        self.cuts: list[Span] = []
        self.tokens = 0

    def look(self, members: dict[str, Any], key: str, *, is_top: bool = False) -> tuple[bool, bool]:
        """
        Find the media in an object under *key*.

        Returns:
            Whether there are any, and whether the object itself holds a reference.
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
        """Count the string under *key* in *holder* if it is a medium, and return whether it is."""
        start, end = span
        media_type, label = holder.media_type, holder.label(key)
        is_long = end - start >= LONG_BYTES
        url = _DATA_URL.match(self._part, start, end)
        if _NOT_MEDIA.search(key):
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
        """Decode data without the escapes and line breaks that some encoders add."""
        text = self._part[start:end]
        if b"\\" in text:
            clean: str = msgspec.json.decode(b'"%b"' % text, type=str)
            text = clean.encode().translate(None, _LINE_BREAKS)
        return decoded(text)


class _Holder(NamedTuple):
    """What an object says about the strings in it: its key, type and media type."""

    key: str = ""
    kind: str = ""
    media_type: str = ""

    def label(self, key: str = "") -> str:
        """Return everything that names the value under *key*."""
        return f"{self.kind} {self.key} {key}".lower()

    def stands_for_medium(self, refers: bool, is_held: bool, is_top: bool) -> bool:
        """Return whether it stands for a medium that is elsewhere; it holds no data itself."""
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
    """Return a type without its parameters."""
    return value.partition(";")[0].strip().lower() if isinstance(value, str) else ""


def _refers(key: str, text: bytes) -> bool:
    if key in REFERENCE_KEYS:
        return text != b"" and not text.startswith(b"data:")
    return key in DATA_KEYS and text.startswith(b"http")


def _flat(members: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object, and the items of its lists, which have no key."""
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
