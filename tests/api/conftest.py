"""A client of a node of its own, for each test that takes one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from fastpaca.testing import running_app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a node that has its defaults, over a store in memory."""
    async with running_app() as client:
        yield client
