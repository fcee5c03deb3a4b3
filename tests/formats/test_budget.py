"""A rendering is within its budget, repairs included."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from uuid import UUID

import pytest
from msgspec.structs import replace

from fastpaca.context.config import Config
from fastpaca.context.fit import fit
from fastpaca.context.message import Entry, log_entry
from fastpaca.context.pinned import pinned_run
from fastpaca.context.window import Window
from fastpaca.formats import (
    REPAIRS,
    RESERVED_TOKENS,
    Options,
    decoded,
    rendered,
    report,
    surcharges,
)
from fastpaca.formats.gemini import FOREIGN_SIGNATURE
from fastpaca.formats.report import FRAME_TOKENS
from fastpaca.formats.writing import HASH_BYTES
from fastpaca.tokens import counter_for
from tests.formats.histories import history
from tests.formats.samples import NAMES
from tests.kit.messages import counted


@pytest.fixture
def sim_runs() -> int:
    """How many conversations are fitted and rendered when nothing else is asked for."""
    return 40


def entries_of(seed: int) -> list[Entry]:
    """Return the entries of a random conversation."""
    entries = []
    for seq, message in enumerate(history(seed), 1):
        append = counted({key: value for key, value in message.items() if key != "seq"})
        entries.append(log_entry(append.draft, append.counts, seq, seq, 0))
    return entries


def dearer(entry: Entry, tokens: int) -> Entry:
    """Return *entry* at so many tokens more."""
    counts = entry.counts
    counts = replace(counts, total=counts.total + tokens, overhead=counts.overhead + tokens)
    return replace(entry, counts=counts)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", NAMES)
def test_rendering_is_within_the_budget(name: str, sim_seeds: range) -> None:
    """
    A window that is fitted with the surcharges of its messages never costs more than the budget
    once it is rendered, whatever is broken in it and whatever was cut.
    """
    for seed in sim_seeds:
        entries = entries_of(seed)
        messages = decoded([entry.body for entry in entries])
        added = surcharges(messages, name, Options())
        window = Window.of(map(dearer, entries, added), pinned=pinned_run(entries))
        for budget in Random(seed).sample(range(RESERVED_TOKENS + 1, window.tokens + 100), 4):
            fitted = fit(window, Config(token_budget=budget), budget - RESERVED_TOKENS)
            left = decoded([entry.body for entry in fitted.entries])
            rendering = rendered(left, name, Options())
            raw = fitted.used_tokens - sum(
                added[int(entry.seq or 0) - 1] for entry in fitted.entries
            )
            assert raw + rendering.added_tokens <= budget, (seed, budget)


@pytest.mark.parametrize("name", NAMES)
def test_repairs_cost_no_more_than_the_surcharges(name: str) -> None:
    """
    A rendering adds no more than the surcharges of its messages, and what is reserved for the list.
    """
    for seed in range(30):
        messages = history(seed)
        rendering = rendered(messages, name, Options())
        costs = surcharges(messages, name, Options())
        assert rendering.added_tokens <= sum(costs) + RESERVED_TOKENS


@pytest.mark.parametrize("spec", ["tiktoken:gpt-4o", "tiktoken:gpt-4"])
def test_texts_of_repairs_cost_what_is_stated(spec: str) -> None:
    """
    No text that a repair adds has more tokens than the table states for the repair.
    """
    count = counter_for(spec).count
    made = (f"{at} call_{at}" for at in range(500))
    ids = ["call_" + blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest() for text in made]
    id_tokens = max(map(count, [*ids, "toolu_01A09q90qw90lq917835lq9A", str(UUID(int=7**45))]))
    added = {
        report.CLOSED_CALL: FRAME_TOKENS + count(report.CLOSED_TEXT) + id_tokens,
        report.FILLED_RESULT: count(report.NO_OUTPUT_TEXT),
        report.ADDED_FIRST: FRAME_TOKENS + count(report.FIRST_TEXT),
        report.ADDED_LAST: FRAME_TOKENS + count(report.LAST_TEXT),
        report.CHANGED_ID: 2 * max(map(count, ids)),
        report.CHANGED_NAME: 2 * max(count("_" * length) for length in range(1, 65)),
        report.ADDED_TEXT: count(report.FILE_TEXT),
        report.ADDED_SIGNATURE: count(f'"thoughtSignature":"{FOREIGN_SIGNATURE}"'),
    }
    stated = {code: tokens for code, (tokens, _) in REPAIRS.items() if tokens}
    assert added.keys() == stated.keys()
    assert {code: added[code] for code in added if added[code] > stated[code]} == {}
    assert count(report.DENIED_TEXT) <= count(report.CLOSED_TEXT)
