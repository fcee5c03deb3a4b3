"""
Images, recordings, videos and files, as every provider writes them.

`read` knows a form by the key that holds what it is about; `of_url` and `data_url` go between the
URLs that some providers want and the data and media types that others do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastpaca.formats.items import MediaItem, Part

_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^;,]+)*;base64,(.*)", re.DOTALL)

_KINDS: Final = ("image", "audio", "video")

FORMATS: Final = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/opus",
    "ogg": "audio/ogg",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "flv": "video/x-flv",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "wmv": "video/x-ms-wmv",
    "three_gp": "video/3gpp",
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
}
"""Names of formats, as Bedrock and OpenAI have them, and their MIME types."""

_NAMES: Final = {media_type: name for name, media_type in FORMATS.items()} | {
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
}


def format_name(media_type: str) -> str:
    """Return the short name of a MIME type, such as `png`; empty if it has none."""
    return _NAMES.get(media_type, "")


def kind_of(media_type: str) -> str:
    """Return whether a MIME type is that of an `image`, `audio`, a `video` or a `file`."""
    kind = media_type.partition("/")[0]
    return kind if kind in _KINDS else "file"


def data_url(media: MediaItem) -> str:
    """Return the data of *media* as a URL; empty if it has none."""
    media_type = media.media_type or "application/octet-stream"
    return f"data:{media_type};base64,{media.data}" if media.data else ""


def of_url(at: int, part: Part, url: str, media_type: str = "", kind: str = "") -> MediaItem:
    """Make media of a *url*, which may hold the data itself."""
    match = _DATA_URL.fullmatch(url)
    if match is not None:
        media_type = match[1] or media_type
        kind = kind or kind_of(media_type)
        return MediaItem(at=at, part=part, kind=kind, media_type=media_type, data=match[2])
    kind = kind or kind_of(media_type)
    return MediaItem(at=at, part=part, kind=kind, media_type=media_type, url=url)


def read(at: int, part: Part) -> MediaItem | None:
    """Read a *part* of the message at index *at*; None if it is in none of the known forms."""
    for key, reader in _READERS.items():
        held = part.get(key)
        if held is not None and (item := reader(at, part, held)) is not None:
            return item
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _source(at: int, part: Part, held: Any) -> MediaItem | None:
    """Anthropic: `{"type": "base64" | "url" | "file" | "text", …}` under `source`."""
    if not isinstance(held, dict):
        return None
    media_type = _text(held.get("media_type"))
    kind = "image" if part["type"] == "image" else "file"
    media = MediaItem(
        at=at, part=part, kind=kind, media_type=media_type, name=_text(part.get("title"))
    )
    way = held.get("type")
    if way == "base64":
        media.data = _text(held.get("data"))
    elif way == "url":
        media.url = _text(held.get("url"))
        media.media_type = media_type or ("application/pdf" if kind == "file" else "")
    elif way == "file":
        media.file_id = _text(held.get("file_id"))
    elif way == "text":
        media.text = _text(held.get("data"))
    elif way == "content" and isinstance(held.get("content"), str):
        media.text = held["content"]
    return media


def _image_url(at: int, part: Part, held: Any) -> MediaItem | None:
    """OpenAI: a URL under `image_url`, in Chat inside an object; `file_id` in its place."""
    url = held.get("url") if isinstance(held, dict) else held
    return of_url(at, part, url, kind="image") if isinstance(url, str) and url else None


def _input_audio(at: int, part: Part, held: Any) -> MediaItem | None:
    if not isinstance(held, dict):
        return None
    media_type = FORMATS.get(_text(held.get("format")), "audio/wav")
    data = _text(held.get("data"))
    return MediaItem(at=at, part=part, kind="audio", media_type=media_type, data=data)


def _video_url(at: int, part: Part, held: Any) -> MediaItem | None:
    url = held.get("url") if isinstance(held, dict) else held
    return of_url(at, part, url, kind="video") if isinstance(url, str) and url else None


def _file(at: int, part: Part, held: Any) -> MediaItem | None:
    """OpenAI Chat: `file_data`, `file_id` and `filename` under `file`."""
    return _file_keys(at, part, held) if isinstance(held, dict) else None


def _file_keys(at: int, part: Part, held: Mapping[str, Any]) -> MediaItem:
    data, url = _text(held.get("file_data")), _text(held.get("file_url"))
    if data and not data.startswith("data:"):
        media = MediaItem(at=at, part=part, kind="file", media_type="application/pdf", data=data)
    else:
        media = of_url(at, part, data or url, kind="file")
    media.file_id = _text(held.get("file_id"))
    media.name = _text(held.get("filename"))
    return media


def _responses_file(at: int, part: Part, held: Any) -> MediaItem | None:
    """OpenAI Responses: the same keys in the part itself."""
    if not isinstance(held, str) or not held:
        return None
    if part["type"] == "input_image":
        return MediaItem(at=at, part=part, kind="image", file_id=_text(part.get("file_id")))
    return _file_keys(at, part, part)


def _inline_data(at: int, part: Part, held: Any) -> MediaItem | None:
    """Gemini: data in base64 under `inlineData`."""
    if not isinstance(held, dict):
        return None
    media_type = _text(held.get("mimeType") or held.get("mime_type"))
    name = _text(held.get("displayName") or held.get("display_name"))
    data = _text(held.get("data"))
    return MediaItem(
        at=at, part=part, kind=kind_of(media_type), media_type=media_type, data=data, name=name
    )


def _file_data(at: int, part: Part, held: Any) -> MediaItem | None:
    """Gemini: a URI under `fileData`."""
    if not isinstance(held, dict):
        return None
    media_type = _text(held.get("mimeType") or held.get("mime_type"))
    url = _text(held.get("fileUri") or held.get("file_uri"))
    return of_url(at, part, url, media_type)


def _bedrock(at: int, part: Part, held: Any) -> MediaItem | None:
    """Bedrock: a `format` and a `source` under the name of the kind; AI SDK: data or a URL."""
    if isinstance(held, str):
        media_type = _text(part.get("mediaType") or part.get("mimeType"))
        return _data_or_url(at, part, held, media_type, "image" if "image" in part else "")
    if not isinstance(held, dict) or not isinstance(held.get("source"), dict):
        return None
    source = held["source"]
    media_type = FORMATS.get(_text(held.get("format")), "")
    kind = "image" if "image" in part else "video" if "video" in part else "file"
    return MediaItem(
        at=at,
        part=part,
        kind=kind,
        media_type=media_type,
        data=_text(source.get("bytes")),
        text=_text(source.get("text")),
        name=_text(held.get("name")),
    )


def _url(at: int, part: Part, held: Any) -> MediaItem | None:
    """AI SDK: `mediaType`, `url` and `filename`; LangChain: `mime_type` and `url`."""
    if not isinstance(held, str) or not held:
        return None
    media_type = _text(part.get("mediaType") or part.get("mime_type"))
    media = of_url(at, part, held, media_type, _typed(part, media_type))
    media.name = _text(part.get("filename"))
    return media


def _data(at: int, part: Part, held: Any) -> MediaItem | None:
    """AI SDK's model messages and LangChain: base64, or a URL, under `data` or `base64`."""
    if not isinstance(held, str) or not held:
        return None
    media_type = _text(
        part.get("mediaType")
        or part.get("mimeType")
        or part.get("mime_type")
        or part.get("media_type")
    )
    media = _data_or_url(at, part, held, media_type, _typed(part, media_type))
    media.name = _text(part.get("filename"))
    return media


def _typed(part: Part, media_type: str) -> str:
    return part["type"] if part["type"] in _KINDS else kind_of(media_type)


def _data_or_url(at: int, part: Part, held: str, media_type: str, kind: str) -> MediaItem:
    if held.startswith(("data:", "http://", "https://")):
        return of_url(at, part, held, media_type, kind)
    kind = kind or kind_of(media_type)
    return MediaItem(at=at, part=part, kind=kind, media_type=media_type, data=held)


_READERS: Final[Mapping[str, Callable[[int, Part, Any], MediaItem | None]]] = {
    "source": _source,
    "image_url": _image_url,
    "input_audio": _input_audio,
    "video_url": _video_url,
    "file": _file,
    "file_data": _responses_file,
    "file_url": _responses_file,
    "file_id": _responses_file,
    "inlineData": _inline_data,
    "inline_data": _inline_data,
    "fileData": _file_data,
    "image": _bedrock,
    "document": _bedrock,
    "video": _bedrock,
    "url": _url,
    "data": _data,
    "base64": _data,
}
"""By the key that tells a form, tried in this order."""
