"""
What an answer must be, told from what was appended by the rules of `tests/rules`.

A `Judge` is told of each append and each replacement, and asked about each answer. Where the newest
block had to be made smaller, the answer is held to what must hold of every view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby, zip_longest
from typing import Any, Final

from fastpaca.context.draft import Draft, parse
from fastpaca.context.message import Counts
from fastpaca.tokens import count_message, counter_for
from tests.acceptance.data import MANUAL, SKIP_PARTS, Message, content_of
from tests.acceptance.plan import Configuration
from tests.acceptance.view import Segment, View
from tests.kit.messages import encoded
from tests.rules.judge import Shown, complaints, differences, left_of, task_of
from tests.rules.model import Model, Settings
from tests.rules.reading import read
from tests.rules.stripping import Kept
from tests.rules.told import cost

UNTRIMMED: Final = 2**50
"""A budget that nothing reaches: a window of `manual` is trimmed by its owner alone."""


class Judge:
    """
    Knows a context by what was done to it.

    Attributes:
        model: The window that the rules keep.
        version: The version of the context.
        covers: The seqs that each summary stands for, by its number.

    *count* counts the tokens of a message; by default as a server does that nobody has configured.
    """

    def __init__(
        self, configuration: Configuration, count: Callable[[Draft], Counts] | None = None
    ) -> None:
        self._configuration = configuration
        self.is_manual = configuration.strategy == MANUAL
        self._count = count or partial(count_message, counter_for("tiktoken:gpt-4o"))
        self.model = Model(settings_of(configuration), partial(cost, count=self._count))
        self.version = 0
        self.covers: dict[int, tuple[int, int]] = {}
        self._seqs: dict[int, int] = {}
        self._versions: dict[int, int] = {}
        self._right: dict[int, tuple[Kept, Message]] = {}

    @property
    def last_seq(self) -> int:
        """The seq of the newest message, 0 when there is none."""
        return len(self._seqs)

    def logged(self, seq: int) -> dict[str, Any]:
        """Return the message at *seq* as the log has it, but for its time."""
        number = self.model.log[seq - 1]
        return self._answer(Kept(number, frozenset(), self.model.said[number].tokens))

    def append(self, message: Message, tokens: int) -> int:
        """Take in a message that costs *tokens*, and return its seq."""
        self.version += 1
        number = len(self.model.said)
        self._seqs[number] = self.last_seq + 1
        self._versions[number] = self.version
        self.model.append(read(message, tokens))
        return self.last_seq

    def replace(self, pinned: Sequence[int], summary: Message | None, rest: Sequence[int]) -> None:
        """Replace the window by messages of the log, with a summary between the two."""
        self.version += 1
        number = len(self.model.said)
        made = []
        if summary is not None:
            tokens = self._count(parse(encoded(summary), "message")).total
            made = [read(summary, tokens, is_synthetic=True)]
            self._versions[number] = self.version
            end = rest[0] - 1 if rest else self.last_seq
            self.covers[number] = (pinned[-1] + 1 if pinned else 1, end)
        self.model.replace([*pinned, *made, *rest])

    def seq_of(self, kept: Kept) -> int | None:
        """Return the seq of a message of the window; None if it is a summary."""
        return self._seqs.get(kept.number)

    def complaints(self, view: View, asked: int | None = None) -> Iterator[str]:
        """Say what is wrong with the answer to a read, for which a budget may have been *asked*."""
        budget = asked or self._configuration.token_budget
        is_promised = asked is not None or not self.is_manual
        used = sum(message["token_count"] for message in view.messages)
        total = self.model.used
        trigger = Settings(budget, self._configuration.trigger_ratio).trigger
        for name, right in (
            ("version", self.version),
            ("token_budget", budget),
            ("window_tokens", total),
            ("needs_compaction", total > trigger),
            ("used_tokens", used),
        ):
            if getattr(view, name) != right:
                yield f"{name} is {getattr(view, name)}, not {right}"
        kept = self.model.window
        if is_promised and total > budget:
            kept = self.model.fitted(budget)
        if not is_promised or sum(one.tokens for one in kept) <= budget:
            fit = "whole" if kept == self.model.window else "dropped"
            if view.fit != fit and kept:
                yield f"fit is {view.fit}, not {fit}"
            yield from self._unlike(kept, view.messages)
        elif used > budget:
            yield f"used_tokens is {used}, above the budget {budget}"
        else:
            yield from self._of_smaller(kept, view)
        right_segments = tuple(self._segments(kept, view.messages))
        if view.segments != right_segments:
            yield f"segments are {view.segments}, not {right_segments}"

    def _answer(self, kept: Kept) -> dict[str, Any]:
        """Return the message that is *kept* as it must come back, but for its time."""
        own = {"seq": self.seq_of(kept), "version": self._versions[kept.number]}
        content = content_of(self.model.said[kept.number].without(kept.gone))
        return {**own, "token_count": kept.tokens, **content}

    def _unlike(self, kept: Sequence[Kept], messages: Sequence[Message]) -> Iterator[str]:
        """Say which message is not, value for value and in the order of its keys, what is kept."""
        for place, (one, message) in enumerate(zip_longest(kept, messages)):
            if one is None or message is None:
                what = "is missing" if message is None else "is not in the window"
                yield f"messages[{place}] {what}: {message or self._answer(one)}"
                return
            before = self._right.get(one.number)
            if before is not None and before[0] == one and before[1] is message:
                continue  # an object is looked at only once
            faults = list(unlike(self._answer(one), message))
            yield from faults
            if not faults:
                self._right[one.number] = one, message

    def _segments(self, kept: Sequence[Kept], messages: Sequence[Message]) -> Iterator[Segment]:
        covers = [self.covers[one.number] for one in kept if one.number in self.covers]
        for is_summary, run in groupby(messages, key=lambda one: one["seq"] is None):
            seqs = [one["seq"] for one in run]
            if is_summary:
                yield Segment("summary", *(covers[0] if covers else (0, 0)))
            else:
                yield Segment("live", seqs[0], seqs[-1])

    def _of_smaller(self, kept: Sequence[Kept], view: View) -> Iterator[str]:
        """Say what is wrong with a view of *kept*, of which not all fits."""
        said = self.model.said
        numbers = {self.seq_of(one): one for one in kept}
        foreign = [one["seq"] for one in view.messages if one["seq"] not in numbers]
        if foreign or (view.fit == "empty") != (not view.messages) or view.fit == "whole":
            yield f"fit is {view.fit}, and seqs {foreign} are not in the window"
            return
        seen, there = [], set()
        for message in view.messages:
            one = numbers[message["seq"]]
            there.add(one.number)
            sent = content_of(said[one.number].without(one.gone))
            if message["token_count"] > one.tokens:
                yield f"seq {message['seq']} costs {message['token_count']}, more than whole"
            changed = set(sent) & set(message) - {"parts", "tool_calls"}
            fixed = {"version": self._versions[one.number], **{key: sent[key] for key in changed}}
            yield from unlike(fixed, {key: message[key] for key in fixed})
            content = {
                key: message[key] for key in {**sent, **content_of(message)} if key in message
            }
            if message["seq"] is None:
                yield from differences(sent, content)
            else:
                left = left_of(said[one.number], content) - one.gone
                seen.append(Shown(one.number, content, left))
        yield from complaints(said, self.model.pairing, seen, may_be_cut=view.fit == "cut")
        yield from self._missing(kept, there, view.token_budget)

    def _missing(self, kept: Sequence[Kept], there: set[int], budget: int) -> Iterator[str]:
        """Say what would have fitted, and is missing: the task first, and then the pinned."""
        pinned = self.model.window[: self.model.pinned]
        task = task_of([self.model.said[one.number] for one in kept])
        first = [] if task is None else [kept[task]]
        for must in (first, [*first, *pinned]):
            if sum(one.tokens for one in must) > budget:
                return
            for one in must:
                if one.number not in there:
                    yield f"seq {self.seq_of(one)} would have fitted, and is missing"


def unlike(right: Message, got: Message) -> Iterator[str]:
    """Say which fields of a message are not what they must be."""
    got = {key: value for key, value in got.items() if key != "inserted_at"}
    for key in {**right, **got}:
        if key not in got or key not in right or encoded(right[key]) != encoded(got[key]):
            values = f"{got.get(key)!r:.200}, not {right.get(key)!r:.200}"
            yield f"seq {right.get('seq')}: {key} is {values}"


def settings_of(configuration: Configuration) -> Settings:
    """Return the settings of the model that a context's configuration describes."""
    chosen = dict(configuration.config)
    if configuration.strategy == SKIP_PARTS:
        chosen["skip_kinds"] = tuple(chosen.get("skip_kinds", ("tool", "reasoning")))
    is_manual = configuration.strategy == MANUAL
    budget = UNTRIMMED if is_manual else configuration.token_budget
    return Settings(budget, configuration.trigger_ratio, **chosen)
