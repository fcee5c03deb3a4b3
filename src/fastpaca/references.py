"""
References: which messages that a caller gives back are messages on the path, unchanged.

A compact call sends the window as it should become, and most of it are messages that were read
before. One that says what the log says under its seq stays that message, if it is on the path; any
other is a new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from fastpaca.context import ContextState
from fastpaca.context.draft import Draft
from fastpaca.context.message import Entry, says_the_same
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
    Find which *drafts*, by index, are messages on the path of *context*, given back unchanged.

    They ascend on the path as in *drafts*; one that does not is taken for a new message.

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
    """Yield the messages on the path at *seqs*, those in the window first, a page at a time."""
    in_window = [e for e in context.window if not e.without and e.seq in seqs]
    if in_window:
        yield in_window
    elsewhere = sorted(set(seqs).difference(entry.seq for entry in in_window))
    for from_seq, to_seq in runs(elsewhere, GAP_MAX):
        at = from_seq
        while page := await pages.messages(context, at, to_seq, MESSAGES_AT_ONCE):
            wanted = [row for row in page if row.seq in seqs]
            yield await _on_path(pages, context, wanted)
            at = page[-1].seq + 1


async def _on_path(
    pages: Pages, context: ContextState, rows: Iterable[MessageRow]
) -> list[MessageRow]:
    """Return those of *rows* that are on the path, where no later row has taken their place."""
    path = context.window.path
    there = [row for row in rows if path.holds(row.place) and path.holds(row.seq)]
    places = runs(sorted({row.place for row in there}))
    newest = {
        place: seq
        for place, seq in await pages.revisions(context, places)
        if seq <= context.last_seq and path.holds(seq)
    }
    return [row for row in there if row.seq == newest.get(row.place, row.place)]


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
            index: entry for index in named[entry.seq or 0] if says_the_same(drafts[index], entry)
        }
    return unchanged


def _ascending(references: Mapping[int, Entry]) -> dict[int, Entry]:
    """Choose of *references*, by index, each that stands after the chosen ones on the path too."""
    chosen: dict[int, Entry] = {}
    newest = 0
    for index in sorted(references):
        if references[index].place > newest:
            chosen[index] = references[index]
            newest = references[index].place
    return chosen
