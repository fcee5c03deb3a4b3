"""
Messages as what they mean: a call, its result, the reasoning that led to it.

The model of the rules knows no provider's form.
It is given messages as values of these, be they made here or read from JSON (`reading.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

Json = dict[str, Any]

Kind = Literal[
    "text", "blank", "page", "reasoning", "compaction", "call", "result", "both", "request",
    "response",
]  # fmt: skip

USERS: Final = frozenset({"user"})
ASSISTANTS: Final = frozenset({"assistant", "model"})
INSTRUCTIONS: Final = frozenset({"system", "developer"})

ASKS: Final = frozenset({"call", "both", "request"})
ANSWERS: Final = frozenset({"result", "response"})
SAYS_NOTHING: Final = frozenset({"blank", "page", "reasoning"})
"""Kinds of which no message may consist alone, once something was taken out of it."""

WHOLE: Final = "whole"
"""The place of a result that is its message as a whole."""

Place = int | str
"""The index of a part, `WHOLE`, or a key of the message, as `tool_calls.0` or `reasoning`."""


class Item(NamedTuple):
    """
    One thing that a message says.

    Attributes:
        kind: What it is. `both` is a call with its result, `request` and `response` are an
            approval. Images and what nobody knows count as `text`.
        places: Where it stands; in several places if the message says it twice.
        id: What binds it; empty if it has none.
        name: Of the tool; empty if it names none.
        alias: Another id of a call, by which its result may name it.
        link: Of a request, the id of the call that it is about.
        is_open: Of `both`, whether the result is still to come.
        denies: Of a response, whether it says no.
        is_item: Of reasoning, whether it is an item of the Responses API.
        type: Of its part; empty for what stands in keys.
    """

    kind: Kind
    places: tuple[Place, ...] = ()
    id: str = ""
    name: str = ""
    alias: str = ""
    link: str = ""
    is_open: bool = False
    denies: bool = False
    is_item: bool = False
    type: str = ""

    @property
    def is_in_parts(self) -> bool:
        """Whether it stands in a part of the message."""
        return any(isinstance(place, int) for place in self.places)

    @property
    def is_in_keys(self) -> bool:
        """Whether it stands in keys of the message alone."""
        return not self.is_in_parts and self.places != (WHOLE,)

    @property
    def may_be_answered(self) -> bool:
        """Whether it is a call that may get a result from another part."""
        return self.kind in ("call", "request") or (self.kind == "both" and self.is_open)


@dataclass(frozen=True)
class Said:
    """
    A message.

    Attributes:
        role: Who says it.
        items: What it says: in its parts, in order, and then in its keys.
        message: As it is sent.
        tokens: What it costs.
        has_other_keys: Whether it has keys that a model sees, apart from calls and reasoning.
        is_synthetic: Whether it stands in the window only, for what it replaces.
    """

    role: str
    items: tuple[Item, ...]
    message: Json
    tokens: int
    has_other_keys: bool = False
    is_synthetic: bool = False

    @property
    def opens_turn(self) -> bool:
        """Whether it is a user message with a part that a model sees, and answers nothing."""
        is_seen = any(item.is_in_parts and item.kind != "page" for item in self.items)
        answers = any(item.kind in ANSWERS for item in self.items)
        return self.role in USERS and is_seen and not answers

    def left(self, gone: Collection[int]) -> list[Item]:
        """List the items that are left when those at *gone* are taken out."""
        return [item for at, item in enumerate(self.items) if at not in gone]

    def is_emptied(self, gone: Collection[int]) -> bool:
        """Tell whether the message goes when the items at *gone* are taken out of it."""
        if any(WHOLE in self.items[at].places for at in gone):
            return True
        left = {item.kind for item in self.left(gone)}
        return bool(gone) and left <= SAYS_NOTHING and not self.has_other_keys

    def without(self, gone: Collection[int]) -> Json:
        """Return the message as it is sent when the items at *gone* are taken out."""
        places = {place for at in gone for place in self.items[at].places}
        left = {key: value for key, value in self.message.items() if key not in places}
        left["parts"] = [
            part for place, part in enumerate(self.message["parts"]) if place not in places
        ]
        listed = [place for place in places if str(place).startswith("tool_calls.")]
        if listed:
            calls = [
                call
                for index, call in enumerate(self.message["tool_calls"])
                if f"tool_calls.{index}" not in places
            ]
            left["tool_calls"] = calls
            if not any(isinstance(call, dict) for call in calls):
                del left["tool_calls"]
        return left

    def as_synthetic(self) -> Said:
        """Return it as a message that stands in the window only."""
        return replace(self, is_synthetic=True)


def ends_in_reasoning(said: Said, gone: Collection[int]) -> bool:
    """Tell whether the last thing that is left of *said* is reasoning."""
    left = said.left(gone)
    if any(item.kind in ASKS and item.is_in_keys for item in left):
        return False
    seen = [item for item in left if item.is_in_parts and item.kind != "page"]
    if seen:
        return seen[-1].kind == "reasoning"
    return any(item.kind == "reasoning" for item in left) and not said.has_other_keys


def is_passed_over(said: Said, gone: Collection[int]) -> bool:
    """Tell whether *said* is passed over between two messages of the assistant."""
    if said.role in INSTRUCTIONS:
        return True
    left = [item for item in said.left(gone) if item.kind != "page"]
    is_for_a_page = bool(said.message["parts"]) and all(
        item.kind == "reasoning" and item.is_in_keys for item in left
    )
    return is_for_a_page and not said.has_other_keys
