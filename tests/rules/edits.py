"""Random revisions of messages: what grows, shrinks, is said otherwise, or is another message."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from tests.rules.meaning import ANSWERS, ASKS, Json
from tests.rules.reading import read


def edited(rng: Random, message: Json, other: Json, words: Callable[[], str]) -> Json:
    """
    Draw what becomes of *message*.

    If the *other* message is of the same role, it may take over something of it, or all.
    """
    left = _drawn(rng, message, other, words)
    kinds = [item.kind for item in read(left).items]
    asked = next((at for at, kind in enumerate(kinds) if kind in ASKS), len(kinds))
    # A result after a call of its own message divides steps, which is forgotten if it goes.
    is_odd = any(kind in ANSWERS for kind in kinds[asked:])
    return {**message, "note": words()} if is_odd else left


def _drawn(rng: Random, message: Json, other: Json, words: Callable[[], str]) -> Json:
    left: Json = json.loads(json.dumps(message))
    parts: list[Json] = left["parts"]
    is_alike = other["role"] == left["role"]
    if is_alike and rng.random() < 0.3:
        return other
    for _ in range(rng.choice((1, 1, 2))):
        draw = rng.random()
        if draw < 0.3:
            parts.append({"type": "text", "text": words()})
        elif draw < 0.5:
            _close(rng, parts)
        elif draw < 0.65 and parts:
            del parts[rng.randrange(len(parts))]
        elif draw < 0.75:
            left.pop("tool_calls", None)
        elif draw < 0.9 and is_alike:
            parts[rng.randint(0, len(parts)) :] = other["parts"]
        elif parts:
            rng.shuffle(parts)
    return left


def _close(rng: Random, parts: list[Json]) -> None:
    """Give a part of a UI message its output, or take it away again."""
    held = [part for part in parts if "toolCallId" in part and isinstance(part.get("state"), str)]
    if held:
        part = rng.choice(held)
        is_open = part["state"] == "input-available"
        part["state"] = "output-available" if is_open else "input-available"
