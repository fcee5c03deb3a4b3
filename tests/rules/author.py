"""Random conversations that draw from all forms, with everything that goes wrong in real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import NamedTuple

from tests.rules.forms import (
    Form,
    Piece,
    Served,
    compaction,
    page,
    say,
    text,
    thought,
    thought_in_key,
)
from tests.rules.meaning import Said

NAMES = ("f", "g", "h")
THINKERS = ("Anthropic", "OpenAI Responses", "Gemini", "Bedrock", "")


class Waiting(NamedTuple):
    """A call that was made: in which form, with which id, for which tool."""

    form: Form
    id: str
    name: str


class Author:
    """
    Draws the messages of one conversation.

    Args:
        rng: Where everything is drawn from.
        forms: The forms that it is written in.
        served: Calls that hold their results.
        words: Draws what texts and results say.
        tells_tokens: Whether messages say themselves what they cost.

    Attributes:
        repeats_ids: Whether calls share a few ids.
    """

    def __init__(
        self,
        rng: Random,
        forms: Sequence[Form],
        served: Sequence[Served],
        words: Callable[[], str] = lambda: "so",
        *,
        tells_tokens: bool = True,
    ) -> None:
        self._rng = rng
        self._words = words
        self._tells_tokens = tells_tokens
        self._forms = forms
        self._served = served
        self._numbers = count(1)
        self._waiting: list[Waiting] = []
        self._answered: list[Waiting] = []
        self._approvals: list[tuple[Form, str]] = []
        self.repeats_ids = rng.random() < 0.2
        self._has_begun = False
        own = [form.asks.provider for form in forms]
        self._thinkers = rng.sample([*own, *THINKERS], 2)
        rare = (
            self._reminder,
            self._thought_alone,
            self._again,
            self._for_a_page,
            self._summary,
            self._of_another,
            self._served_alone,
            self._empty,
            self._blank,
        )
        self._rare: list[Callable[[], Said]] = rng.sample(rare, rng.randint(1, 5))

    def next(self) -> Said:
        """Draw the next message."""
        rng = self._rng
        if not self._has_begun and rng.random() < 0.5:
            return self._said(rng.choice(("system", "developer")), self._text())
        self._has_begun = True
        draw = rng.random()
        if self._approvals and draw < 0.3:
            return self._response()
        if self._waiting and draw < 0.5:
            return self._results()
        if draw < 0.68:
            return self.calls()
        if draw < 0.78:
            return self._said("user", self._text())
        if draw < 0.86:
            return self._said(self._assistant(), *self._thoughts(0.3), self._text())
        return rng.choice(self._rare)()

    # What is common

    def calls(self, role: str = "") -> Said:
        """Draw a message that makes calls, of the assistant or another *role*."""
        rng = self._rng
        pieces: list[Piece] = []
        if self._waiting and rng.random() < 0.15 and self._waiting[0].form.answers.row:
            pieces.append(self._taken(0))
        pieces += self._thoughts(0.3)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            pieces += [self._text()] if rng.random() < 0.15 else []
            pieces += self._thoughts(0.1)
            pieces += self._call(rng.choice(self._forms))
        if rng.random() < 0.1:
            pieces.append(rng.choice((page, thought_in_key))())
        return self._said(role or self._assistant(), *pieces)

    def _call(self, form: Form) -> list[Piece]:
        rng = self._rng
        name = rng.choice(NAMES)
        id_ = rng.choice("ab") if self.repeats_ids else f"c{next(self._numbers)}"
        self._waiting.append(Waiting(form, id_, name))
        pieces = [form.call(id_, name)]
        if form.requests is not None and rng.random() < 0.5:
            approval = f"ap{next(self._numbers)}"
            self._approvals.append((form, approval))
            pieces.append(form.request(id_, approval))
        return pieces

    def _taken(self, at: int) -> Piece:
        call = self._waiting.pop(at)
        self._answered.append(call)
        return call.form.result(call.id, call.name, self._words())

    def _results(self) -> Said:
        rng = self._rng
        at = rng.choice((0, -1, rng.randrange(len(self._waiting))))
        form = self._waiting[at].form
        if rng.random() < 0.08:  # it never comes
            self._waiting.pop(at)
            return self._said(self._assistant(), self._text())
        pieces = [self._taken(at)]
        if form.answers.row is None:
            return self._said(form.answers.role, self._text(), *pieces)
        while self._waiting and self._waiting[0].form.answers.row and rng.random() < 0.4:
            pieces.append(self._taken(0))
        if rng.random() < 0.1:
            pieces.insert(rng.choice((0, len(pieces))), self._text())
        return self._said(form.answers.role, *pieces)

    def _response(self) -> Said:
        rng = self._rng
        form, approval = self._approvals.pop(rng.choice((0, -1)))
        pieces = [form.response(approval, grants=rng.random() < 0.7)]
        if self._waiting and self._waiting[0].form.answers.row and rng.random() < 0.2:
            pieces.append(self._taken(0))
        return self._said("tool", *pieces)

    def _thoughts(self, chance: float) -> list[Piece]:
        rng = self._rng
        if rng.random() >= chance:
            return []
        return [thought(rng.choice(self._thinkers)) for _ in range(rng.choice((1, 1, 2)))]

    # What is rare

    def _reminder(self) -> Said:
        return self._said(self._rng.choice(("system", "developer")), self._text())

    def _thought_alone(self) -> Said:
        pieces = self._thoughts(1) if self._rng.random() < 0.8 else [thought_in_key()]
        return self._said(self._assistant(), *pieces)

    def _again(self) -> Said:
        """A result that has come before, or that no call has asked for."""
        form = self._rng.choice(self._forms)
        call = Waiting(form, "nobody", "f")
        if self._answered and self._rng.random() < 0.8:
            call = self._rng.choice(self._answered)
        result = call.form.result(call.id, call.name)
        whole = [] if call.form.answers.row else [self._text()]
        return self._said(call.form.answers.role, *whole, result)

    def _for_a_page(self) -> Said:
        return self._said(self._rng.choice(("assistant", "user")), page())

    def _summary(self) -> Said:
        rng = self._rng
        # Which results divided the steps of calls is forgotten with them, and matters without ids
        # of their own.
        if self.repeats_ids or not all(call.form.has_ids for call in self._waiting):
            return self._reminder()
        before = [self._text()] if rng.random() < 0.3 else []
        after = self._call(rng.choice(self._forms)) if rng.random() < 0.3 else []
        return self._said(self._assistant(), *before, compaction(), *after)

    def _of_another(self) -> Said:
        return self._said(self._rng.choice(("critic", "User", "narrator")), self._text())

    def _served_alone(self) -> Said:
        pieces = [one.piece(f"s{next(self._numbers)}") for one in self._rng.sample(self._served, 2)]
        return self._said(self._assistant(), *self._thoughts(0.5), *pieces, self._text())

    def _empty(self) -> Said:
        return self._said(self._rng.choice(("user", "assistant")))

    def _blank(self) -> Said:
        pieces = self._call(self._rng.choice(self._forms)) if self._rng.random() < 0.5 else []
        return self._said(self._assistant(), text(" "), *pieces)

    def _assistant(self) -> str:
        return "model" if self._rng.random() < 0.1 else "assistant"

    def _said(self, role: str, *pieces: Piece) -> Said:
        tokens = self._rng.choice((10, 20, 30, 40, 60, 90, 150, 400))
        return say(role, *pieces, tokens=tokens if self._tells_tokens else None)

    def _text(self) -> Piece:
        return text(self._words())
