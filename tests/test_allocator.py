"""What was freed goes back to the system, and does not stay with the C library."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Final

import pytest

from fastpaca import allocator

MIB: Final = 1024 * 1024

PROGRAM: Final = """
import os, sys
from pathlib import Path
from fastpaca import allocator

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

size, count, between_size = map(int, sys.argv[1:4])
if "keep_little" in sys.argv:
    allocator.keep_little()
largest = b"x" * (8 << 20)
del largest  # from here on glibc would serve blocks of that size from its heap
before = resident()
blocks, between = [], []
for _ in range(count):
    blocks.append(b"x" * size)
    between.append(b"x" * between_size)
del blocks
if "give_back" in sys.argv:
    allocator.give_back()
print(resident() - before)
"""


def is_glibc() -> bool:
    """Tell which C library this is."""
    with suppress(AttributeError, OSError, ValueError):
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    return False


def bytes_kept(size: int, count: int, between: int, *steps: str) -> int:
    """Make and free *count* blocks with others in between, which stay; returns what is resident."""
    command = [sys.executable, "-c", PROGRAM, str(size), str(count), str(between), *steps]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=clean)
    return int(done.stdout)


@pytest.mark.skipif(not is_glibc(), reason="other C libraries than glibc give back by themselves")
def test_large_blocks_are_returned_as_they_are_freed() -> None:
    """A hundred MiB in large blocks leave nothing, and would have left most of it."""
    assert bytes_kept(2 * MIB, 50, 100_000) > 50 * MIB
    assert bytes_kept(2 * MIB, 50, 100_000, "keep_little") < 10 * MIB


@pytest.mark.skipif(not is_glibc(), reason="other C libraries than glibc give back by themselves")
def test_what_lies_between_small_blocks_is_returned_when_asked_for() -> None:
    """A hundred MiB in small blocks leave little once they are given back."""
    assert bytes_kept(50_000, 2000, 2000, "keep_little") > 30 * MIB
    assert bytes_kept(50_000, 2000, 2000, "keep_little", "give_back") < 20 * MIB


def test_giving_back_nothing_is_no_error() -> None:
    """Whatever the C library is, a node can ask."""
    allocator.give_back()
