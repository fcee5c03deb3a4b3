"""A conversation that is told to a context and to the model of the rules, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fastpaca.context import Config, LastN, Manual, Policy, SkipParts
from fastpaca.context.context import WindowView
from fastpaca.context.draft import Draft, parse
from fastpaca.context.events import Event
from fastpaca.context.message import Counts
from fastpaca.shapes import STRUCTURAL_KEYS
from tests.context.conversation import Conversation, decoded
from tests.kit.messages import count, encoded
from tests.rules.meaning import Json, Said
from tests.rules.model import Model, Settings
from tests.rules.stripping import Kept

Shown = tuple[int | None, Json, int]
"""A message as it is returned: its seq, what it says, and what it costs."""


class Told:
    """
    A context and the model of what it must keep.

    Attributes:
        talk: The context.
        model: The model.
        trims: How often the window has become smaller.
    """

    def __init__(self, settings: Settings, *, is_manual: bool = False) -> None:
        self.settings = settings
        policy = Manual() if is_manual else policy_of(settings)
        self.talk = Conversation(policy, settings.token_budget, settings.trigger_ratio)
        self.model = Model(settings, cost)
        self.trims = 0

    def append(self, said: Said) -> None:
        """Append a message to both, and compare the windows."""
        events = self.talk.say(said.message)
        self.model.append(said)
        self._compare_after(events)

    def revise(self, seq: int, said: Said) -> None:
        """Let a message take the place of the one at *seq* in both, and compare the windows."""
        number = self.model.log[seq - 1]
        events = self.talk.revise(self.talk.logged(seq).place, said.message)
        if events:
            self.model.revise(number, said)
            self.compare()
            self._compare_after(events)

    def _compare_after(self, events: Sequence[Event]) -> None:
        self.trims += len(events) - 1
        newest = self.model.window[-1] if self.model.window else None
        if len(events) > 1 or (newest is not None and newest.gone):
            self.compare()
        window = self.talk.window
        assert (len(window), window.tokens) == (len(self.model.window), self.model.used), (
            self.story()
        )

    def replace(self, replacement: Sequence[int | Said]) -> None:
        """Replace the window of both, and compare them."""
        self.model.replace(replacement)
        self.talk.compact(*(one if isinstance(one, int) else one.message for one in replacement))
        self.compare()

    def compare(self) -> None:
        """
        Compare the windows.

        Raises:
            AssertionError: They differ; with the story so far.
        """
        got = self._returned(self.talk.context.view(WHOLE))
        assert got == self._kept(self.model.window), self.story()
        assert self.talk.window.pinned == self.model.pinned, self.story()

    def compare_view(self, budget: int) -> str:
        """Compare a read under *budget*, unless it must shorten anything; return its `fit`."""
        view = self.talk.context.view(budget)
        left = self.model.fitted(budget)
        if sum(kept.tokens for kept in left) <= budget:
            told = f"budget_tokens={budget}{self.story()}"
            assert self._returned(view) == self._kept(left), told
        return view.fit

    def story(self) -> str:
        """Return what was told so far, a line for each message."""
        lines = [
            f"{number + 1:3} {said.role:9} {said.tokens:4} "
            + " ".join(f"{item.kind}:{item.id or item.name}" for item in said.items)
            for number, said in enumerate(self.model.said)
        ]
        return f"\n{self.settings}\n" + "\n".join(lines)

    def _returned(self, view: WindowView) -> list[Shown]:
        entries = list(view.entries)
        return [
            (entry.seq, _own(message), entry.tokens)
            for entry, message in zip(entries, decoded(entries), strict=True)
        ]

    def _kept(self, window: Iterable[Kept]) -> list[Shown]:
        seqs = {number: seq for seq, number in enumerate(self.model.log, 1)}
        return [
            (
                seqs.get(kept.number),
                _own(self.model.said[kept.number].without(kept.gone)),
                kept.tokens,
            )
            for kept in window
        ]


WHOLE = 2**50
"""More than any window costs."""

_ADDED = ("seq", "version", "revises", "token_count", "inserted_at", "metadata")


def _own(message: Json) -> Json:
    return {key: value for key, value in message.items() if key not in _ADDED}


def policy_of(settings: Settings) -> Policy:
    """Return the policy that *settings* describe."""
    rest = (settings.limit, settings.target_ratio, settings.start_on_user)
    if settings.skip_kinds is None:
        return LastN(*rest)
    return SkipParts(settings.skip_kinds, *rest)


def settings_of(config: Config) -> Settings | None:
    """Return the settings that describe *config*; None if nothing trims."""
    policy = config.policy
    if isinstance(policy, Manual):
        return None
    kinds = policy.skip_kinds if isinstance(policy, SkipParts) else None
    trims = (policy.limit, policy.target_ratio, policy.start_on_user, kinds)
    return Settings(config.token_budget, config.trigger_ratio, *trims)


def cost(said: Said, gone: frozenset[int], count: Callable[[Draft], Counts] = count) -> int:
    """
    Return what *said* costs without the items at *gone*, never more than it costs whole.

    A list of calls of which some have gone costs its share, by length, of the list.
    """
    counts = count(parse(encoded(said.message), "message"))
    places = {place for at in gone for place in said.items[at].places}
    total = counts.overhead
    total += sum(n for place, n in enumerate(counts.parts) if place not in places)
    left = said.without(gone)
    keys = [key for key in said.message if key not in STRUCTURAL_KEYS]
    for key, tokens in zip(keys, counts.keys, strict=True):
        if key in left:
            before, now = len(encoded(said.message[key])), len(encoded(left[key]))
            total += -(-tokens * now // before)
    return min(said.tokens, total)
