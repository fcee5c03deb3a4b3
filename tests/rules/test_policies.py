"""
Windows of the policies against a second telling of the rules, in every form there is.

A row that is added to the table of shapes is in these tests at once.
"""

from __future__ import annotations

import pytest

from fastpaca.shapes import ROWS
from tests.rules.forms import FORMS, SERVED_ROWS, say, text
from tests.rules.kinds import KINDS, forms_for
from tests.rules.meaning import INSTRUCTIONS, Item, Said
from tests.rules.model import Settings
from tests.rules.reading import read
from tests.rules.told import Told

SUMMARIES = [say(role, text(), tokens=20) for role in ("user", "assistant", "system")]


def settings_for(history: list[Said], number: int) -> Settings:
    """Choose settings by a *number*, with a budget in proportion to the *history*."""
    total = sum(said.tokens for said in history)
    choices = (
        Settings(int(total * 0.9)),
        Settings(int(total * 0.6), target_ratio=0.8),
        Settings(int(total * 0.4), target_ratio=0.3, limit=3),
        Settings(int(total * 0.5), 1.0, limit=5, target_ratio=1.0, start_on_user=False),
        Settings(int(total * 0.6), skip_kinds=("tool", "reasoning")),
        Settings(int(total * 0.4), skip_kinds=("tool",), start_on_user=False),
        Settings(int(total * 0.5), skip_kinds=("reasoning",), limit=8),
    )
    return choices[number % len(choices)]


@pytest.mark.parametrize("kind", KINDS)
def test_window_is_what_the_rules_keep_in_every_form(kind: str) -> None:
    """
    After every append the window holds the messages and parts that the rules name, and no others.
    """
    trims = 0
    for number, form in enumerate(forms_for(kind)):
        history = KINDS[kind](form)
        told = Told(settings_for(history, number + len(kind)))
        for said in history:
            told.append(said)
        trims += told.trims
    assert trims > 0


@pytest.mark.parametrize("kind", KINDS)
def test_replaced_window_goes_on_by_the_rules_in_every_form(kind: str) -> None:
    """
    Messages that a summary keeps by reference are held together as before, late results of what it
    replaced stay out, and trims that follow keep what the rules name.
    """
    place = list(KINDS).index(kind)
    for number, form in enumerate(forms_for(kind)[place % 3 :: 3]):
        history = KINDS[kind](form)
        told = Told(settings_for(history, number))
        for place, said in enumerate(history):
            told.append(said)
            if place % 5 == number % 5:
                summarise(told, number)


def summarise(told: Told, number: int) -> None:
    """Put a summary in place of the older half of the window, at a place that parts nothing."""
    model = told.model
    seqs = [model.log.index(kept.number) + 1 for kept in model.window if kept.number in model.log]
    if len(seqs) < len(model.window):
        return  # there is a summary already
    places = model.whole_cuts()
    cut = places[len(places) // 2]
    roles = [model.said[kept.number].role for kept in model.window[:cut]]
    leading = next((at for at, role in enumerate(roles) if role not in INSTRUCTIONS), cut)
    summary = SUMMARIES[number % len(SUMMARIES)]
    told.replace([*seqs[:leading], summary.as_synthetic(), *seqs[cut:]])


def test_every_row_of_the_table_is_spoken() -> None:
    """
    No row is left out, be it of calls, results or approvals.
    """
    spoken = {half.row for form in FORMS.values() for half in (form.asks, form.answers)}
    spoken |= {row for form in FORMS.values() for row in form.requests or ()}
    assert spoken | {served.row for served in SERVED_ROWS} >= set(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_read_as_what_it_means(kind: str) -> None:
    """
    The reader that goes by the published list finds in each message what its author has meant.
    """
    for form in forms_for(kind):
        for said in KINDS[kind](form):
            found = read(said.message, said.tokens)
            told = f"{form.name}: {said.message}"
            assert _untyped(found.items) == _untyped(said.items), told
            assert found.has_other_keys == said.has_other_keys, told


def _untyped(items: tuple[Item, ...]) -> list[Item]:
    return [item._replace(type="") for item in items]
