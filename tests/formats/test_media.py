"""Images, recordings and files, in every form that providers write them in."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from fastpaca.formats import media

Json = dict[str, Any]

URL: Final = "https://example.com/a.png"

READ: Final[list[tuple[Json, Json]]] = [
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"kind": "image", "media_type": "image/png", "data": "aGk="},
    ),
    ({"type": "image", "source": {"type": "url", "url": URL}}, {"kind": "image", "url": URL}),
    (
        {"type": "document", "source": {"type": "url", "url": URL}},
        {"kind": "file", "url": URL, "media_type": "application/pdf"},
    ),
    (
        {"type": "document", "source": {"type": "file", "file_id": "f1"}, "title": "a"},
        {"kind": "file", "file_id": "f1", "name": "a"},
    ),
    (
        {"type": "document", "source": {"type": "text", "data": "Hi"}},
        {"kind": "file", "text": "Hi"},
    ),
    (
        {"type": "document", "source": {"type": "content", "content": "Hi"}},
        {"kind": "file", "text": "Hi"},
    ),
    ({"type": "document", "source": {"type": "content", "content": []}}, {"kind": "file"}),
    ({"type": "image_url", "image_url": {"url": URL}}, {"kind": "image", "url": URL}),
    ({"type": "input_image", "image_url": URL}, {"kind": "image", "url": URL}),
    (
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        {"kind": "audio", "media_type": "audio/mpeg", "data": "aGk="},
    ),
    ({"type": "video_url", "video_url": {"url": URL}}, {"kind": "video", "url": URL}),
    ({"type": "video_url", "video_url": URL}, {"kind": "video", "url": URL}),
    (
        {"type": "file", "file": {"file_data": "aGk=", "filename": "a.pdf"}},
        {"kind": "file", "media_type": "application/pdf", "data": "aGk=", "name": "a.pdf"},
    ),
    ({"type": "file", "file": {"file_id": "f1"}}, {"kind": "file", "file_id": "f1"}),
    (
        {"type": "input_file", "file_data": "data:text/plain;base64,aGk="},
        {"kind": "file", "media_type": "text/plain", "data": "aGk="},
    ),
    ({"type": "input_file", "file_url": URL}, {"kind": "file", "url": URL}),
    ({"type": "input_image", "file_id": "f1"}, {"kind": "image", "file_id": "f1"}),
    (
        {"type": "x", "inlineData": {"mimeType": "audio/wav", "data": "aGk="}},
        {"kind": "audio", "media_type": "audio/wav", "data": "aGk="},
    ),
    (
        {"type": "x", "inline_data": {"mime_type": "video/mp4", "data": "a", "display_name": "b"}},
        {"kind": "video", "media_type": "video/mp4", "data": "a", "name": "b"},
    ),
    (
        {"type": "x", "fileData": {"mimeType": "image/png", "fileUri": URL}},
        {"kind": "image", "media_type": "image/png", "url": URL},
    ),
    (
        {"type": "document", "document": {"format": "md", "name": "a", "source": {"text": "Hi"}}},
        {"kind": "file", "media_type": "text/markdown", "text": "Hi", "name": "a"},
    ),
    (
        {"type": "video", "video": {"format": "mp4", "source": {"bytes": "aGk="}}},
        {"kind": "video", "media_type": "video/mp4", "data": "aGk="},
    ),
    (
        {"type": "image", "image": "aGk=", "mediaType": "image/png"},
        {"kind": "image", "media_type": "image/png", "data": "aGk="},
    ),
    ({"type": "image", "image": URL}, {"kind": "image", "url": URL}),
    (
        {"type": "file", "mediaType": "image/png", "url": URL, "filename": "a.png"},
        {"kind": "image", "media_type": "image/png", "url": URL, "name": "a.png"},
    ),
    (
        {"type": "image", "mime_type": "image/png", "base64": "aGk="},
        {"kind": "image", "media_type": "image/png", "data": "aGk="},
    ),
    (
        {"type": "file", "mediaType": "text/csv", "data": "aGk=", "filename": "a.csv"},
        {"kind": "file", "media_type": "text/csv", "data": "aGk=", "name": "a.csv"},
    ),
    ({"type": "file", "data": URL}, {"kind": "file", "url": URL}),
]


@pytest.mark.parametrize(("part", "expected"), READ)
def test_forms_are_read(part: Json, expected: Json) -> None:
    """
    Every form says what it is about, and nothing else.
    """
    item = media.read(3, part)
    assert item is not None
    said = {key: value for key, value in msgspec.structs.asdict(item).items() if value}
    assert said == {"at": 3, "part": part} | expected


@pytest.mark.parametrize(
    "key",
    [
        "source",
        "image_url",
        "input_audio",
        "video_url",
        "file",
        "file_data",
        "inlineData",
        "fileData",
        "image",
        "url",
        "data",
    ],
)
@pytest.mark.parametrize("held", [5, "", {"source": 5}])
def test_what_is_none_of_them_is_not_read(key: str, held: Any) -> None:
    """
    A part that holds something else under the key of a form is not media that is known.
    """
    item = media.read(0, {"type": "file", key: held})
    assert item is None or not (item.data or item.url or item.text or item.file_id)
