"""
Marks for Anthropic's prompt cache: `cache_control` on a block caches all up to it.

A request may have four. One stands at the end of the instructions, which never change; one at the
last message that the next request begins with as well; and one a little before that, since a
look-up goes back over 20 blocks only: https://platform.claude.com/docs/en/build-with-claude/prompt-caching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastpaca.formats.writing import Json

MARK: Final = {"cache_control": {"type": "ephemeral"}}

LOOK_BACK_BLOCKS: Final = 18
"""How far apart the two marks in messages stand at the most, in blocks."""

_UNMARKED: Final = frozenset({"thinking", "redacted_thinking", "fallback", "mcp_tool_listing"})
"""Blocks that take no mark."""


def set_in_system(blocks: list[Json]) -> None:
    """Mark the end of the instructions."""
    if blocks:
        blocks[-1] = blocks[-1] | MARK


def set_in_messages(messages: Sequence[Json]) -> None:
    """Mark the last of the stable *messages*, and a block at most so far before it."""
    places = [
        (at, place)
        for at, message in enumerate(messages)
        for place, block in enumerate(_blocks(message))
        if block["type"] not in _UNMARKED
    ]
    if not places:
        return
    before = max(0, len(places) - 1 - LOOK_BACK_BLOCKS)
    for at, place in {places[-1], places[before]}:
        blocks = list(_blocks(messages[at]))
        blocks[place] = blocks[place] | MARK
        messages[at]["content"] = blocks


def _blocks(message: Json) -> list[Json]:
    content = message["content"]
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content)
