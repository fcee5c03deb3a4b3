"""The size of an image from its header, and its price."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.tokens.image import IMAGE_TOKENS, IMAGE_TOKENS_MAX, size_of_image, tokens_of_image
from tests.tokens import files

Maker = Callable[[int, int], bytes]

FORMATS: dict[str, Maker] = {
    "png": files.png,
    "jpeg": files.jpeg,
    "gif": files.gif,
    "bmp": files.bmp,
    "bmp of OS/2": files.old_bmp,
    "lossy webp": files.lossy_webp,
    "lossless webp": files.lossless_webp,
    "extended webp": files.extended_webp,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (640, 480), (1023, 2049)])
def test_the_size_is_read_from_the_header(name: str, width: int, height: int) -> None:
    """
    Width and height come out of the header of every format.
    """
    assert size_of_image(FORMATS[name](width, height)) == (width, height)


def test_rows_from_top_to_bottom_are_no_negative_height() -> None:
    """
    A BMP says by the sign of its height in which direction its rows run.
    """
    assert size_of_image(files.bmp(640, -480)) == (640, 480)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCF])
def test_every_process_of_jpeg_is_read(marker: int) -> None:
    """
    Progressive and lossless JPEGs have other markers than the usual one.
    """
    assert size_of_image(files.jpeg(640, 480, marker=marker)) == (640, 480)


def test_metadata_before_the_size_is_skipped() -> None:
    """
    A JPEG with megabytes of metadata in front has its size all the same.
    """
    assert size_of_image(files.jpeg(4032, 3024, before=40)) == (4032, 3024)


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1, 1, 1),
        (28, 28, 1),
        (29, 28, 2),
        (200, 200, 64),
        (1000, 1000, 1296),
        (1280, 720, 46 * 26),
        (1920, 1080, 69 * 39),
        (2576, 1, 92),
        (4032, 3024, IMAGE_TOKENS_MAX),
        (65535, 65535, IMAGE_TOKENS_MAX),
        (65535, 1, 92),
        (2**32 - 1, 2**32 - 1, IMAGE_TOKENS_MAX),
        (2**32 - 1, 1, 92),
    ],
)
def test_a_patch_of_28_pixels_is_a_token(width: int, height: int, tokens: int) -> None:
    """
    Images cost a token a patch, after scaling down to the limits; the first five are published.
    """
    assert tokens_of_image(files.png(width, height, b"")) == tokens


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        files.png(10, 10)[:20],
        files.png(0, 10, b""),
        files.jpeg(0, 0),
        files.jpeg(640, 480)[:40],
        b"\xff\xd8\xff" + b"\xff" * 5000,
        b"\xff\xd8\xff\xe1\0\0" * 5000,
        b"\xff\xd8\xff\xda" + bytes(50),
        b"GIF80a" + b"\1" * 30,
        files.gif(9, 9)[:7],
        files.lossy_webp(9, 9)[:24],
        files.extended_webp(9, 9)[:29],
        b"RIFF0000WEBPVP9 " + bytes(30),
        b"BM" + bytes(60),
        b"\0\0\0\x1cftypavif" + bytes(50),
        b"<svg/>",
    ],
)
def test_what_cannot_be_read_has_a_stated_price(data: bytes) -> None:
    """
    An unknown format, a truncated header and a size of nothing cost the default.
    """
    assert tokens_of_image(data) == IMAGE_TOKENS


@given(
    st.sampled_from(list(FORMATS.values())),
    st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=8)), max_size=6),
    st.integers(0, 200),
)
def test_broken_headers_neither_raise_nor_cost_more_than_the_limit(
    make: Maker, changes: list[tuple[int, bytes]], length: int
) -> None:
    """
    Whatever stands in a header, the price stays between one token and the limit.
    """
    data = bytearray(make(640, 480))
    for at, change in changes:
        data[at : at + len(change)] = change
    assert 1 <= tokens_of_image(bytes(data[:length])) <= IMAGE_TOKENS_MAX
