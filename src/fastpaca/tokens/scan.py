"""
The objects in a part that may stand for a medium, found without decoding the part.

A part may be 16 MiB of JSON. To decode that into objects takes many times its size in memory and
holds the interpreter's lock for longer than the event loop may be kept waiting. So the text is
scanned, once, from the beginning to the end. A regular expression skips the strings and numbers
that cannot matter; what is left to do in Python are braces, the keys that matter, and long strings.

The text is minified and valid; both were seen to when it came in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

LONG_BYTES: Final = 256
"""Strings from this length on are noted whatever key they stand under."""

MEDIA_TYPE_KEYS: Final = frozenset(
    {b"media_type", b"mediaType", b"mime_type", b"mimeType", b"content_type", b"contentType"}
)
DATA_KEYS: Final = frozenset(
    {
        *(b"data", b"bytes", b"blob", b"base64", b"b64", b"b64_json", b"result", b"screenshot"),
        *(b"image", b"image_data", b"imageData", b"image_base64", b"partial_image_b64"),
        *(b"file_data", b"fileData", b"audio", b"audio_data", b"audioData", b"video"),
    }
)
REFERENCE_KEYS: Final = frozenset(
    {
        *(b"url", b"uri", b"file_id", b"fileId", b"file_url", b"fileUrl", b"file_uri", b"fileUri"),
        *(b"image_url", b"imageUrl", b"audio_url", b"video_url"),
    }
)
_WATCHED: Final = frozenset({b"type"}) | MEDIA_TYPE_KEYS | DATA_KEYS | REFERENCE_KEYS

# What a medium cannot do without: a data URL, a media type, a type or a key of media, or a long
# string in base64 under a key for data. A quick look for these spares most parts the scan.
_HINT: Final = re.compile(
    rb'"(?:data:|media|mime|content_?[tT]ype"|image|audio|video|input_|document"|computer_screen'
    rb'|file(?:["-]|_?(?:[dD]ata|[iI]d|[uU]r[il])")'
    rb'|(?:data|bytes|blob|base64|b64|b64_json|result|screenshot|partial_image_b64)":"[\w+/=\\-]{64})'
)
_HINT_BYTES: Final = 128

# All that cannot matter: but for braces, watched keys, data URLs and long strings, and with objects
# that have none of these inside. The repetitions have limits, since a match holds the interpreter's
# lock; they are possessive, since going back would find nothing else.
_PLAIN: Final = (
    rb'(?:[^"{}]{1,4096}+|"(?!(?:%b)":|data:)[^"\\]{0,%d}+(?:\\.[^"\\]{0,%d}+){0,8}+")'
    % (b"|".join(sorted(_WATCHED)), LONG_BYTES - 1, LONG_BYTES - 1)
)
_SKIPPED: Final = re.compile(rb"(?:%b|\{%b{0,64}+\}){0,64}+" % (_PLAIN, _PLAIN))
_STRETCH: Final = re.compile(rb'(?:[^"\\]{1,4096}+|\\.){0,64}+')
_STEP_BYTES: Final = 1 << 16
_NAME_BYTES_MAX: Final = 64

_QUOTE, _COLON, _OPEN, _CLOSE, _BACKSLASH = b'":{}\\'


class Text(NamedTuple):
    """A string in the part: its key (empty in a list), and where it begins and ends."""

    key: bytes
    start: int
    end: int


class Object:
    """
    An object in the part, by what may matter of it.

    Attributes:
        key: The key that it stands under; empty in a list and at the top.
        kind: Its `type`.
        media_type: Its media type, without parameters.
        texts: Its long strings, its data URLs, and its strings under keys for data.
        refers: Whether a URL or the id of a file stands in it.
        is_held: Whether an object inside of it keeps such a reference for it. The reader's note.
        is_settled: Whether a medium in it was counted. The reader's note.
    """

    __slots__ = ("is_held", "is_settled", "key", "kind", "media_type", "refers", "texts")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.kind = ""
        self.media_type = ""
        self.texts: list[Text] = []
        self.refers = False
        self.is_held = False
        self.is_settled = False

    def label(self, key: bytes = b"") -> str:
        """Put together all that names what stands in it under *key*."""
        return f"{self.kind} {_readable(self.key)} {_readable(key)}"


def may_have_media(part: bytes) -> bool:
    """Tell quickly whether a scan can find anything at all in *part*."""
    if len(part) <= _STEP_BYTES:
        return _HINT.search(part) is not None
    steps = range(0, len(part), _STEP_BYTES)
    return any(_HINT.search(part, at, at + _STEP_BYTES + _HINT_BYTES) for at in steps)


def objects(part: bytes) -> Iterator[tuple[Object, Object | None]]:
    """
    Give the objects in *part* as they end, so inner ones before outer ones.

    With each comes the object around it, which is None for the part itself.
    """
    opened: list[Object] = []
    at = 0
    while (at := _end_of(_SKIPPED, part, at)) < len(part):
        char = part[at]
        if char == _QUOTE:
            text, at = _text(part, at + 1)
            if text is not None:
                _note(opened[-1], text, part)
        elif char == _OPEN:
            opened.append(Object(_key_before(part, at)))
            at += 1
        elif char == _CLOSE:
            closed = opened.pop()
            yield closed, opened[-1] if opened else None
            at += 1


def _text(part: bytes, start: int) -> tuple[Text | None, int]:
    """
    Read the string that begins at *start*, or if it is a watched key, the string that follows.

    Returns:
        What was read, None for a key that does not matter, and where to go on.
    """
    end = _end_of_string(part, start)
    if part[end + 1] != _COLON:
        return Text(_key_before(part, start - 1), start, end), end + 1
    key = part[start:end]
    if key not in _WATCHED or part[end + 2] != _QUOTE:
        return None, end + 2
    start = end + 3
    end = _end_of_string(part, start)
    return Text(key, start, end), end + 1


def _note(holder: Object, text: Text, part: bytes) -> None:
    key, start, end = text
    if key == b"type":
        holder.kind = _name(part, text)
    elif key in MEDIA_TYPE_KEYS:
        holder.media_type = _name(part, text)
    else:
        is_data_url = part.startswith(b"data:", start)
        if key in DATA_KEYS or is_data_url or end - start >= LONG_BYTES:
            holder.texts.append(text)
        if key in REFERENCE_KEYS or (key in DATA_KEYS and part.startswith(b"http", start)):
            holder.refers |= end > start and not is_data_url


def _name(part: bytes, text: Text) -> str:
    """Read a type without its parameters. None that is known is long."""
    name = part[text.start : min(text.end, text.start + _NAME_BYTES_MAX)]
    return _readable(name).partition(";")[0].strip()


def _readable(name: bytes) -> str:
    return name.decode(errors="replace").lower()


def _key_before(part: bytes, at: int) -> bytes:
    """Read the key of the value that begins at *at*; empty if it has none, or a very long one."""
    if part[at - 1] != _COLON:
        return b""
    end = at - 2
    start = part.rfind(b'"', max(end - _NAME_BYTES_MAX, 0), end)
    return part[start + 1 : end] if start >= 0 else b""


def _end_of_string(part: bytes, start: int) -> int:
    """Find the quote that ends the string whose first character is at *start*."""
    end = part.find(b'"', start)
    if part[end - 1] != _BACKSLASH:
        return end
    end = start
    while part[end := _end_of(_STRETCH, part, end)] != _QUOTE:
        pass
    return end


def _end_of(pattern: re.Pattern[bytes], part: bytes, at: int) -> int:
    match = pattern.match(part, at)
    assert match is not None, "these patterns match the empty string as well"
    return match.end()
