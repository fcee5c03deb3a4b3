"""
How lists are written whose provider takes the user and the model in turn.

Anthropic, Bedrock and Gemini each say which blocks they take; that neighbours of one role are one
message, that the user comes first and last, and what is stable of such a list is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from fastpaca.formats.arrangement import RESULTS, Arrangement, Turn
from fastpaca.formats.items import CallItem, Item, TextItem
from fastpaca.formats.reading import ASSISTANT, SYSTEM, USER
from fastpaca.formats.report import (
    ADDED_FIRST,
    ADDED_LAST,
    INSTRUCTIONS_AS_TEXT,
    MERGED,
    Findings,
)
from fastpaca.formats.writing import Json


class Merged(msgspec.Struct, eq=False, gc=False):
    """
    A message that is being written.

    Attributes:
        role: `user` or `assistant`.
        blocks: What it holds.
        sources: The messages that it was made of, by index, each once.
        holds_results: Whether there are results in it.
    """

    role: str
    blocks: list[Json]
    sources: list[int]
    holds_results: bool = False


class Blocks(ABC):
    """What a format says of its blocks; `Merger` asks it."""

    first: ClassVar[Json]
    """What a message of the user says that was added at the beginning."""
    last: ClassVar[Json]
    """What one says that was added at the end."""
    results_alone: ClassVar[bool] = False
    """Whether nothing may stand in a message with results."""

    @abstractmethod
    def write(self, _side: str, item: Item, /) -> Sequence[Json]:
        """Return *item* as blocks of a message of that side; nothing if it is not said."""

    def finish_reply(self, message: Merged, turn: Turn) -> None:  # noqa: B027 - most need nothing
        """Put right what the blocks of a *turn* of the assistant, now in *message*, need."""

    def finish_question(self, message: Merged, turn: Turn) -> None:  # noqa: B027 - most need nothing
        """Put right what the blocks of a *turn* of the user, now in *message*, need."""


class Merger:
    """Writes turns as messages of the user and the assistant, in turn."""

    def __init__(self, blocks: Blocks, report: Findings) -> None:
        self._blocks = blocks
        self._report = report
        self.messages: list[Merged] = []
        self.stable = 0

    def write(self, arrangement: Arrangement) -> list[Merged]:
        """Write all turns; `stable` is how many messages never change then."""
        turns, settled = arrangement.turns, arrangement.settled
        for turn in turns[:settled]:
            self._write(turn)
        # The last message may still be merged with the next one.
        self.stable = max(0, len(self.messages) - 1)
        for turn in turns[settled:]:
            self._write(turn)
        if settled == len(turns):
            self.stable = max(0, len(self.messages) - 1)
        if self._report.seqs:
            self._complete(arrangement)
        return self.messages

    def _write(self, turn: Turn) -> None:
        side, write = turn.side, self._blocks.write
        if len(turn.items) == 1:
            self._write_item(turn, turn.items[0])
            return
        message: Merged | None = None
        sources: list[int] = []
        for item in turn.items:
            blocks = write(side, item)
            if not blocks:
                continue
            if message is None:
                message = self._message(turn, item.at)
                sources = message.sources
            elif item.at != sources[-1] and side is not RESULTS:
                self._report.repair(MERGED, item.at)
            if not sources or item.at != sources[-1]:
                sources.append(item.at)
            message.blocks += blocks
        if message is not None:
            self._finish(message, turn)

    def _write_item(self, turn: Turn, item: Item) -> None:
        """Write a turn of one item, as most are."""
        side, messages = turn.side, self.messages
        blocks = self._blocks.write(side, item)
        if not blocks:
            return
        role = ASSISTANT if side is ASSISTANT else USER
        if not messages or messages[-1].role != role:
            message = Merged(role, [*blocks], [item.at])
            messages.append(message)
        else:
            message = self._message(turn, item.at)
            if not message.sources or item.at != message.sources[-1]:
                message.sources.append(item.at)
            message.blocks += blocks
        if side is RESULTS:
            message.holds_results = True
        elif side is SYSTEM or type(item) is not TextItem:  # a text needs nothing to be put right
            self._finish(message, turn)

    def _finish(self, message: Merged, turn: Turn) -> None:
        side = turn.side
        if side is RESULTS:
            message.holds_results = True
        elif side is ASSISTANT:
            self._blocks.finish_reply(message, turn)
            if not message.blocks:
                self.messages.remove(message)
                for at in message.sources:
                    self._report.blank(at)
        else:
            self._blocks.finish_question(message, turn)
            if side is SYSTEM:
                self._report.repair_once(INSTRUCTIONS_AS_TEXT, turn.items[0].at)

    def _message(self, turn: Turn, at: int) -> Merged:
        """Return the message that continues, or a new one."""
        role = ASSISTANT if turn.side is ASSISTANT else USER
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == role:
            is_apart = self._blocks.results_alone and (last.holds_results or turn.side is RESULTS)
            if not is_apart:
                if at not in last.sources:
                    self._report.repair(MERGED, at)
                return last
        message = Merged(role, [], [])
        self.messages.append(message)
        return message

    def _complete(self, arrangement: Arrangement) -> None:
        messages = self.messages
        if not messages:
            messages.append(Merged(USER, [self._blocks.last], []))
            self._report.repair(ADDED_LAST)
            return
        if messages[0].role != USER:
            messages.insert(0, Merged(USER, [self._blocks.first], []))
            self._report.repair(ADDED_FIRST)
            self.stable += 1
        if messages[-1].role != USER and not _waits(arrangement):
            messages.append(Merged(USER, [self._blocks.last], []))
            self._report.repair(ADDED_LAST)


def _waits(arrangement: Arrangement) -> bool:
    """Return whether the last turn holds a call whose result is still to come."""
    return any(
        isinstance(item, CallItem) and item.result is None for item in arrangement.turns[-1].items
    )
