"""
References: which messages that a caller gives back are messages of the log, unchanged.

A compact call sends the window as it should become, and most of it are messages that were read
before. One that says what the log says under its seq stays that message; any other is a new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from fastpaca.context import ContextState, jsontext
from fastpaca.context.draft import Draft
from fastpaca.context.message import Entry, unrendered
from fastpaca.engine import rows
from fastpaca.engine.pages import Pages
from fastpaca.offload import COMPARE, offload
from fastpaca.ranges import runs
from fastpaca.store.base import MessageRow

MESSAGES_AT_ONCE: Final = 500
"""How many messages of the log are read in one go to be compared."""

GAP_MAX: Final = 8
"""So many messages on, a wanted message is reached sooner by reading those between as well."""


async def references(
    pages: Pages, context: ContextState, drafts: Sequence[Draft]
) -> dict[int, Entry]:
    """
    Find which *drafts*, by index, are messages of the log of *context*, given back unchanged.

    They ascend in the log as in *drafts*; one that does not is taken for a new message.

    Raises:
        ContextNotFound: The context was purged meanwhile.
        Unavailable: The store cannot be read.
    """
    named: dict[int, list[int]] = {}
    for index, draft in enumerate(drafts):
        if draft.seq is not None and 0 < draft.seq <= context.last_seq:
            named.setdefault(draft.seq, []).append(index)
    unchanged: dict[int, Entry] = {}
    async for originals in _originals(pages, context, named):
        compare = partial(_unchanged, drafts, named, originals)
        unchanged |= await offload(COMPARE, sum(len(o.body) for o in originals), compare)
    return _ascending(unchanged)


async def _originals(
    pages: Pages, context: ContextState, seqs: Collection[int]
) -> AsyncIterator[Sequence[Entry | MessageRow]]:
    """Yield the messages of the log at *seqs*, those in the window first, a page at a time."""
    in_window = [e for e in context.window if not e.without and e.seq in seqs]
    if in_window:
        yield in_window
    elsewhere = sorted(set(seqs).difference(entry.seq for entry in in_window))
    for from_seq, to_seq in runs(elsewhere, GAP_MAX):
        at = from_seq
        while page := await pages.messages(context, at, to_seq, MESSAGES_AT_ONCE):
            yield [row for row in page if row.seq in seqs]
            at = page[-1].seq + 1


def _unchanged(
    drafts: Sequence[Draft],
    named: Mapping[int, Iterable[int]],
    originals: Iterable[Entry | MessageRow],
) -> dict[int, Entry]:
    """Choose the *drafts*, by index, that say the same as the one of *originals* they are named."""
    unchanged: dict[int, Entry] = {}
    for original in originals:
        entry = original if isinstance(original, Entry) else rows.log_entry_of(original)
        unchanged |= {
            index: entry for index in named[entry.covers_to] if is_unchanged(drafts[index], entry)
        }
    return unchanged


def is_unchanged(draft: Draft, original: Entry) -> bool:
    """Return whether *draft* says the same as *original*, value for value."""
    if draft.token_count is not None and draft.token_count != original.tokens:
        return False
    return jsontext.same_value(draft.body, unrendered(original.body))


def _ascending(references: Mapping[int, Entry]) -> dict[int, Entry]:
    """Choose of *references*, by index, each that stands after the chosen ones in the log too."""
    chosen: dict[int, Entry] = {}
    newest = 0
    for index in sorted(references):
        if references[index].covers_to > newest:
            chosen[index] = references[index]
            newest = references[index].covers_to
    return chosen
