"""
Thinking that is bound to a beginning which a later list no longer has.

A provider that signs thinking binds it to all that stood before it. What a list begins with changes
where a repair at its end is not repeated in the next one:

- A list that ends with the assistant, or is empty, gets a message of the user. The reply to it
  follows right after the assistant in the log, or is the first, and its thinking is bound to that
  message.
- Thinking that led to nothing is dropped at the end of a list, so what came next never followed it.
- A result that comes late moves to its call, before replies that were made without it; these are
  told in `arrangement.py`.

In all other cases the list before a reply begins every later list, as long as the window is not
rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from fastpaca.formats.arrangement import Turn
from fastpaca.formats.items import (
    ApprovalItem,
    CallItem,
    Item,
    OpaqueItem,
    PageOnlyItem,
    ReasoningItem,
    TextItem,
)
from fastpaca.formats.reading import ASSISTANT, Said


def tear(turns: Iterable[Turn], said: Sequence[Said], name: str) -> None:
    """
    Mark the thinking in replies of the format *name* that was bound to another beginning.

    Only messages that came in this format are judged: each is one reply of the provider.
    """
    if all(one.by_table is None for one in said):  # no message holds any thinking
        return
    has_begun = False
    before: Item | None = None  # what the assistant said, with no user after it
    for turn in turns:
        if turn.side is not ASSISTANT:
            if any(map(_is_said, turn.items)):
                has_begun, before = True, None
            continue
        if len(turn.items) == 1 and type(turn.items[0]) is TextItem:  # as most have
            before = turn.items[0] if _is_said(turn.items[0]) else before
            continue
        for at, listed in groupby(turn.items, lambda item: item.at):
            items = list(listed)
            if said[at].speaks(name):
                continues = has_begun if before is None else _continues(before)
                _tear_reply(items, is_torn=not continues)
            before = next(filter(_is_said, reversed(items)), before)


def _tear_reply(items: Sequence[Item], *, is_torn: bool) -> None:
    """Mark all thinking of a reply, or only that at its end, which led to nothing."""
    led_to = False
    for item in reversed(items):
        if isinstance(item, ReasoningItem):
            item.is_torn = item.is_torn or is_torn or not led_to
        led_to = led_to or _is_said(item)


def _continues(before: Item) -> bool:
    """Return whether the reply that ended with *before* waited for a call of its provider."""
    if not (isinstance(before, CallItem) and before.is_served):
        return False
    return before.result is None or before.result.at > before.at


def _is_said(item: Item) -> bool:
    if isinstance(item, TextItem):
        return not item.is_blank
    return not isinstance(item, (ReasoningItem, PageOnlyItem, OpaqueItem, ApprovalItem))
