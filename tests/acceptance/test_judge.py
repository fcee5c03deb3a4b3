"""
The judge judged: answers of the core are right, and each that is altered by hand is found wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from fastpaca.context import LastN, Manual
from tests.acceptance.data import LAST_N, MANUAL
from tests.acceptance.judge import Judge
from tests.acceptance.plan import Configuration
from tests.acceptance.view import Segment, View
from tests.context.conversation import Conversation, decoded
from tests.kit.messages import (
    Message,
    assistant,
    call,
    count,
    counted,
    result,
    system,
    text,
    tool,
    user,
)
from tests.rules.judge import differences

LONG: Final = "".join(f"sentence {number} of many. " for number in range(200))
MARKER: Final = "\n[... 712 tokens left out ...]\n"
CUT: Final = LONG[:900] + MARKER + LONG[-900:]

TALK: Final = (
    system("be brief", token_count=10),
    user("look it up", token_count=10),
    assistant({"type": "reasoning", "text": "hm"}, "I look", call("a", n=1, k=1), token_count=10),
    tool(result("a", "found"), metadata={"took": 3}, token_count=10),
    assistant("voilà", token_count=10, flavour=None),
    user("and now?", token_count=10),
    assistant("so it is", token_count=10),
)
SUMMARY: Final = assistant("they looked", token_count=9)
GIANT: Final = (
    user("look"),
    assistant({"type": "reasoning", "text": LONG}, call("a", q=1)),
    tool(result("a", LONG)),
)


class Told:
    """A context that has been told something, and its judge."""

    def __init__(self, strategy: str, budget: int, *messages: Message) -> None:
        self.talk = Conversation(LastN() if strategy == LAST_N else Manual(), budget)
        self.judge = Judge(Configuration(strategy, strategy, budget), count)
        for message in messages:
            self.talk.say(message)
            self.judge.append(message, counted(message).counts.total)

    def view(self, budget: int | None = None) -> View:
        """Read the window."""
        found = self.talk.context.view(budget)._asdict()
        found["messages"] = tuple(decoded(list(found.pop("entries"))))
        found["segments"] = tuple(Segment(*one) for one in found["segments"])
        return View(**found)

    def wrong(self, view: View, budget: int | None = None) -> list[str]:
        """List what the judge finds wrong."""
        return list(self.judge.complaints(view, budget))


def summarised() -> Told:
    """A context in which a summary stands for the first turn."""
    told = Told(MANUAL, 1000, *TALK)
    told.talk.compact(1, SUMMARY, 5, 6, 7)
    told.judge.replace([1], SUMMARY, [5, 6, 7])
    return told


Alter = Callable[[View], View]


def field(**changes: Any) -> Alter:
    """Alter fields of the answer."""
    return lambda view: replace(view, **changes)


def at(place: int, **changes: Any) -> Alter:
    """Alter fields of a message."""
    return lambda view: replace(
        view,
        messages=tuple(
            {**one, **changes} if number == place else one
            for number, one in enumerate(view.messages)
        ),
    )


def order(*places: int) -> Alter:
    """Return other messages, or the same in another order; with the sums of these."""

    def alter(view: View) -> View:
        messages = tuple(view.messages[place] for place in places)
        return replace(
            view, messages=messages, used_tokens=sum(one["token_count"] for one in messages)
        )

    return alter


def segments(*found: tuple[str, int, int]) -> Alter:
    """Return other segments."""
    return field(segments=tuple(Segment(*one) for one in found))


ALTERED: Final[dict[str, Alter]] = {
    "version": field(version=8),
    "budget": field(token_budget=101),
    "flag": field(needs_compaction=True),
    "sum": field(used_tokens=69),
    "sum of the window": field(window_tokens=69),
    "fit": field(fit="dropped"),
    "instruction lost": order(1, 2, 3, 4, 5, 6),
    "newest lost": order(0, 1, 2, 3, 4, 5),
    "hole": order(0, 1, 2, 3, 5, 6),
    "result without its call": order(0, 1, 3, 4, 5, 6),
    "call without its result": order(0, 1, 2, 4, 5, 6),
    "task lost": order(0, 2, 3, 4, 5, 6),
    "empty": order(),
    "not in order": order(0, 1, 2, 3, 4, 6, 5),
    "twice": order(0, 1, 2, 3, 4, 5, 5, 6),
    "seq that was never appended": at(6, seq=8),
    "invented summary": at(1, seq=None),
    "role": at(6, role="user"),
    "metadata": at(3, metadata={"took": 3.0}),
    "version of a message": at(6, version=6),
    "unknown key": at(6, extra=1),
    "lost key": lambda view: replace(
        view,
        messages=tuple(
            {key: one[key] for key in one if key != "flavour"} for one in view.messages
        ),
    ),
    "cheaper": at(6, token_count=3),
    "without parts": at(2, parts=[]),
    "stripped": at(2, parts=list(TALK[2]["parts"][1:])),
    "true for 1": at(2, parts=[*TALK[2]["parts"][:2], call("a", n=True, k=1)]),
    "1.0 for 1": at(2, parts=[*TALK[2]["parts"][:2], call("a", n=1.0, k=1)]),
    "order of keys": at(2, parts=[*TALK[2]["parts"][:2], call("a", k=1, n=1)]),
    "another composition": at(4, parts=[text("voila\u0300")]),
    "no segments": segments(),
    "segment that ends early": segments(("live", 1, 6)),
    "segment that ends late": segments(("live", 1, 8)),
    "segment divided": segments(("live", 1, 5), ("live", 6, 7)),
    "segments turned round": segments(("live", 6, 7), ("live", 1, 5)),
    "segment of no summary": segments(("live", 1, 1), ("summary", 2, 5), ("live", 6, 7)),
    "segment beyond": segments(("live", 1, 7), ("live", 8, 8)),
    "summary for all": segments(("summary", 1, 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERED)
def test_altered_answer_is_seen(name: str) -> None:
    """Values, sums, order, version, flag, fit and segments are those that the rules name."""
    told = Told(LAST_N, 100, *TALK)
    assert told.wrong(told.view()) == []
    assert told.wrong(ALTERED[name](told.view())) != []


ALTERED_SUMMARIES: Final[dict[str, Alter]] = {
    **{f"entry {gone} is missing": order(*({0, 1, 2, 3, 4} - {gone})) for gone in range(5)},
    "what was replaced is back": lambda view: replace(
        view, messages=(*view.messages[:2], {**view.messages[2], "seq": 4}, *view.messages[2:])
    ),
    "role": at(1, role="user"),
    "counted again": at(1, token_count=8),
    **{
        f"summary from {ends[0]} to {ends[1]}": segments(
            ("live", 1, 1), ("summary", *ends), ("live", 5, 7)
        )
        for ends in ((2, 5), (1, 4), (2, 3), (3, 4))
    },
}


@pytest.mark.parametrize("name", ALTERED_SUMMARIES)
def test_altered_window_of_its_owner_is_seen(name: str) -> None:
    """What its owner made of a window comes back entry for entry, and the summary as given."""
    told = summarised()
    assert told.wrong(told.view()) == []
    assert told.wrong(ALTERED_SUMMARIES[name](told.view())) != []


def test_summary_stays_pinned_under_a_smaller_budget() -> None:
    """A smaller budget drops messages before the summary; another choice is seen."""
    told = summarised()
    view = told.view(45)
    assert view.fit == "dropped"
    assert [one["seq"] for one in view.messages][:2] == [1, None]
    assert told.wrong(view, 45) == []
    assert told.wrong(order(0, 2, 3)(view), 45) != []


ALTERED_CUTS: Final[dict[str, Alter]] = {
    "not said": field(fit="dropped"),
    "called whole": field(fit="whole"),
    "above the budget": lambda view: at(2, token_count=view.token_budget)(
        replace(
            view, used_tokens=view.used_tokens - view.messages[2]["token_count"] + view.token_budget
        )
    ),
    "dearer than whole": at(0, token_count=99),
    "without its call": order(0, 2),
    "without its result": order(0, 1),
    "without the task": order(1, 2),
    "empty": lambda view: order()(replace(view, fit="empty")),
    "foreign": at(2, seq=4),
    "not in order": order(0, 2, 1),
    "role": at(0, role="assistant"),
    "version of a message": at(2, version=4),
    "another id": at(2, parts=[result("b", CUT)]),
    "changed": at(2, parts=[result("a", LONG + "!")]),
    "emptied": at(1, parts=[]),
    "shortened reasoning": at(1, parts=[{"type": "reasoning", "text": CUT}, call("a", q=1)]),
}


@pytest.mark.parametrize("name", ALTERED_CUTS)
def test_altered_answer_of_a_cut_window_is_seen(name: str) -> None:
    """Where the newest block does not fit, the task stays, nothing is parted, and texts are cut."""
    budget = len(LONG) + 1000
    told = Told(MANUAL, 100_000, *GIANT)
    view = told.view(budget)
    assert (view.fit, len(view.messages)) == ("cut", 3)
    assert told.wrong(view, budget) == []
    assert told.wrong(ALTERED_CUTS[name](view), budget) != []


@pytest.mark.parametrize(
    "cut",
    [
        LONG[:1800],
        LONG[:900] + LONG[-900:],
        MARKER + LONG[-900:],
        LONG[:900] + MARKER,
        LONG[:20] + MARKER + LONG[-20:],
        LONG[:900] + MARKER.replace("712", "some") + LONG[-900:],
        LONG[:900] + "9" * 300 + LONG[-900:],
        LONG + MARKER,
    ],
    ids=["end", "no marker", "head", "tail", "too much", "no number", "padded", "longer"],
)
def test_wrong_cut_is_seen(cut: str) -> None:
    """A cut keeps the beginning and the end, with a marker that counts what is missing."""
    assert not list(differences(user(LONG), user(CUT)))
    assert list(differences(user(LONG), user(cut)))


@pytest.mark.parametrize(
    ("sent", "came"),
    [
        (text(LONG), text(CUT)),
        (result("a", LONG), result("a", CUT)),
        ({"type": "tool-look", "output": LONG}, {"type": "tool-look", "output": CUT}),
        (call("a", payload={"code": LONG}), call("a", payload={"code": CUT})),
        (result("a", {"rows": [1, LONG]}), result("a", {"rows": [1, CUT]})),
        (result("a", {"rows": [1, 2]}), result("a", MARKER.strip())),
        (call("a", input=json.dumps({"q": LONG})), call("a", input=json.dumps({"q": CUT}))),
    ],
    ids=["text", "result", "ai sdk", "arguments", "object", "marker", "arguments as a string"],
)
def test_cut_of_texts_results_and_arguments_is_right(sent: Message, came: Message) -> None:
    """Texts, results and arguments may be cut, in every shape; arguments stay JSON."""
    assert not list(differences(assistant(sent), assistant(came)))
    assert list(differences(assistant({**sent, "id": "m"}), assistant({**came, "id": "n"})))
