"""
Shortening messages for one view.

What is shortened, stage by stage, the longest first:

1. texts, and results that are strings;
2. strings inside results of every shape, and the texts of documents;
3. whole results, which a marker in their own shape replaces;
4. the long strings in the arguments of calls, which stay valid JSON.

A string keeps its beginning and its end, on character boundaries, and a marker between them says
how many tokens are missing. No string is cut below the floor. Signatures, ids and binary data are
never cut.

The cost of a shortened string is estimated from its stored count, in proportion to its remaining
bytes. No tokenizer is used, so a view does not depend on the current one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from fastpaca import shapes
from fastpaca.context import jsontext
from fastpaca.context.draft import decoded_part
from fastpaca.context.message import Counts, Entry
from fastpaca.shapes import By, Marker, Row, Shape, Side

FLOOR_TOKENS: Final = 256
"""A text is never cut to fewer tokens than this, besides its marker; nor to fewer bytes."""

MARKER_TOKENS: Final = 16
"""What a marker is counted as, before the token factor."""

_WORTH_CUTTING_BYTES: Final = FLOOR_TOKENS + 64  # a marker would not make a shorter text shorter
_LONG_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.){%d}' % _WORTH_CUTTING_BYTES, re.DOTALL)
_BASE64: Final = re.compile(r"(?=[^a-z]{0,199}[a-z])(?=[^A-Z]{0,199}[A-Z])[A-Za-z0-9+/_=-]{200}")

STRINGS, INSIDE, WHOLE, ARGUMENTS = range(4)
"""The stages, in order."""

Path = tuple[str | int, ...]
"""
The keys and indexes that lead to a string in a part or a key. An empty string stands for decoding
the JSON in a string.
"""


class Text(NamedTuple):
    """
    A string that may be cut, or a result that a marker may replace.

    Attributes:
        entry: The index of its entry.
        at: The index of its part, or the name of its key.
        path: Its path there.
        tokens: What it costs.
        row: For a whole result, its row of the table.
    """

    entry: int
    at: int | str
    path: Path
    tokens: int
    row: Row | None = None


def total(entries: Iterable[Entry]) -> int:
    """Return the sum of the tokens of *entries*."""
    return sum([entry.counts.total for entry in entries])


def shortened(entries: Sequence[Entry], token_budget: int, factor: float) -> list[Entry]:
    """
    Shorten *entries* until all fit *token_budget*, or until nothing more can be shortened.

    *factor* is the token factor of the context.
    """
    left = list(entries)
    marker = math.ceil(MARKER_TOKENS * factor)
    for stage in (STRINGS, INSIDE, WHOLE, ARGUMENTS):
        excess = total(left) - token_budget
        if excess <= 0:
            break
        texts = [text for i, entry in enumerate(left) for text in _texts(stage, i, entry)]
        if stage == WHOLE:
            left = _with_markers(left, texts, excess, marker)
        else:
            left = _with_cuts(left, texts, excess, marker)
    return left


def _with_cuts(entries: list[Entry], texts: list[Text], excess: int, marker: int) -> list[Entry]:
    """Cut the longest *texts* until *excess* tokens are saved, or to the floor."""
    level = _level([text.tokens for text in texts], excess, marker)
    chosen: dict[int, list[Text]] = {}
    for text in texts:
        if text.tokens > level + marker:
            chosen.setdefault(text.entry, []).append(text)
    left = list(entries)
    for index, longest in chosen.items():
        left[index] = _cut(entries[index], longest, level, marker)
    return left


def _level(costs: list[int], excess: int, marker: int) -> int:
    """Return the highest level to which cutting texts saves *excess* tokens, or the floor."""
    low, high = FLOOR_TOKENS, max(costs, default=FLOOR_TOKENS)
    while low < high:
        level = (low + high + 1) // 2
        saved = sum([cost - level - marker for cost in costs if cost > level + marker])
        if saved >= excess:
            low = level
        else:
            high = level - 1
    return low


def _with_markers(
    entries: list[Entry], results: list[Text], excess: int, marker: int
) -> list[Entry]:
    """Replace the longest *results* with markers until *excess* tokens are saved."""
    left = list(entries)
    for result in sorted(results, key=lambda result: -result.tokens):
        if excess <= 0 or result.tokens <= 2 * marker:
            break
        left[result.entry] = _marked(left[result.entry], result, marker)
        excess -= result.tokens - marker
    return left


# --- finding what may be shortened ---


def _texts(stage: int, index: int, entry: Entry) -> Iterator[Text]:
    """Yield what may be shortened of *entry* in a *stage*, with its share of the tokens."""
    least = 0 if stage == WHOLE else FLOOR_TOKENS
    if entry.tokens <= least:
        return
    message = jsontext.members(entry.body, (), None)
    counts = normal(entry.counts)
    parts = jsontext.items(message["parts"], "parts")
    for place, part in enumerate(parts):
        if counts.parts[place] > least:
            for path, share, row in _of_part(stage, part, counts.parts[place]):
                if share > least:
                    yield Text(index, place, path, share, row)
    if stage == ARGUMENTS:
        keys = [key for key in message if key not in shapes.STRUCTURAL_KEYS]
        for key, tokens in zip(keys, counts.keys, strict=True):
            if key in (shapes.CALLS_KEY, shapes.CALL_KEY) and tokens > least:
                for path, value in _arguments_in_key(key, message[key]):
                    share = tokens * len(value) // max(len(message[key]), 1)
                    if share > least:
                        yield Text(index, key, path, share)


def normal(counts: Counts) -> Counts:
    """Return *counts* with the total, which a caller may have set, divided among the pieces."""
    counted = counts.counted
    if counted == counts.total:
        return counts
    counted = max(counted, 1)  # of nothing each has a share of nothing
    keys = tuple([tokens * counts.total // counted for tokens in counts.keys])
    parts = tuple([tokens * counts.total // counted for tokens in counts.parts])
    return Counts(counts.total, counts.total - sum(keys) - sum(parts), keys, parts)


def _of_part(stage: int, part: bytes, tokens: int) -> Iterator[tuple[Path, int, Row | None]]:
    """Yield (path, tokens, row) of what may be shortened of a *part* that costs *tokens*."""
    members = jsontext.members(part, (), None)
    decoded = decoded_part(members)
    row = shapes.row_of(decoded)
    if row is None:
        yield from _of_plain_part(stage, part, members, decoded, tokens)
        return
    held = members
    prefix: Path = ()
    if row.by is By.KEY:
        held, prefix = jsontext.members(members[row.word], (), None), (row.word,)
    keys = row.values if row.side is Side.CALL else row.arguments
    wanted: Sequence[str] = keys if stage == ARGUMENTS else row.values
    if stage != ARGUMENTS and row.side not in (Side.RESULT, Side.BOTH):
        return
    for key in wanted:
        if key not in held:
            continue
        value = held[key]
        share = tokens * len(value) // max(len(part), 1)
        if stage == WHOLE:
            if row.marker is not Marker.NONE:
                yield (*prefix, key), share, row
        else:
            for path, text in _strings_at(stage, value):
                if is_worth_cutting(text) and not _is_binary(text):
                    yield (*prefix, key, *path), tokens * len(text) // len(part), None


def _of_plain_part(
    stage: int, part: bytes, members: jsontext.Members, decoded: dict[str, Any], tokens: int
) -> Iterator[tuple[Path, int, Row | None]]:
    shape = shapes.shape_of(decoded, None)
    kind: str = decoded["type"]
    if stage == STRINGS and shape is Shape.TEXT:
        key = shapes.TEXT_KEYS[kind]
        if key:
            if is_worth_cutting(members[key]):
                yield (key,), tokens, None  # such a part is counted as its text alone
            return
        for path, text in _walk(members.get("content", b"null")):
            if path[-1:] == ("text",) and is_worth_cutting(text):
                yield ("content", *path), tokens * len(text) // len(part), None
    if stage == INSIDE and kind == "document" and "source" in members:
        for path, text in _walk(members["source"]):
            if is_worth_cutting(text) and not _is_binary(text):
                yield ("source", *path), tokens * len(text) // len(part), None


def _strings_at(stage: int, value: bytes) -> Iterator[tuple[Path, bytes]]:
    """Yield the strings of a *value* that a stage may cut."""
    if value[:1] == b'"':
        if stage == STRINGS:
            yield (), value
        elif stage == ARGUMENTS:
            yield from _written_arguments(value)
    elif stage != STRINGS:
        yield from _walk(value)


def _written_arguments(value: bytes) -> Iterator[tuple[Path, bytes]]:
    """Yield the strings in the JSON in a string, or the string itself if it is not JSON."""
    inner = _inner(value)
    if inner is None:
        yield (), value
        return
    for path, text in _walk(inner):
        yield ("", *path), text


def _inner(value: bytes) -> bytes | None:
    """Return the JSON object or list in the string *value*, or None."""
    text = jsontext.string(value, "").encode()
    if text.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        minified = msgspec.json.format(text, indent=-1)
        jsontext.check_depth(minified, "")
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    return minified


def _arguments_in_key(key: str, value: bytes) -> Iterator[tuple[Path, bytes]]:
    calls = enumerate(jsontext.items(value, key)) if value[:1] == b"[" else ((None, value),)
    for index, call in calls:
        start: Path = () if index is None else (index,)
        if call[:1] != b"{":
            continue
        members = jsontext.members(call, (), None)
        for path, held in ((("function",), members.get("function", b"")), ((), call)):
            if held[:1] != b"{":
                continue
            inside = jsontext.members(held, (), None)
            for name in ("arguments", "args"):
                for rest, text in _strings_at(ARGUMENTS, inside.get(name, b"")):
                    if is_worth_cutting(text):
                        yield (*start, *path, name, *rest), text


def _walk(value: bytes) -> Iterator[tuple[Path, bytes]]:
    """Yield the strings inside a *value*, except those that are never cut."""
    if not _LONG_STRING.search(value):
        return
    if value[:1] == b'"':
        yield (), value
    elif value[:1] == b"[":
        for index, item in enumerate(jsontext.items(value, "")):
            for path, text in _walk(item):
                yield (index, *path), text
    else:
        members = jsontext.members(value, (), None)
        for key, held in members.items():
            if not _is_fixed(key, members):
                for path, text in _walk(held):
                    yield (key, *path), text


def _is_fixed(key: str, members: jsontext.Members) -> bool:
    """Return whether *key* holds an id, a name, a signature or binary data."""
    if key == "data" and members.get("type", b'"text"') != b'"text"':
        return True
    return (
        key in shapes.FIXED_KEYS
        or key in shapes.OPAQUE_KEYS
        or key.endswith(("_id", "Id", "_url", "Url"))
    )


def is_worth_cutting(value: bytes) -> bool:
    """Return whether the JSON string *value* is so long that a marker makes it shorter."""
    # A caller may count more tokens than there are bytes.
    if len(value) <= _WORTH_CUTTING_BYTES:
        return False
    return len(jsontext.string(value, "").encode()) > _WORTH_CUTTING_BYTES


def _is_binary(value: bytes) -> bool:
    """Return whether the JSON string *value* is a data URL or base64."""
    return (
        value.startswith(b'"data:')
        or _BASE64.match(value[1:201].decode(errors="replace")) is not None
    )


# --- writing what is shorter ---


def _cut(entry: Entry, texts: list[Text], level: int, marker: int) -> Entry:
    def rewrite(value: bytes, text: Text) -> bytes:
        return _rewritten(value, text.path, text.tokens, level)

    return _written(entry, [(text, text.tokens - level - marker) for text in texts], rewrite)


def _marked(entry: Entry, result: Text, marker: int) -> Entry:
    row = result.row
    assert row is not None

    def rewrite(value: bytes, text: Text) -> bytes:
        said = f"[... {text.tokens} tokens left out ...]"
        key = text.path[-1]
        held = {
            Marker.STRING: said,
            Marker.OUTPUT: {"type": "text", "value": said} if key == "output" else said,
            Marker.OBJECT: {"output": said},
            Marker.BLOCKS: [{"text": said}],
            Marker.SHELL: [
                {"stdout": said, "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
            ],
        }[row.marker]
        return _replaced(value, text.path, msgspec.json.encode(held))

    return _written(entry, [(result, result.tokens - marker)], rewrite)


def _written(entry: Entry, texts: list[tuple[Text, int]], rewrite: Any) -> Entry:
    """Return *entry* with each of *texts* rewritten, which saves so many tokens each."""
    message = jsontext.members(entry.body, (), None)
    parts = jsontext.items(message["parts"], "parts")
    counts = normal(entry.counts)
    part_counts, key_counts = list(counts.parts), list(counts.keys)
    keys = [key for key in message if key not in shapes.STRUCTURAL_KEYS]
    saved_in_all = 0
    for text, saved in texts:
        saved_in_all += saved
        if isinstance(text.at, int):
            parts[text.at] = rewrite(parts[text.at], text)
            part_counts[text.at] -= saved
        else:
            message[text.at] = rewrite(message[text.at], text)
            key_counts[keys.index(text.at)] -= saved
    total_ = counts.total - saved_in_all
    message["parts"] = b"[" + b",".join(parts) + b"]"
    message["token_count"] = b"%d" % total_
    counts = Counts(total_, counts.overhead, tuple(key_counts), tuple(part_counts))
    return replace(entry, body=jsontext.joined(message), counts=counts)


def _rewritten(value: bytes, path: Path, tokens: int, level: int) -> bytes:
    """Return *value* with the string at *path* cut."""
    if not path:
        return msgspec.json.encode(cut_middle(jsontext.string(value, ""), tokens, level))
    key = path[0]
    if key == "" and value[:1] == b'"':
        inner = _inner(value)
        assert inner is not None
        return msgspec.json.encode(_rewritten(inner, path[1:], tokens, level).decode())
    if isinstance(key, int):
        listed = jsontext.items(value, "")
        listed[key] = _rewritten(listed[key], path[1:], tokens, level)
        return b"[" + b",".join(listed) + b"]"
    members = jsontext.members(value, (), None)
    members[key] = _rewritten(members[key], path[1:], tokens, level)
    return jsontext.joined(members)


def _replaced(value: bytes, path: Path, held: bytes) -> bytes:
    """Return *value* with *held* at *path*."""
    if not path:
        return held
    members = jsontext.members(value, (), None)
    key = path[0]
    assert isinstance(key, str)
    members[key] = _replaced(members[key], path[1:], held)
    return jsontext.joined(members)


def cut_middle(text: str, tokens: int, level: int) -> str:
    """
    Cut *text*, counted as *tokens*, to about *level* tokens of its beginning and end.

    The marker in between says how many tokens are missing.
    """
    data = text.encode()
    kept = max(len(data) * level // tokens, FLOOR_TOKENS)
    head = data[: kept - kept // 2].decode(errors="ignore")
    tail = data[len(data) - kept // 2 :].decode(errors="ignore")
    return f"{head}\n[... {tokens - level} tokens left out ...]\n{tail}"
