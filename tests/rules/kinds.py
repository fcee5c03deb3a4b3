"""
Small conversations, each of a kind that a window is easily broken by, in any form.

Every message says how many tokens it costs, so that the same conversation is cut at the same places
in every form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.rules.forms import (
    CROSSED,
    FORMS,
    Form,
    Piece,
    compaction,
    page,
    say,
    text,
    thought_in_key,
)
from tests.rules.meaning import Said

Kind = Callable[[Form], list[Said]]

SYSTEM: Final = say("system", text(), tokens=20)
TASK: Final = say("user", text(), tokens=30)
QUESTION: Final = say("user", text())
REMARK: Final = say("assistant", text())
REMINDER: Final = say("system", text(), tokens=15)
CHAT: Final = [QUESTION, REMARK, QUESTION, REMARK]
"""A talk without tools."""


def calls(*pieces: Piece, tokens: int = 40) -> Said:
    """Make a message of the assistant."""
    return say("assistant", *pieces, tokens=tokens)


def step_of(form: Form, id_: str) -> list[Said]:
    """A call and its result."""
    return [calls(form.call(id_)), form.results(form.result(id_))]


def steps_of(form: Form, ids: str) -> list[Said]:
    """One call after the other, each with its result."""
    return [one for id_ in ids for one in step_of(form, id_)]


def steps(form: Form) -> list[Said]:
    """An agent works on one task for longer than its window is."""
    return [
        SYSTEM,
        *CHAT,
        TASK,
        *steps_of(form, "abcd"),
        REMARK,
    ]


def finished_turns(form: Form) -> list[Said]:
    """Turns with calls, each of them finished."""
    turns = ([QUESTION, *step_of(form, id_), REMARK] for id_ in "abc")
    return [SYSTEM, *(one for turn in turns for one in turn), QUESTION]


def parallel(form: Form) -> list[Said]:
    """Parallel calls, the results of which come one by one in another order."""
    results = [form.results(form.result(step)) for step in ("bac" if form.has_ids else "abc")]
    return [
        *CHAT,
        TASK,
        calls(form.call("a"), text(), form.call("b"), form.call("c")),
        *results,
        calls(form.call("d")),
        REMARK,
        form.results(form.result("d")),
        REMARK,
        QUESTION,
    ]


def parallel_messages(form: Form) -> list[Said]:
    """Parallel calls in messages of their own, as the Responses API has them."""
    return [
        *CHAT,
        TASK,
        *(calls(form.call(step)) for step in "abc"),
        *(form.results(form.result(step)) for step in "abc"),
        REMARK,
        *CHAT,
    ]


def late(form: Form) -> list[Said]:
    """A result that comes when the next turn has begun, and calls that nobody ever answers."""
    return [
        *CHAT,
        TASK,
        calls(form.call("a"), form.call("b")),
        form.results(form.result("b" if form.has_ids else "a")),
        QUESTION,
        form.results(form.result("a")),
        REMARK,
        calls(form.call("c")),
        calls(form.call("d")),
        QUESTION,
        REMARK,
        form.results(form.result("c")),
        *CHAT,
    ]


def doubled(form: Form) -> list[Said]:
    """Results that come twice, at once and much later."""
    return [
        TASK,
        calls(form.call("a")),
        form.results(form.result("a")),
        form.results(form.result("a")),
        calls(form.call("b")),
        form.results(form.result("b")),
        REMARK,
        form.results(form.result("a")),
        *CHAT,
        form.results(form.result("b")),
        QUESTION,
    ]


def repeated_ids(form: Form) -> list[Said]:
    """Calls that all have one id."""
    one = step_of(form, "a")
    return [QUESTION, *one, *one, REMARK, TASK, *one, calls(form.call("a")), *one, REMARK, QUESTION]


def thoughtful(form: Form) -> list[Said]:
    """Reasoning before calls, in messages of its own and in theirs, and one that led to nothing."""
    thought = form.thought()
    return [
        *CHAT,
        TASK,
        calls(thought),
        calls(thought, thought, form.call("a")),
        form.results(form.result("a")),
        calls(thought, form.call("b"), thought, form.call("c")),
        form.results(form.result("b")),
        form.results(form.result("c")),
        calls(thought, text()),
        calls(thought),
        REMINDER,
        calls(form.call("d")),
        form.results(form.result("d")),
        calls(text(), thought),
        QUESTION,
        calls(thought_in_key()),
        calls(form.call("e"), thought_in_key()),
        form.results(form.result("e")),
        QUESTION,
    ]


def blank(form: Form) -> list[Said]:
    """Calls beside blank texts, and parts that only a page shows."""
    space = text(" \n")
    return [
        QUESTION,
        calls(space, form.call("a")),
        form.results(form.result("a"), *([] if form.answers.row is None else [space])),
        calls(page(), form.call("b"), page()),
        calls(page()),
        form.results(form.result("b")),
        calls(space),
        REMARK,
        *CHAT,
    ]


def interleaved(form: Form) -> list[Said]:
    """Messages that hold the result of the call before them and the next call."""
    if form.answers.row is None:
        return steps(form)
    mixed = [calls(form.result(a), form.call(b)) for a, b in ("ab", "bc", "cd", "de")]
    return [
        SYSTEM,
        *CHAT,
        TASK,
        calls(form.thought(), form.call("a")),
        *mixed,
        form.results(form.result("e")),
        REMARK,
        *CHAT,
    ]


def beside_texts(form: Form) -> list[Said]:
    """Texts beside results, which open no turn, and texts between a call and its result."""
    beside = [] if form.answers.row is None else [text()]
    return [
        *CHAT,
        TASK,
        calls(form.call("a")),
        form.results(form.result("a"), *beside),
        calls(form.call("b")),
        REMARK,
        REMINDER,
        form.results(*beside, form.result("b")),
        calls(text(), form.call("c"), text()),
        form.results(form.result("c"), *beside),
        REMARK,
    ]


def roles(form: Form) -> list[Said]:
    """Roles that are seldom seen: models that call themselves so, functions, critics."""
    result = form.results(form.result("b"))
    return [
        say("critic", text()),
        *CHAT,
        TASK,
        say("model", form.call("a")),
        form.results(form.result("a")),
        say("critic", text()),
        say("model", form.thought()),
        say("model", form.call("b")),
        say("developer", text(), tokens=15),
        result,
        say("User", text()),
        say("model", text()),
        QUESTION,
        QUESTION,
    ]


def called_by_the_user(form: Form) -> list[Said]:
    """User messages that make calls, and one of the system at the very beginning."""
    return [
        say("system", text(), form.call("z"), tokens=20),
        form.results(form.result("z")),
        QUESTION,
        REMARK,
        say("user", text(), form.call("a"), form.call("b")),
        form.results(form.result("a")),
        calls(compaction()),
        form.results(form.result("b")),
        form.results(form.result("b")),
        *steps_of(form, "cde"),
        REMARK,
        *CHAT,
        say("user", text(), form.call("f")),
        REMARK if form.answers.row is None else calls(form.result("f"), form.call("g")),
        form.results(form.result("g")),
        *steps_of(form, "hi"),
    ]


def summarised(form: Form) -> list[Said]:
    """A provider's own summaries, alone and beside a call, in the middle of a task."""
    return [
        SYSTEM,
        *CHAT,
        TASK,
        calls(form.call("a")),
        form.results(form.result("a")),
        calls(form.call("never")),
        calls(compaction()),
        calls(form.call("b")),
        form.results(form.result("b")),
        REMARK,
        calls(text(), compaction(), form.call("c")),
        form.results(form.result("c")),
        *CHAT,
        REMARK,
    ]


