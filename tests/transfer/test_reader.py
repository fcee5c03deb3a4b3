"""What an export may hold, line by line, and what each line that does not belong is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from fastpaca.context.persisted import Persisted
from fastpaca.context.usage import UsageTotals
from fastpaca.store.memory import MemoryStore
from fastpaca.transfer.format import BadLine, ContextLine, check_context, checked_window
from fastpaca.transfer.reader import ExportReader
from tests.client.rules import repeated, rules
from tests.transfer.world import exported, live

Lines = list[bytes]


def _lived() -> Lines:
    store = MemoryStore()
    asyncio.run(live(store, Random(1), ("a", "b", "c"), steps=25))
    return asyncio.run(exported(store)).splitlines(keepends=True)


LINES = _lived()


def read(lines: Lines) -> ExportReader:
    """Read *lines*; a refusal says at which of them."""
    reading = ExportReader()
    for number, text in enumerate(lines, 1):
        try:
            reading.read(text)
        except BadLine as error:
            raise BadLine(f"{number}: {error}") from None
    return reading


def first(kind: str, after: int = 0) -> int:
    """Find the place of the first line of a kind."""
    return next(n for n, text in enumerate(LINES) if n >= after and _kind(text) == kind)


def _kind(text: bytes) -> str:
    return str(json.loads(text)["kind"])


def test_a_whole_export_is_read() -> None:
    """
    Lines as they were written are taken, and counted; every kind of line is among them.
    """
    reading = read(LINES)
    assert reading.is_complete
    assert reading.tally.contexts == 3
    kinds = {_kind(text) for text in LINES}
    assert kinds == {"header", "context", "message", "synthetic", "compaction", "whole", "end"}


@pytest.mark.parametrize("case", rules("limits")["ids"], ids=str)
def test_a_context_with_any_id_can_be_moved(case: Any) -> None:
    """
    What can be created can be moved.
    """
    check_context(_context(repeated(case, "id")))


@pytest.mark.parametrize("case", rules("limits")["ids_refused"], ids=str)
def test_a_context_has_no_other_id(case: Any) -> None:
    """
    What cannot be created is not read either.
    """
    if isinstance(case["id"], str):
        with pytest.raises(BadLine, match="has an id that "):
            check_context(_context(repeated(case, "id")))


def test_json_that_no_store_writes_is_refused() -> None:
    """
    White space in the JSON of a context was put there by somebody else.
    """
    line = msgspec.structs.replace(_context("c"), metadata=Raw(b'{"a": 1}'))
    with pytest.raises(BadLine, match="white space"):
        check_context(line)


def _context(context_id: str) -> ContextLine:
    return ContextLine(
        id=context_id,
        status="active",
        token_budget=1,
        trigger_ratio=0.7,
        token_factor=1.0,
        policy=Raw(b'{"strategy":"manual","config":{}}'),
        metadata=Raw(b"{}"),
        version=0,
        last_seq=0,
        created_at_us=0,
        updated_at_us=0,
        spoken_at_us=0,
        usage=UsageTotals(),
    )


@given(st.data())
def test_what_was_changed_is_noticed(data: st.DataObject) -> None:
    """
    A byte that is another, a line that is gone, there twice or elsewhere: none is read to the end.
    """
    lines = list(LINES)
    place = data.draw(st.integers(1, len(lines) - 1))
    how = data.draw(st.sampled_from(("byte", "drop", "double", "move")))
    if how == "byte":
        text = bytearray(lines[place])
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] ^= data.draw(st.integers(1, 255))
        lines[place] = bytes(text)
    elif how == "drop":
        del lines[place]
    elif how == "double":
        lines.insert(place, lines[place])
    else:
        text_moved = lines.pop(place)
        lines.insert(data.draw(st.integers(1, len(lines))), text_moved)
    if lines == LINES:
        return
    try:
        reading = read(lines)
    except BadLine:
        return
    assert not reading.is_complete


def changed(place: int, **fields: Any) -> Callable[[Lines], None]:
    """Change fields of a line; None takes one away."""

    def change(lines: Lines) -> None:
        found = json.loads(lines[place])
        found.update(fields)
        kept = {name: value for name, value in found.items() if value != "gone"}
        lines[place] = json.dumps(kept, separators=(",", ":")).encode() + b"\n"

    return change


def put(place: int, *texts: bytes) -> Callable[[Lines], None]:
    """Put lines in the place of one."""

    def change(lines: Lines) -> None:
        lines[place : place + 1] = texts

    return change


CONTEXT, MESSAGE, WHOLE = first("context"), first("message"), first("whole")
SYNTHETIC, COMPACTION = first("synthetic"), first("compaction")
SECOND = first("context", WHOLE)

BAD: list[tuple[str, Callable[[Lines], None], str]] = [
    ("not json", put(3, b"what?\n"), "4: is not JSON: "),
    ("empty line", put(3, b"\n"), "4: is not JSON: "),
    ("not utf-8", put(3, LINES[3].replace(b"kind", b"k\xffnd")), "4: is not UTF-8"),
    ("cut off", put(3, LINES[3][:-1]), "4: is cut off"),
    ("no header", put(0), "1: is not the header of an export"),
    ("no export", put(0, b'{"a":1}\n'), "1: is not the header of an export"),
    ("new format", changed(0, format=2, more=1), "1: says that the file has version 2 of the"),
    ("two headers", put(0, LINES[0], LINES[0]), "2: is a second header"),
    ("unknown kind", put(3, b'{"kind":"answer"}\n'), "4: is not valid: Invalid value"),
    ("unknown field", changed(MESSAGE, more=1), "unknown field `more`"),
    ("missing field", changed(MESSAGE, seq="gone"), "missing required field `seq`"),
    ("wrong type", changed(MESSAGE, seq="1"), "Expected `int`, got `str`"),
    ("no context", put(CONTEXT), "2: is a message outside any context"),
    ("seq", changed(MESSAGE, seq=2), "has the message 2 where 1 should be next"),
    ("version", changed(MESSAGE, version=2), "has the version 2 where 1 should be next"),
    ("no message", changed(MESSAGE, body={"role": "user"}), "is not valid: body.parts"),
    ("no object", changed(MESSAGE, body=7), "is not valid: "),
    ("stray key", changed(MESSAGE, body={"role": "u", "parts": [], "seq": 1, "metadata": {}}),
     "has a body that is not in the form that stores keep"),
    ("counts", changed(MESSAGE, counts="AAAA"), "has counts that cannot be read"),
    ("other counts", changed(MESSAGE, body={"role": "u", "parts": [], "metadata": {}}),
     "has counts that don't match the parts of its body"),
    ("window", changed(COMPACTION, window={"through": "x"}), "has a window that cannot be read"),
    ("other window", changed(COMPACTION, window={"through": 99}), "doesn't fit the log before it"),
    ("no compaction", put(SYNTHETIC, LINES[SYNTHETIC], LINES[MESSAGE]), "has the message 1"),
    ("policy", changed(CONTEXT, policy={"strategy": "x"}), "2: is not valid: policy"),
    ("metadata", changed(CONTEXT, metadata=[]), "2: has metadata that is not an object"),
    ("id", changed(CONTEXT, id=""), "2: has an id that is empty"),
    ("nul", changed(CONTEXT, id="a\0"), "2: has an id that contains a NUL character"),
    ("status", changed(CONTEXT, status="purged"), "2: is not valid: Invalid enum"),
    ("budget", changed(CONTEXT, token_budget=0), "2: is not valid: Expected `int` >= 1"),
    ("ratio", changed(CONTEXT, trigger_ratio=1.5), "2: is not valid: Expected `float`"),
    ("too early", changed(CONTEXT, version=99), "ends a context at version "),
    ("edited", changed(CONTEXT, token_budget=11), "doesn't match the context 'a', which was"),
    ("not whole", put(WHOLE), "starts a context before 'a' is complete"),
    ("twice", changed(SECOND, id="a"), "starts the context 'a', which is there twice"),
    ("order", changed(SECOND, id="A"), "starts the context 'A', which belongs before 'a'"),
    ("prefix", changed(0, prefix="b"), "2: has an id that does not start with 'b'"),
    ("two ends", put(WHOLE, LINES[WHOLE], LINES[WHOLE]), "ends a context that was not started"),
    ("early end", put(WHOLE, LINES[-1]), "ends the file before the context 'a' is complete"),
    ("context left out", lambda lines: lines.__delitem__(slice(CONTEXT, SECOND)),
     "doesn't match the file, which was changed or has lost contexts"),
    ("after the end", lambda lines: lines.append(lines[0]), "comes after the end"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), [case[1:] for case in BAD], ids=[c[0] for c in BAD])
def test_bad_line_is_told(change: Callable[[Lines], None], told: str) -> None:
    """
    The first line that does not belong is named, with the reason.
    """
    lines = list(LINES)
    change(lines)
    with pytest.raises(BadLine) as caught:
        read(lines)
    assert told in str(caught.value)


def test_a_replacement_waits_for_its_compaction() -> None:
    """
    Behind the messages of a replacement nothing else can stand but their compaction.
    """
    reading = ExportReader()
    for text in LINES[: SYNTHETIC + 1]:
        reading.read(text)
    found = json.loads(LINES[SYNTHETIC])
    message = json.loads(LINES[MESSAGE])
    kinds = [_kind(text) for text in LINES[:SYNTHETIC]]
    seq = kinds[::-1][: kinds[::-1].index("context")].count("message") + 1
    message.update(seq=seq, version=found["version"])
    with pytest.raises(BadLine, match="where the compaction of a replacement should be next"):
        reading.read(json.dumps(message).encode() + b"\n")
    with pytest.raises(BadLine, match="ends a context where the compaction of a replacement"):
        reading.context_end()
    again = json.dumps(found).encode() + b"\n"
    with pytest.raises(BadLine, match=r"has the position \d+ after \d+"):
        reading.read(again)


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (Persisted(4, path=((1, 2), (2, 4))), "a window whose path"),
        (Persisted(4, path=((0, 2),)), "a window whose path"),
        (Persisted(4, path=((1, 5),)), "a window whose path"),
        (Persisted(4, path=tuple((n, n) for n in range(1, 2004, 2))), "a window whose path"),
        (Persisted(4, revised=((3, 5),)), "a window with a revision"),
        (Persisted(4, revised=((3, 3),)), "a window with a revision"),
        (Persisted(3), "a window that doesn't fit"),
    ],
    ids=repr,
)
def test_a_window_fits_its_path(stored: Persisted, why: str) -> None:
    """
    Ranges and revisions lie in the log before the window, in order.
    """
    with pytest.raises(BadLine, match=why):
        checked_window(Raw(stored.encode()), 4)


def test_a_window_of_any_path_is_read() -> None:
    """
    Ranges may end before the log does, and there may be none.
    """
    for path in ((), ((1, 2),), ((1, 1), (3, 4))):
        stored = Persisted(4, revised=((1, 3),), path=path)
        assert checked_window(Raw(stored.encode()), 4) == stored


@pytest.mark.parametrize(
    ("change", "why"),
    [({"revises": 1}, "revises the place 1"), ({"revises": 2}, "revises the place 2")],
    ids=repr,
)
def test_a_message_revises_a_place_of_the_path(change: dict[str, Any], why: str) -> None:
    """
    What it revises is there before it.
    """
    place = first("message")
    line = {**json.loads(LINES[place]), **change}
    lines = [*LINES[:place], json.dumps(line, separators=(",", ":")).encode() + b"\n"]
    with pytest.raises(BadLine, match=why):
        read(lines)


def test_only_a_rewind_says_where_it_went() -> None:
    """
    And each of them does.
    """
    place = first("compaction")
    line = json.loads(LINES[place])
    line["window"].pop("to_version", None)
    line["strategy"] = "rewind"
    lines = [*LINES[:place], json.dumps(line, separators=(",", ":")).encode() + b"\n"]
    with pytest.raises(BadLine, match="a version to go back to"):
        read(lines)
