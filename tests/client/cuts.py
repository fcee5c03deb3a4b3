"""
Conversations of all shapes, and where they may be cut: `tests/wire/cuts.json`.

    python -m tests.client.cuts

Each form of calls and results has a conversation of a kind that is easily broken, in turn, and
random ones mix the forms. The places are those that the model of the rules finds; what is
summarised is what the client for Python would. The tests of the core and of every SDK read the
file, so that all of them go by the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from fastpaca import CannotCompact, Message
from fastpaca.client.compacting import plan
from fastpaca.client.values import Segment, View
from fastpaca.context.groups import Groups
from fastpaca.context.message import Entry, log_entry, synthetic_entry
from tests.kit.messages import counted
from tests.rules.author import Author
from tests.rules.forms import CROSSED, FORMS, SERVED_ROWS, Form, say, text
from tests.rules.kinds import KINDS
from tests.rules.meaning import Said
from tests.rules.model import Model, Settings

FILE: Final = Path(__file__).parents[1] / "wire" / "cuts.json"

RANDOM: Final = 60
"""How many conversations mix forms."""

Json = dict[str, Any]


def told() -> dict[str, list[Said]]:
    """Tell all conversations, by name."""
    found: dict[str, list[Said]] = {}
    for number, form in enumerate([*FORMS.values(), *list(CROSSED.values())[::8]]):
        kinds = [kind for kind in KINDS if KINDS[kind](form)]
        kind = "approved" if form.requests else kinds[number % len(kinds)]
        found[f"{kind}, {form.name}"] = KINDS[kind](form)
    for seed in range(RANDOM):
        found[f"random {seed}"] = _random(Random(seed), list(FORMS.values()))
    return found


def _random(rng: Random, forms: list[Form]) -> list[Said]:
    author = Author(rng, rng.sample(forms, 3), SERVED_ROWS)
    said = [author.next() for _ in range(rng.randint(6, 12))]
    if rng.random() < 0.2:
        summary = say(rng.choice(("user", "assistant")), text()).as_synthetic()
        said.insert(rng.choice((0, 1)), summary)
    return said


def case(name: str, said: Sequence[Said]) -> Json:
    """Write a conversation, and where the rules let it be cut."""
    model = Model(Settings(2**40), lambda one, gone: one.tokens)
    for one in said:
        if one.is_synthetic:
            model.add_synthetic(one)
        else:
            model.append(one)
    model.pinned = 0  # whoever cuts by hand keeps the instructions himself
    messages = [_sent(one) for one in said]
    keep_last, trigger = (2, 4, 20)[len(said) % 3], len(said) * 2 // 3
    return {
        "name": name,
        "messages": messages,
        "cut_points": model.whole_cuts(),
        "task_messages": [at for at, one in enumerate(said) if one.opens_turn],
        "keep_last": keep_last,
        "trigger": trigger,
        "cut": cut_of(messages, keep_last, trigger),
    }


def cut_of(messages: Sequence[Json], keep_last: int, trigger: int) -> list[int] | None:
    """Ask the client what of *messages*, a token each, is summarised; None if that can't help."""
    try:
        found = plan(view_of(messages), keep_last, trigger)
    except CannotCompact:
        return None
    assert found is not None
    return [len(found.pinned), found.cut]


def view_of(messages: Sequence[Json], version: int = 0, **fields: Any) -> View:
    """Make a view of *messages*, a token each unless they say otherwise."""
    found = [
        Message({"seq": at, "version": at, "token_count": 1, "metadata": {}, **message})
        for at, message in enumerate(messages, 1)
    ]
    return View(
        version=version or len(found),
        messages=found,
        used_tokens=len(found),
        needs_compaction=fields.pop("needs_compaction", True),
        segments=[Segment(type="live", from_seq=1, to_seq=len(found))],
        token_budget=10,
        window_tokens=len(found),
        fit=fields.pop("fit", "whole"),
        stable_messages=0,
    )


def _sent(said: Said) -> Json:
    message = {key: value for key, value in said.message.items() if key != "token_count"}
    return message | ({"seq": None} if said.is_synthetic else {})


def cases() -> list[Json]:
    """Read the file."""
    return json.loads(FILE.read_text())  # type: ignore[no-any-return]  # as it was written


def points_of(messages: Sequence[Json]) -> tuple[list[int], list[int]]:
    """Ask the core where *messages* may be cut, and which of them open a turn."""
    entries = entries_of(messages)
    openers = [at for at, entry in enumerate(entries) if entry.opens_turn]
    return Groups(entries).read(len(entries)).whole_cuts(), openers


def entries_of(messages: Sequence[Json]) -> list[Entry]:
    """Make entries of *messages*; one whose `seq` is null is synthetic."""
    entries = []
    for seq, message in enumerate(messages, 1):
        one = counted({key: value for key, value in message.items() if key != "seq"})
        if message.get("seq", seq) is None:
            entries.append(synthetic_entry(one.draft, one.counts, seq, 0, (seq, seq), 0))
        else:
            entries.append(log_entry(one.draft, one.counts, seq, seq, 0))
    return entries


if __name__ == "__main__":
    lines = [json.dumps(case(name, said), separators=(",", ":")) for name, said in told().items()]
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")
