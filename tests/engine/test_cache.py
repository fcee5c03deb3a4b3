"""What the contexts in memory take: the estimate is honest, and no collector looks at them."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from fastpaca.context import ContextState, create, jsontext
from fastpaca.context.draft import parse
from fastpaca.context.message import encode_counts
from fastpaca.context.ops import Append, Counted, Put
from fastpaca.engine import rows
from fastpaca.engine.cache import ContextCache
from fastpaca.store.base import MessageRow, Snapshot
from fastpaca.tokens import CharsCounter, count_message
from tests.kit.messages import Message, assistant, call, result, tool, user

ID = "conversation-of-a-customer"

COUNTER = CharsCounter()  # the counts of roles are kept for each counter


def step(calls: int) -> list[Message]:
    """A message of so many calls, and one of their results."""
    names = [f"call_{number:020}" for number in range(calls)]
    calls_made = [call(name, name="search") for name in names]
    return [assistant(*calls_made), tool(*[result(name, "found") for name in names])]


def counted(message: Message) -> Counted:
    """Read a message as the server does."""
    draft = parse(jsontext.minified(json.dumps(message).encode()), "message")
    return Counted(draft, count_message(COUNTER, draft))


def grown(messages: list[Message], metadata: bytes) -> ContextState:
    """Make a context that was hot from its first message on."""
    context, _ = create("".join(ID), Put(10**9, metadata=bytes(bytearray(metadata))), 1)
    for number, message in enumerate(messages):
        context, _ = context.apply(Append((counted(message),)), 10**15 + number)
    return context


def loaded(messages: list[Message], metadata: bytes) -> ContextState:
    """Make the same context as a load does."""
    context, _ = create("".join(ID), Put(10**9, metadata=bytes(bytearray(metadata))), 1)
    log = []
    for seq, message in enumerate(messages, start=1):
        one = counted(message)
        counts = encode_counts(one.counts)
        log.append(MessageRow(seq, seq, one.draft.body, counts, 10**15 + seq))
    row = rows.context_row(context, bytes(16))
    row = replace(row, version=len(log), last_seq=len(log))
    return rows.rebuilt(Snapshot(row, None, log, []))


SHAPES = {
    "many small messages": ([user("x" * 20)] * 200, b"{}"),
    "usual messages": ([user("x" * 200)] * 100, b"{}"),
    "few big messages": ([user("x" * 50_000)] * 5, b"{}"),
    "messages of many parts": ([user(*["x" * 20] * 100)] * 10, b"{}"),
    "a call in each message": (step(1) * 100, b"{}"),
    "many calls in a message": (step(50) * 5, b"{}"),
    "metadata": ([user("x" * 20)], b'{"of":"%b"}' % (b"x" * 20_000)),
}


@pytest.mark.parametrize("make", [grown, loaded])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_of_a_context_is_what_it_takes(
    shape: str, make: Callable[[list[Message], bytes], ContextState]
) -> None:
    """
    What is bounded is memory, so the estimate has to be right for every kind of conversation.
    """
    make(*SHAPES[shape])  # whatever is made once and kept is there now
    hot = ContextCache(10**9)
    gc.collect()
    tracemalloc.start()
    try:
        kept = [make(*SHAPES[shape]) for _ in range(5)]
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()
    hot.put(kept[0])
    # The allocator needs a tenth more than what it is asked for.
    assert 0.9 * taken <= hot.bytes <= 1.2 * taken


def test_a_context_in_memory_costs_the_collector_next_to_nothing() -> None:
    """
    A message in memory is nothing that Python's garbage collector would look through.

    With millions of them it would hold up everybody for tenths of a second.
    """
    context = loaded(*SHAPES["many calls in a message"])
    gc.collect()  # it lets go of tuples that hold nothing to look at
    entry = context.window.entries[0]
    held = (
        context,
        context.window,
        entry,
        entry.counts,
        entry.tool_references,
        *entry.tool_references,
    )
    assert [thing for thing in held if gc.is_tracked(thing)] == []


def test_an_overtaken_state_is_kept_to_be_caught_up_with() -> None:
    """It is not given any more, gives way to any other, and goes with the oldest."""
    one = grown([user("x" * 100)], b"{}")
    hot = ContextCache(10_000)
    hot.mark_stale(one.id)
    assert hot.earlier(one.id) is None
    hot.put(one)
    hot.mark_stale(one.id)
    assert (hot.get(one.id), one.id in hot, hot.earlier(one.id)) == (None, False, one)
    taken = hot.bytes
    hot.put(one)
    assert (hot.get(one.id), hot.bytes) == (one, taken)
    newer = replace(one, revision=one.revision + 1)
    hot.put(newer)
    hot.put(one)
    assert hot.get(one.id) is newer
    hot.mark_stale(one.id)
    hot.put(one)
    assert hot.get(one.id) is one
    hot.mark_stale(one.id)
    for number in range(20):
        hot.put(replace(one, id=f"other {number}"))
    assert hot.earlier(one.id) is None
    hot.put(one)
    assert hot.get(one.id) is one
