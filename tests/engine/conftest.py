"""A world of its own for each test that takes one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.engine.world import World, started


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An engine that runs, over a scripted store."""
    async with started(World()) as world:
        yield world