def tasks(form: Form) -> list[Said]:
    """Several user messages, the last of which opens a long turn."""
    return [
        SYSTEM,
        *CHAT,
        say("user", text(), tokens=10),
        say("user", text(), tokens=15),
        TASK,
        *steps_of(form, "abcdef"),
        REMARK,
        QUESTION,
        REMARK,
    ]


def approved(form: Form) -> list[Said]:
    """Approvals that are given, denied, late, and never answered."""
    if form.requests is None:
        return []

    def asks(id_: str) -> list[Piece]:
        return [form.call(id_), form.request(id_, f"ask {id_}")]

    def given(id_: str, *, grants: bool = True) -> Said:
        return say("tool", form.response(f"ask {id_}", grants=grants))

    return [
        *CHAT,
        TASK,
        calls(*asks("a")),
        given("a"),
        form.results(form.result("a")),
        calls(*asks("b"), *asks("c")),
        given("c", grants=False),
        given("b"),
        form.results(form.result("b")),
        calls(form.call("d")),
        calls(form.request("d", "ask d")),
        REMARK,
        given("d"),
        form.results(form.result("d")),
        REMARK,
        calls(*asks("e")),
        QUESTION,
        given("e"),
        calls(*asks("f")),
        given("f", grants=False),
        form.results(form.result("f")),
        *CHAT,
    ]


KINDS: Final[Mapping[str, Kind]] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        steps, finished_turns, parallel, parallel_messages, late, doubled, repeated_ids, thoughtful,
        blank, interleaved, beside_texts, roles, called_by_the_user, summarised, tasks, approved,
    )
}  # fmt: skip
"""All kinds, by name."""


def forms_for(kind: str) -> list[Form]:
    """
    List the forms that a *kind* is told in: so many that each way to write a call or a result is
    among them, with ids and without, and other ones for the next kind.
    """
    place = list(KINDS).index(kind) * len(FORMS) // len(KINDS)
    own = list(FORMS.values())
    spoken: set[object] = set()
    chosen = []
    for form in [*own[place:], *own[:place]]:
        halves = {(half, form.has_ids, form.requests) for half in (form.asks, form.answers)}
        if KINDS[kind](form) and not halves <= spoken:
            spoken |= halves
            chosen.append(form)
    crossed = list(CROSSED.values())[list(KINDS).index(kind) :: len(KINDS)]
    return chosen + [form for form in crossed if KINDS[kind](form)]
