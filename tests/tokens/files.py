"""Small files of the formats whose headers are read, made from their specifications."""

from __future__ import annotations

import struct
import zlib


def png(width: int, height: int, pixels: bytes | None = None) -> bytes:
    """Make a PNG, whole and valid if *pixels* are not given."""
    if pixels is None:
        pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def jpeg(width: int, height: int, *, before: int = 0, marker: int = 0xC0) -> bytes:
    """Make the beginning of a JPEG, with *before* segments of metadata of 64 KiB at its front."""
    metadata = b"\xff\xe1" + struct.pack(">H", 0xFFFF) + b"\xff" * 0xFFFD
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\1\x22\0\2\x11\1\3\x11\1"
    scan = b"\xff\xda" + struct.pack(">H", 12) + bytes(10) + b"\x12\x34" * 50
    tables = b"\xff\xdb" + struct.pack(">H", 67) + bytes(65)
    tables += b"\xff\xc4" + struct.pack(">H", 31) + b"\1" * 29  # looks like a frame, and is none
    head = b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0\1\1\0\0\1\0\1\0\0"
    padding = b"\xff\xff\xff"  # any marker may be preceded by these
    return head + metadata * before + tables + padding + bytes([0xFF, marker]) + frame + scan


def gif(width: int, height: int) -> bytes:
    """Make the beginning of a GIF."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";" * 20


def bmp(width: int, height: int) -> bytes:
    """Make a BMP whose rows run from top to bottom if *height* is negative."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def old_bmp(width: int, height: int) -> bytes:
    """Make a BMP of OS/2."""
    return b"BM" + struct.pack("<IHHIIHHHH", 26, 0, 0, 26, 12, width, height, 1, 24) + bytes(8)


def _riff(kind: bytes, data: bytes) -> bytes:
    return (
        b"RIFF"
        + struct.pack("<I", len(data) + 12)
        + b"WEBP"
        + kind
        + struct.pack("<I", len(data))
        + data
    )


def lossy_webp(width: int, height: int) -> bytes:
    """Make the beginning of a WebP of the first kind; the high bits ask for scaling."""
    size = struct.pack("<HH", width | 0x4000, height | 0x8000)
    return _riff(b"VP8 ", b"\x10\x02\0\x9d\x01\x2a" + size + bytes(20))


def lossless_webp(width: int, height: int) -> bytes:
    """Make the beginning of a WebP without losses."""
    packed = (width - 1) | (height - 1) << 14 | 1 << 28
    return _riff(b"VP8L", b"\x2f" + struct.pack("<I", packed) + bytes(20))


def extended_webp(width: int, height: int) -> bytes:
    """Make the beginning of a WebP with metadata or movement."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _riff(b"VP8X", b"\x10\0\0\0" + size)


def wav(seconds: int, rate: int = 16_000) -> bytes:
    """Make a silent WAV: one channel, 16 bit."""
    sound = bytes(seconds * rate * 2)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    body = b"WAVE" + form + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pdf(pages: int, *, spaced: bool = True, packed: bool = False) -> bytes:
    """Make a PDF of empty pages, its objects in a compressed stream if *packed*."""
    space = b" " if spaced else b""
    kids = b" ".join(b"%d 0 R" % (3 + page) for page in range(pages))
    tree = b"<</Type%b/Pages /Kids [%b] /Count %d>>" % (space, kids, pages)
    page = b"<</Type%b/Page/Parent 2 0 R/MediaBox [0 0 612 792]>>" % space
    objects = [b"<</Type /Catalog /Pages 2 0 R>>", tree, *[page] * pages]
    if packed:
        stream = zlib.compress(b"\n".join(objects))
        head = b"<</Type%b/ObjStm /N %d /First 0 /Filter /FlateDecode /Length %d>>" % (
            space,
            len(objects),
            len(stream),
        )
        objects = [head + b"\nstream\r\n" + stream + b"\nendstream"]
    numbered = (b"%d 0 obj\n%b\nendobj\n" % (1 + at, body) for at, body in enumerate(objects))
    return b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + b"".join(numbered) + b"startxref\n0\n%%EOF\n"
