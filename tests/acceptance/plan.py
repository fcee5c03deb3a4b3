"""
Which conversation is replayed under which configuration.

A profile is a policy with a budget in proportion to the conversation, so that short and long ones
are trimmed alike.
Every conversation is replayed under all three policies; long sources take turns through the
profiles of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any, Literal, NamedTuple

from tests.acceptance.data import (
    ANTHROPIC,
    COUNTED,
    LAST_N,
    MANUAL,
    NORMALISED,
    OPENAI,
    SHAPES,
    SKIP_PARTS,
    UI_MESSAGE,
    Conversation,
    Message,
    conversations,
)
from tests.kit.messages import encoded
from tests.rules.meaning import INSTRUCTIONS
from tests.rules.reading import read

DEFAULT_BUDGET = 8000
DEFAULT_RATIO = 0.7

SAMPLE_CONVERSATIONS = 2
SAMPLE_PROFILES = 2
SAMPLE_MESSAGES_MAX = 90

Habit = Literal["eager", "late", "never"]


@dataclass(frozen=True)
class Configuration:
    """
    A context's settings, and how its owner behaves if the policy leaves compaction to the owner.
    """

    name: str
    strategy: str
    token_budget: int = DEFAULT_BUDGET
    trigger_ratio: float = DEFAULT_RATIO
    config: Mapping[str, Any] = field(default_factory=dict)
    habit: Habit = "eager"
    is_default: bool = False

    def body(self) -> dict[str, Any]:
        """Return what to PUT; nothing at all where the defaults are meant."""
        if self.is_default:
            return {}
        policy = {"strategy": self.strategy, "config": dict(self.config)}
        ratio = self.trigger_ratio
        return {"token_budget": self.token_budget, "trigger_ratio": ratio, "policy": policy}


@dataclass(frozen=True)
class Profile:
    """
    A configuration without its budget.

    The budget has room for the leading instructions and a *share* of the rest of a conversation,
    and is *least* tokens at least; without a share it is *least*, whatever the instructions take.
    """

    name: str
    strategy: str
    share: float
    least: int
    trigger_ratio: float = DEFAULT_RATIO
    config: Mapping[str, Any] = field(default_factory=dict)
    habit: Habit = "eager"

    def configure(self, conversation: Conversation) -> Configuration:
        """Return the configuration for *conversation*."""
        if self.name == "last_n-default":
            return Configuration(self.name, self.strategy, is_default=True)
        roles = [message["role"] for message in conversation.messages]
        pinned = next((at for at, one in enumerate(roles) if one not in INSTRUCTIONS), len(roles))
        room = self.share * rough_tokens(conversation.messages[pinned:])
        if self.share:
            room += rough_tokens(conversation.messages[:pinned]) / self.trigger_ratio
        budget = max(self.least, int(room))
        return Configuration(
            self.name, self.strategy, budget, self.trigger_ratio, self.config, self.habit
        )


PROFILES = (
    Profile("last_n-default", LAST_N, 0, DEFAULT_BUDGET),
    Profile("last_n-tight", LAST_N, 0.15, 400),
    Profile("last_n-half", LAST_N, 0.45, 800, 0.9, {"target_ratio": 0.25}),
    Profile(
        "last_n-short",
        LAST_N,
        0.4,
        500,
        0.5,
        {"limit": 12, "target_ratio": 0.8, "start_on_user": True},
    ),
    Profile("last_n-starved", LAST_N, 0, 350),
    Profile("skip_parts-tight", SKIP_PARTS, 0.12, 400),
    Profile("skip_parts-half", SKIP_PARTS, 0.4, 800, 0.6, {"limit": 60, "target_ratio": 0.4}),
    Profile("skip_parts-reasoning", SKIP_PARTS, 0.3, 600, 0.8, {"skip_kinds": ["reasoning"]}),
    Profile("skip_parts-tools", SKIP_PARTS, 0.2, 500, 0.7, {"skip_kinds": ["tool"], "limit": 25}),
    Profile("skip_parts-starved", SKIP_PARTS, 0, 400, 1.0),
    Profile("manual-eager", MANUAL, 0.25, 500),
    Profile("manual-late", MANUAL, 0.2, 400, 0.5, habit="late"),
    Profile("manual-never", MANUAL, 0.1, 300, 1.0, habit="never"),
)


class Portion(NamedTuple):
    """How many profiles of each policy a conversation takes, and that of every nth conversation."""

    turns: int
    every: int = 1


FULL: Mapping[tuple[str, str], Portion] = {
    ("tau-bench-airline", NORMALISED): Portion(2),
    ("tau-bench-airline", OPENAI): Portion(1),
    ("swe-agent", NORMALISED): Portion(5),
    ("swe-agent", OPENAI): Portion(5),
    ("swe-agent", COUNTED): Portion(2),
    ("claude-code-entire", NORMALISED): Portion(5),
    ("claude-code-entire", ANTHROPIC): Portion(5),
    ("pi-coding-agent", NORMALISED): Portion(5),
    ("pi-coding-agent", COUNTED): Portion(2),
    ("pydantic-ai-anthropic", NORMALISED): Portion(2),
    ("pydantic-ai-anthropic", ANTHROPIC): Portion(3),
    ("aisdk-uimessages", NORMALISED): Portion(2),
    ("aisdk-uimessages", UI_MESSAGE): Portion(3),
    ("glaive-tools", NORMALISED): Portion(1, every=6),
    ("smile-zh", NORMALISED): Portion(2),
    ("memorybank", NORMALISED): Portion(3),
    ("qmsum", NORMALISED): Portion(1),
    ("goodai-ltm", NORMALISED): Portion(5),
}
"""What the full run takes of each source and shape; what is not named can still be asked for."""


@dataclass(frozen=True)
class Run:
    """One conversation under one configuration."""

    conversation: Conversation
    configuration: Configuration

    @cached_property
    def is_thinned(self) -> bool:
        """
        Tell whether most reads look at the sums only.

        Talk without tools has few ways to break, and a long log of it would take most of the time.
        """
        messages = self.conversation.messages
        return len(messages) > 500 and not any(
            item.kind == "call" for one in messages for item in read(one).items
        )

    @property
    def weight(self) -> int:
        """How long the replay will take, roughly."""
        return len(self.conversation.messages)


def rough_tokens(messages: Sequence[Message]) -> int:
    """Estimate the tokens of *messages*: a quarter of their bytes, or what they say themselves."""
    own = sum(int(one.get("token_count", 0)) for one in messages)
    return own or sum(len(encoded(one["parts"])) for one in messages) // 4


def full_plan(sources: Sequence[str] = ()) -> list[Run]:
    """Return the runs of the full acceptance test, or those of *sources*, longest first."""
    wanted = {key: part for key, part in FULL.items() if not sources or key[0] in sources}
    for source in sources:
        if not any(key[0] == source for key in wanted):
            wanted.update({(source, shape): Portion(1) for shape in SHAPES[source]})
    runs = [run for key, portion in wanted.items() for run in _runs_of(*key, portion)]
    return sorted(runs, key=lambda run: -run.weight)


def plan_for(
    sources: Sequence[str],
    conversation_id: str | None,
    profile_name: str | None,
    messages_max: int | None,
) -> list[Run]:
    """Return the runs of one conversation or under one profile, in every shape there is."""
    return [
        Run(conversation, profile.configure(conversation))
        for source in sources or SHAPES
        for shape in SHAPES[source]
        for whole in conversations(source, shape)
        if conversation_id in (None, whole.id)
        for conversation in [replace(whole, messages=whole.messages[:messages_max])]
        for profile in PROFILES
        if profile_name in (None, profile.name)
    ]


def sample_plan(strategy: str, seed: int) -> list[Run]:
    """Return a few runs of every source and shape under *strategy*, long conversations in part."""
    random = Random(f"{seed} {strategy}")
    profiles = [one for one in PROFILES if one.strategy == strategy]
    return [
        Run(conversation, profile.configure(conversation))
        for source, shape in FULL
        for conversation in _draw(conversations(source, shape), random)
        for profile in random.sample(profiles, SAMPLE_PROFILES)
    ]


def _draw(every: Sequence[Conversation], random: Random) -> list[Conversation]:
    drawn = random.sample(every, min(SAMPLE_CONVERSATIONS, len(every)))
    return [replace(one, messages=one.messages[:SAMPLE_MESSAGES_MAX]) for one in drawn]


def _runs_of(source: str, shape: str, portion: Portion) -> Iterator[Run]:
    for index, conversation in enumerate(conversations(source, shape)[:: portion.every]):
        for profile in _take_turns(index, portion.turns):
            yield Run(conversation, profile.configure(conversation))


def _take_turns(index: int, turns: int) -> Iterator[Profile]:
    """Yield *turns* profiles of each policy; other conversations begin elsewhere among them."""
    for strategy in (LAST_N, SKIP_PARTS, MANUAL):
        profiles = [one for one in PROFILES if one.strategy == strategy]
        for turn in range(min(turns, len(profiles))):
            yield profiles[(index * turns + turn) % len(profiles)]
