"""Forks of short conversations, in many pieces."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let forks be copied in many pieces."""
    monkeypatch.setattr("fastpaca.forks.PIECE_ROWS", 2)
