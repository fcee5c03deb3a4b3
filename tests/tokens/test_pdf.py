"""The pages of a PDF."""

from __future__ import annotations

import os
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.tokens.pdf import PAGE_BYTES, PAGE_TOKENS, PAGES_MAX, pages_of_pdf, tokens_of_pdf
from tests.tokens import files


@pytest.mark.parametrize("pages", [1, 2, 17, 300])
@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_pages_are_counted(pages: int, spaced: bool, packed: bool) -> None:
    """
    Page objects are counted, in the open and in compressed object streams; their tree is none.
    """
    data = files.pdf(pages, spaced=spaced, packed=packed)
    assert pages_of_pdf(data) == pages
    assert tokens_of_pdf(data) == pages * PAGE_TOKENS


@pytest.mark.parametrize(("size", "pages"), [(0, 1), (1, 1), (PAGE_BYTES, 1), (PAGE_BYTES + 1, 2)])
def test_hidden_pages_are_reckoned_from_the_length(size: int, pages: int) -> None:
    """
    Where no page is to be seen, as in an encrypted file, the length decides; one is the least.
    """
    assert pages_of_pdf(b"\1" * size) == pages


def test_no_more_pages_are_counted_than_a_provider_takes() -> None:
    """
    Neither claims nor length make a PDF cost more than the limit.
    """
    assert pages_of_pdf(b"/Type /Page " * 100_000) == PAGES_MAX
    assert pages_of_pdf(bytes(PAGES_MAX * PAGE_BYTES * 2)) == PAGES_MAX


def test_pages_across_the_steps_of_the_search_are_counted_once() -> None:
    """
    The search goes step by step, and a page on the border of two steps is one page.
    """
    for shift in range(24):
        data = bytes((1 << 20) - shift) + b"/Type  /Page  " + bytes(1 << 20) + b"/Type/Page "
        assert pages_of_pdf(data) == 2


def test_compressed_bombs_are_not_unpacked() -> None:
    """
    A small file that unpacks to gigabytes is read up to a limit.
    """
    bomb = zlib.compress(bytes(64 << 20), 9)
    data = b"%PDF-1.5\n" + (b"<</Type/ObjStm>>stream\n" + bomb + b"\nendstream\n") * 40
    start = time.process_time()
    assert pages_of_pdf(data) == -(-len(data) // PAGE_BYTES)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "unit",
    [
        b"/Type/ObjStm ",
        b"/Type/ObjStm stream\n",
        b"/Type/ObjStm stream\nendstream ",
        b"/Type ",
        b"/",
    ],
)
def test_malformed_files_take_linear_time(unit: bytes) -> None:
    """
    Megabytes of half a structure are read through once.
    """
    start = time.process_time()
    assert 1 <= pages_of_pdf(unit * (4_000_000 // len(unit))) <= PAGES_MAX
    assert time.process_time() - start < 5


@given(
    st.lists(
        st.sampled_from(
            [
                b"/Type",
                b" ",
                b"/Page",
                b"/Pages",
                b"/ObjStm",
                b"stream\n",
                b"endstream",
                zlib.compress(b"/Type/Page"),
                b"\xff",
                b"obj",
            ]
        )
    )
)
def test_fragments_of_a_pdf_never_raise(fragments: list[bytes]) -> None:
    """
    Any sequence of a PDF's own words has a number of pages.
    """
    assert 1 <= pages_of_pdf(b"".join(fragments)) <= PAGES_MAX


def test_random_bytes_have_pages_too() -> None:
    """
    Noise is a file of as many pages as its length says.
    """
    assert pages_of_pdf(os.urandom(PAGE_BYTES * 3)) == 3
