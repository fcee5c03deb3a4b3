"""
Reads with a budget of conversations of every kind, and of giants, in every form there is.

A row that is added to the table of shapes is in these tests at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pytest

from fastpaca.context import Manual
from fastpaca.context.context import WindowView
from fastpaca.shapes import Marker
from tests.context.conversation import Conversation, decoded
from tests.rules.forms import CROSSED, FORMS, Form, Piece, say, text
from tests.rules.judge import complaints, numbered, pairing_of, shown, task_of
from tests.rules.kinds import KINDS, TASK, forms_for
from tests.rules.meaning import Said

WORDS: Final = "".join(f"word {number}, " for number in range(700))
"""A text of 8,000 tokens, one for each character."""

MANY: Final = [{"row": number} for number in range(300)]
"""Half as much, in which no string is worth shortening."""

BUDGETS: Final = (700, 2000)


def view_of(said: Sequence[Said], budget: int) -> WindowView:
    """Read what was *said* under a *budget*, from a window that nobody has trimmed."""
    talk = Conversation(Manual())
    for one in said:
        talk.say(one.message)
    return talk.context.view(budget)


def check(said: Sequence[Said], view: WindowView, name: str) -> None:
    """Hold a *view* against what must hold of every view."""
    messages = decoded(list(view.entries))
    told = f"{name}, budget_tokens={view.token_budget}: "
    assert view.used_tokens == sum(one["token_count"] for one in messages), told
    assert view.used_tokens <= view.token_budget, told
    assert (view.fit == "empty") == (not messages), told
    seen = shown(said, messages)
    found = list(complaints(said, pairing_of(said), seen, may_be_cut=view.fit == "cut"))
    assert found == [], told + "; ".join(found)
    task = task_of(said)
    if task is not None and said[task].tokens <= view.token_budget:
        assert task in [one.number for one in seen], told + "the task is missing"


@pytest.mark.parametrize("kind", KINDS)
def test_views_of_every_kind_part_nothing_in_any_form(kind: str) -> None:
    """
    Under every budget the view keeps it, parts no call from its result, and holds the task.
    """
    fits = set()
    for form in forms_for(kind):
        history = [numbered(said) for said in KINDS[kind](form)]
        total = sum(one.tokens for one in history)
        talk = Conversation(Manual())
        talk.say(*(one.message for one in history))
        for share in (0.05, 0.1, 0.2, 0.4, 0.7, 0.95):
            view = talk.context.view(max(1, int(total * share)))
            check(history, view, f"{kind}, {form.name}")
            fits.add(view.fit)
    assert "dropped" in fits


Giant = Callable[[Form], list[Said]]


def with_result(form: Form, value: Any) -> list[Said]:
    """A task and a call with a large result; a result as a whole is its text."""
    if form.answers.row is None:
        words = value if isinstance(value, str) else json.dumps(value)
        brought = say(form.answers.role, text(words), form.result(), tokens=None)
    else:
        brought = say(form.answers.role, form.result(value=value), tokens=None)
    return [TASK, say("assistant", form.call(), tokens=None), brought]


def with_arguments(form: Form, value: Any) -> list[Said]:
    """A task and a call that is given much."""
    is_listed = form.asks.row is None and not isinstance(value, str)
    called = say(
        "assistant", form.call(value=json.dumps(value) if is_listed else value), tokens=None
    )
    return [TASK, called, *([] if form.is_both else [form.results(form.result(), tokens=None)])]


def beside(*pieces: Piece) -> Giant:
    """A small call and its result after a message of *pieces*."""
    return lambda form: [
        say("user", *pieces, tokens=None),
        say("assistant", form.call(), tokens=None),
        form.results(form.result(), tokens=None),
    ]


def many_steps(form: Form) -> list[Said]:
    """One step of many parallel calls, each with a result that is as long as a page."""
    calls = [form.call(f"c{number}") for number in range(12)]
    if form.answers.row is None:
        results = [
            say(form.answers.role, text(WORDS[:900]), form.result(f"c{number}"), tokens=None)
            for number in range(12)
        ]
    else:
        pieces = [form.result(f"c{number}", value=WORDS[:900]) for number in range(12)]
        results = [say(form.answers.role, *pieces, tokens=None)]
    return [TASK, say("assistant", *calls, tokens=None), *results]


GIANTS: Final[Mapping[str, Giant]] = {
    "text as result": lambda form: with_result(form, WORDS),
    "object as result": lambda form: with_result(form, {"rows": [1, WORDS], "id": "x"}),
    "list of texts as result": lambda form: with_result(form, [{"type": "text", "text": WORDS}]),
    "numbers as result": lambda form: with_result(form, MANY),
    "JSON as arguments": lambda form: with_arguments(form, json.dumps({"q": WORDS, "n": 1})),
    "object as arguments": lambda form: with_arguments(form, {"q": [WORDS], "n": 1}),
    "task": beside(text(WORDS)),
    "many results of one step": many_steps,
}
"""Conversations of a task and a call, one thing of which is far above any budget."""


@pytest.mark.parametrize("giant", GIANTS)
def test_giants_are_made_smaller_in_every_form(giant: str) -> None:
    """
    Whatever is too large, the task is there, the call has its result, and arguments are JSON still.

    Where nothing can be shortened, in numbers or in results of a type of their own, the pair goes.
    """
    cut = 0
    for form in (*FORMS.values(), *list(CROSSED.values())[:: len(GIANTS)]):
        said = [numbered(one) for one in GIANTS[giant](form)]
        for budget in BUDGETS:
            view = view_of(said, budget)
            check(said, view, f"{giant}, {form.name}")
            if may_stay(giant, form):
                assert view.fit == "cut", f"{giant}, {form.name}, {budget}"
                assert [entry.seq for entry in view.entries] == list(range(1, len(said) + 1))
            cut += view.fit == "cut"
    assert cut > 0


def may_stay(giant: str, form: Form) -> bool:
    """Tell whether the call can stay with its result, as all that is large can be shortened."""
    if giant == "many results of one step":
        return False  # below the floor of each, the oldest go
    row = form.answers.row
    if row is None or not giant.endswith("as result"):
        return True
    return bool(row.values) and (giant != "numbers as result" or row.marker is not Marker.NONE)


@pytest.mark.parametrize("form", ["Anthropic: tool_use by id > tool_result by tool_use_id"])
def test_many_results_of_one_step_are_shortened_and_the_oldest_go(form: str) -> None:
    """
    Twelve results of a page each do not fit at their floors, so as few as need be are left out.
    """
    said = [numbered(one) for one in many_steps(FORMS[form])]
    view = view_of(said, 1500)
    (*_, results) = shown(said, decoded(list(view.entries)))
    assert view.fit == "cut"
    assert results.items == frozenset(range(12 - len(results.items), 12))
    assert 0 < len(results.items) < 12
