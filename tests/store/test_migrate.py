"""Migrations go forward, in order, and stop before what they do not know."""

import pytest

from fastpaca.store.base import StoreRefused
from fastpaca.store.migrate import Migration, migrations, pending

THREE = [Migration(version, f"-- {version}") for version in (1, 2, 3)]


def test_versions_have_no_holes() -> None:
    """The files are numbered 1, 2, 3 …, and each has something in it."""
    found = migrations("sqlite")
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    assert all(migration.sql.strip() for migration in found)


@pytest.mark.parametrize(("version", "left"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, [])])
def test_pending_are_those_above_the_version(version: int, left: list[int]) -> None:
    """A database gets what it does not have yet, in order."""
    assert [migration.version for migration in pending(THREE, version)] == left


def test_newer_version_is_refused() -> None:
    """The sentence says both versions."""
    with pytest.raises(StoreRefused, match=r"version 4, .* up to 3"):
        pending(THREE, 4)
