"""
Parts of many providers and SDKs with media in them, and parts that only look like it.

Each line of `media.jsonl` has a part, the data in it if there is any, and what its media cost: in
tokens, or in pages, images and files at their stated prices. `{PNG}` and the like stand for the
strings of `STRINGS`.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from fastpaca.tokens.image import IMAGE_TOKENS
from fastpaca.tokens.medium import FILE_TOKENS
from fastpaca.tokens.pdf import PAGE_TOKENS
from tests.tokens import files

PNG = base64.b64encode(files.png(1000, 1000)).decode()
MEGAPIXEL = 1296  # tokens of each image
PDF = base64.b64encode(files.pdf(7)).decode()
NOISE = base64.b64encode(bytes(range(1, 256)) * 4).decode()  # base64 of nothing known
URL = "https://example.com/a"

STRINGS = {
    "PNG": PNG,
    "JPEG": base64.b64encode(files.jpeg(1000, 1000, before=3)).decode(),
    "WEBP": base64.b64encode(files.lossless_webp(1000, 1000) + bytes(200)).decode(),
    "PDF": PDF,
    "WAV": base64.b64encode(files.wav(5)).decode(),
    "FILM": base64.b64encode(bytes(250_000)).decode(),
    "ZIP": base64.b64encode(b"PK\x03\x04" + os.urandom(500)).decode(),
    "TABLE": base64.b64encode(b"a,b\n" * 90).decode(),
    "NOISE": NOISE,
    "SIGNATURE": "EqQBCkYIBxgCKkA" + NOISE,
    "PROSE": "We keep the log, and the window is what a model is given. " * 20,
    "URL": URL,
}


class Shape(NamedTuple):
    """A part, the data in it, and what its media cost."""

    part: dict[str, Any]
    data: str
    tokens: int


def url(media_type: str, data: str) -> str:
    """Make a data URL."""
    return f"data:{media_type};base64,{data}"


def _shapes() -> dict[str, Shape]:
    text = (Path(__file__).parent / "media.jsonl").read_text(encoding="utf-8")
    for name, string in STRINGS.items():
        text = text.replace(f"{{{name}}}", string)
    found: dict[str, Shape] = {}
    for row in map(json.loads, text.splitlines()):
        tokens = row.get("tokens", 0) + row.get("pages", 0) * PAGE_TOKENS
        tokens += row.get("images", 0) * IMAGE_TOKENS + row.get("files", 0) * FILE_TOKENS
        kind = "data" if "data" in row else "elsewhere" if tokens else "none"
        found[f"{kind}: {row['name']}"] = Shape(row["part"], row.get("data", ""), tokens)
    return found


SHAPES = _shapes()
DATA = {name: shape for name, shape in SHAPES.items() if shape.data}
