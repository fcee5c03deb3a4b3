"""
Taking parts and keys out of a message.

They are named by their places in the message as it was appended, and an entry knows all places that
were ever taken out of it. So no rules are needed to rebuild a stored window.

If nothing is left of a message, it is dropped. Nothing is left if all remaining parts are blank
texts, reasoning, or only for a page, and all remaining keys that a model sees are reasoning.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from fastpaca import shapes
from fastpaca.context import jsontext
from fastpaca.context.message import Counts, Entry
from fastpaca.shapes import Reading, Shape

NOTHING: Final = frozenset(
    {Shape.GONE, Shape.BLANK, Shape.PAGE, Shape.REASONING, Shape.REASONING_ITEM}
)
"""Shapes that count as nothing in a message from which something was taken out."""


def taken_out(entry: Entry, places: Collection[int]) -> Entry | None:
    """Return *entry* without what is at *places*; None if nothing is left of it."""
    gone = frozenset(places).difference(entry.without)
    if not gone:
        return entry
    if shapes.WHOLE_PLACE in gone:
        return None
    reading = shapes.placed(_what_is_left(entry.reading, gone), entry.role)
    if is_empty(reading):
        return None
    message = jsontext.members(entry.body, (), None)
    counts = entry.counts
    part_counts = list(counts.parts)
    key_counts = dict(zip(_counted_keys(message), counts.keys, strict=True))
    if any(place >= 0 for place in gone):
        kept = [at for at, place in enumerate(_places(entry.reading)) if place not in gone]
        parts = jsontext.items(message["parts"], "parts")
        message["parts"] = b"[" + b",".join([parts[at] for at in kept]) + b"]"
        part_counts = [part_counts[at] for at in kept]
    if min(gone) < 0:
        _take_keys(entry, message, key_counts, gone)
    counts = Counts(0, counts.overhead, tuple(key_counts.values()), tuple(part_counts))
    counts = replace(counts, total=min(entry.counts.total, counts.counted))
    message["token_count"] = b"%d" % counts.total
    return replace(
        entry,
        body=jsontext.joined(message),
        counts=counts,
        reading=reading,
        without=tuple(sorted(gone.union(entry.without))),
    )


def is_empty(reading: Reading) -> bool:
    """Return whether nothing is left of the message with this *reading*."""
    return (
        not reading.has_other_keys
        and not reading.tool_references
        and NOTHING.issuperset(reading.shapes)
    )


def _what_is_left(reading: Reading, gone: frozenset[int]) -> Reading:
    left = bytearray(reading.shapes)
    for place in gone:
        if place >= 0:
            left[place] = Shape.GONE
    keys = reading.reasoning_keys
    return replace(
        reading,
        shapes=bytes(left),
        tool_references=tuple(
            [
                reference
                for reference in reading.tool_references
                if gone.isdisjoint(reference.places)
            ]
        ),
        reasoning_keys=tuple([key for key in keys if shapes.reasoning_place(key) not in gone]),
    )


def _places(reading: Reading) -> list[int]:
    """Return the places of the remaining parts."""
    return [place for place, shape in enumerate(reading.shapes) if shape != Shape.GONE]


def _counted_keys(message: jsontext.Members) -> list[str]:
    return [key for key in message if key not in shapes.STRUCTURAL_KEYS]


def _take_keys(
    entry: Entry, message: jsontext.Members, counts: dict[str, int], gone: frozenset[int]
) -> None:
    """Remove what is at the places *gone* in keys from *message* and its *counts*."""
    for key in {shapes.key_of_place(place) for place in gone if place < 0}:
        assert key is not None
        rest = _calls_left(entry, message[key], gone) if key == shapes.CALLS_KEY else b""
        if rest:
            counts[key] = -(-counts[key] * len(rest) // len(message[key]))
            message[key] = rest
        else:
            del message[key], counts[key]


def _calls_left(entry: Entry, listed: bytes, gone: frozenset[int]) -> bytes:
    """Return the list of calls without those that are *gone*; empty if none is left."""
    before = frozenset(entry.without)
    left = []
    index = 0
    for item in jsontext.items(listed, shapes.CALLS_KEY):
        while shapes.CALLS_PLACE - index in before:
            index += 1
        if shapes.CALLS_PLACE - index not in gone:
            left.append(item)
        index += 1
    return b"[" + b",".join(left) + b"]" if any(item[:1] == b"{" for item in left) else b""
