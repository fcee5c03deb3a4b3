"""
How a returned message differs from the one that was appended.

Values are compared as JSON text: 1, 1.0 and true differ, and the order of keys counts.
A message may come back whole, stripped (parts or tool keys left out) or cut (the middle of a text
replaced by a marker); every other difference is a fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.acceptance.pairing import TOOL_CALL_ID, TOOL_CALLS, Message, Part

ANSWERED_BY_SERVER = ("seq", "version", "token_count", "inserted_at")

# A text is cut down to no less than 256 tokens. In the densest scripts a character is at most about
# three of them, and the marker is part of what is left.
KEPT_CHARACTERS_MIN = 64
MARKER_CHARACTERS_MAX = 160
MARKER = re.compile(r"\[\.\.\. \d+ tokens left out \.\.\.\]")


def canonical(value: Any) -> str:
    """
    Write *value* as JSON text that is equal only for values that are equal in type and key order.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Difference:
    """What is left of a source message in a returned one."""

    kept: tuple[int, ...]
    left_out: tuple[int, ...]
    keys_left_out: tuple[str, ...] = ()
    cut: tuple[int, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def is_stripped(self) -> bool:
        """Tell whether parts or tool keys are missing."""
        return bool(self.left_out or self.keys_left_out)

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing differs."""
        return not (self.is_stripped or self.cut or self.faults)

    def keeps(self, slot: int | str) -> bool:
        """Tell whether the call or result at *slot* is still there."""
        if isinstance(slot, int):
            return slot in self.kept
        return slot.partition("[")[0] not in self.keys_left_out


def content_of(message: Message) -> dict[str, Any]:
    """Return *message* without what the server adds to every message, with the default metadata."""
    content = {key: value for key, value in message.items() if key not in ANSWERED_BY_SERVER}
    content.setdefault("metadata", {})
    return content


def fingerprint(message: Message) -> dict[str, str]:
    """Return the JSON text of each field of *message* that its sender owns."""
    return {key: canonical(value) for key, value in content_of(message).items()}


def compare(source: Message, returned: Message) -> Difference:
    """Work out what *returned* has left of *source*."""
    theirs, ours = fingerprint(source), fingerprint(returned)
    every_part = tuple(range(len(source["parts"])))
    if theirs == ours:
        return Difference(every_part, ())
    faults = [f"the key {key!r} was not in the source" for key in ours.keys() - theirs.keys()]
    missing = tuple(key for key in theirs if key not in ours)
    faults += [
        f"the key {key!r} is missing" for key in missing if key not in (TOOL_CALLS, TOOL_CALL_ID)
    ]
    faults += [
        f"{key!r} is {_shown(returned[key])} and was {_shown(source.get(key, {}))}"
        for key in ours
        if key in theirs and key != "parts" and ours[key] != theirs[key]
    ]
    kept, cut, part_faults = _match_parts(source["parts"], returned["parts"])
    left_out = tuple(index for index in every_part if index not in kept)
    return Difference(tuple(kept), left_out, missing, tuple(cut), (*faults, *part_faults))


def _match_parts(
    source: Sequence[Part], returned: Sequence[Part]
) -> tuple[list[int], list[int], list[str]]:
    """
    Find the *returned* parts, in order, among those of the *source*: which are kept, which cut.
    """
    kept: list[int] = []
    cut: list[int] = []
    faults: list[str] = []
    texts = [canonical(part) for part in source]
    start = 0
    for position, part in enumerate(returned):
        index = _find_part(source, texts, start, part)
        if index is None:
            faults.append(f"parts[{position}] is not in the source: {_shown(part)}")
            continue
        kept.append(index)
        if texts[index] != canonical(part):
            cut.append(index)
        start = index + 1
    return kept, cut, faults


def _find_part(
    source: Sequence[Part], texts: Sequence[str], start: int, returned: Part
) -> int | None:
    text = canonical(returned)
    candidates = range(start, len(source))
    same = next((index for index in candidates if texts[index] == text), None)
    if same is not None:
        return same
    return next((index for index in candidates if is_cut_part(source[index], returned)), None)


def is_cut_part(source: Part, returned: Part) -> bool:
    """Tell whether *returned* is *source* with only a text cut that may be cut."""
    if list(source) != list(returned):
        return False
    changed = [key for key in source if canonical(source[key]) != canonical(returned[key])]
    return all(_is_cut_field(source, returned, key) for key in changed)


def _is_cut_field(source: Part, returned: Part, key: str) -> bool:
    kind: str = source["type"]
    if kind == "text":
        return key == "text" and is_cut_text(source[key], returned[key])
    if kind == "tool_result" or kind.endswith("_tool_result"):
        return key == "content" and _is_cut_result(source[key], returned[key])
    if kind.startswith("tool-") or kind == "dynamic-tool":
        is_result = key in ("output", "errorText") and _is_cut_result(source[key], returned[key])
        return is_result or (key == "input" and _is_cut_inside(source[key], returned[key]))
    if kind in ("tool_call", "tool_use") or kind.endswith("_tool_use"):
        return key in ("payload", "input") and _is_cut_inside(source[key], returned[key])
    return False


def _is_cut_result(source: Any, returned: Any) -> bool:
    """Tell whether strings of a result are cut, or a marker stands in place of the whole."""
    is_marker = isinstance(returned, str) and MARKER.fullmatch(returned) is not None
    return is_marker or _is_cut_inside(source, returned)


def _is_cut_inside(source: Any, returned: Any) -> bool:
    """Tell whether nothing but strings inside of *source* is cut."""
    if canonical(source) == canonical(returned):
        return True
    if isinstance(source, str):
        return is_cut_text(source, returned)
    if isinstance(source, list) and isinstance(returned, list):
        return len(source) == len(returned) and all(map(_is_cut_inside, source, returned))
    if isinstance(source, Mapping) and isinstance(returned, Mapping):
        return list(source) == list(returned) and all(
            _is_cut_inside(source[key], returned[key]) for key in source
        )
    return False


def is_cut_text(source: Any, returned: Any) -> bool:
    """
    Tell whether *returned* is the beginning and the end of *source* with a marker between them.

    The marker says how many tokens were left out, so it holds a digit.
    """
    if not isinstance(source, str) or not isinstance(returned, str):
        return False
    head = _common_length(source, returned)
    most = min(len(source), len(returned)) - head
    tail = min(_common_length(source[::-1], returned[::-1]), most)
    marker = returned[head : len(returned) - tail]
    return (
        head > 0
        and tail > 0
        and head + tail < len(source)
        and head + tail >= KEPT_CHARACTERS_MIN
        and 0 < len(marker) <= MARKER_CHARACTERS_MAX
        and any(character.isdigit() for character in marker)
    )


def _common_length(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    differing = (index for index, (left, right) in enumerate(pairs) if left != right)
    return next(differing, min(len(one), len(other)))


def _shown(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= 120 else f"{text[:70]} … {text[-40:]}"
