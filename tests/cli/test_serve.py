"""What a node does to the interpreter that it runs in."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from fastpaca.cli.serve import FULL_COLLECTIONS_NEVER, collect_less


@pytest.fixture(autouse=True)
def the_collector_as_it_was() -> Iterator[None]:
    """Leave no trace in the process of the tests."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_garbage_is_looked_for_among_what_is_young() -> None:
    """
    A full look at memory, which holds up everybody, never comes by itself; the quick ones go on.
    """
    young, middle, _ = gc.get_threshold()
    collect_less()
    assert gc.get_threshold() == (young, middle, FULL_COLLECTIONS_NEVER)
    assert gc.isenabled()


def test_what_the_start_has_made_is_left_alone() -> None:
    """
    Modules and routes stay until the end, and are not looked through even for the hourly look.
    """
    kept: list[object] = [[]]
    collect_less()
    assert gc.get_freeze_count() > 0
    assert not any(each is kept for each in gc.get_objects())
