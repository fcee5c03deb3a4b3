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
from fastpaca.formats.reading import ASSISTANT, SYSTEM, USER, Said
from fastpaca.formats.report import (
    ADDED_FIRST,
    ADDED_LAST,
    INSTRUCTIONS_AS_TEXT,
    MERGED,
    Findings,
)
from fastpaca.formats.writing import BlockWriter, Json


class Merged(msgspec.Struct, eq=False, gc=False):
    """
    A message that is being written.

    Attributes:
        role: `user` or `assistant`.
        blocks: What it holds.
        at: The message that it was made of, by index; -1 if it was added.
        is_merged: Whether it was made of others, too.
        holds_results: Whether there are results in it.
    """

    role: str
    blocks: list[Json]
    at: int = -1
    is_merged: bool = False
    holds_results: bool = False


class Blocks(ABC):
    """What a format says of its blocks; `Merger` asks it."""

    first: ClassVar[Json]
    """What a message of the user says that was added at the beginning."""
    last: ClassVar[Json]
    """What one says that was added at the end."""
    results_alone: ClassVar[bool] = False
    """Whether nothing may stand in a message with results."""

    def __init__(self, writer: BlockWriter) -> None:
        self._writer = writer
        self._report = writer.report

    def instructions(self, system: Sequence[Said]) -> list[Json]:
        """Return the blocks of the instructions, where they stand apart."""
        items = [item for one in system for item in one.items]
        return [block for item in items for block in self.write(SYSTEM, item)]

    @abstractmethod
    def write(self, _side: str, item: Item, /) -> list[Json]:
        """Return *item* as new blocks of a message of that side; none if it is not said."""

    def finish_reply(self, message: Merged, turn: Turn) -> None:  # noqa: B027 - most need nothing
        """Put right what the blocks of a *turn* of the assistant, now in *message*, need."""

    def finish_question(self, message: Merged, turn: Turn) -> None:  # noqa: B027 - most need nothing
        """Put right what the blocks of a *turn* of the user, now in *message*, need."""


class Merger:
    """Writes turns as messages of the user and the assistant, in turn."""

    def __init__(self, blocks: Blocks, report: Findings) -> None:
        self._blocks = blocks
        self._block = blocks.write
        self._report = report
        self._sources: set[int] = set()  # what the last message was made of, if it was merged
        self.messages: list[Merged] = []
        self.stable = 0

    def write(self, arrangement: Arrangement) -> list[Merged]:
        """Write all turns; `stable` is how many messages never change then."""
        turns, settled = arrangement.turns, arrangement.settled
        self._write_all(turns[:settled])
        # The last message may still be merged with the next one.
        self.stable = max(0, len(self.messages) - 1)
        self._write_all(turns[settled:])
        if settled == len(turns):
            self.stable = max(0, len(self.messages) - 1)
        if self._report.seqs:
            self._complete(arrangement)
        return self.messages

    def _write_all(self, turns: Sequence[Turn]) -> None:
        messages = self.messages
        for turn in turns:
            role = ASSISTANT if turn.side is ASSISTANT else USER
            if len(turn.items) == 1 and (not messages or messages[-1].role is not role):
                self._write_item(turn, role, turn.items[0])
            else:
                self._write(turn)

    def _write_item(self, turn: Turn, role: str, item: Item) -> None:
        """Write a turn of one item that begins a message, as most are."""
        side = turn.side
        blocks = self._block(side, item)
        if blocks:
            message = Merged(role, blocks, item.at, holds_results=side is RESULTS)
            self.messages.append(message)
            self._sources.clear()
            if side is SYSTEM or (type(item) is not TextItem and side is not RESULTS):
                self._finish(message, turn)

    def _write(self, turn: Turn) -> None:
        side = turn.side
        message: Merged | None = None
        at, is_text = -1, side is not SYSTEM
        for item in turn.items:
            is_text = is_text and type(item) is TextItem
            blocks = self._block(side, item)
            if not blocks:
                continue
            if message is None:
                message = self._message(side, item.at)
            elif item.at != at:
                self._merge(message, item.at)
                if side is not RESULTS:
                    self._report.repair(MERGED, item.at)
            at = item.at
            message.blocks += blocks
        if message is None:
            return
        if side is RESULTS:
            message.holds_results = True
        elif not is_text:
            self._finish(message, turn)

    def _message(self, side: str, at: int) -> Merged:
        """Return the last message if what stands at index *at* continues it, or a new one."""
        role = ASSISTANT if side is ASSISTANT else USER
        if self.messages:
            last = self.messages[-1]
            if last.role is role and not (
                self._blocks.results_alone and (last.holds_results or side is RESULTS)
            ):
                if self._merge(last, at):
                    self._report.repair(MERGED, at)
                return last
        message = Merged(role, [], at)
        self.messages.append(message)
        self._sources.clear()
        return message

    def _merge(self, last: Merged, at: int) -> bool:
        """Note that the last message also says what stands at index *at*; return if it is new."""
        if at == last.at or at in self._sources:
            return False
        last.is_merged = True
        self._sources.add(at)
        return True

    def _finish(self, message: Merged, turn: Turn) -> None:
        """Put right what else than texts the blocks of a turn, now in *message*, hold."""
        if turn.side is ASSISTANT:
            self._blocks.finish_reply(message, turn)
            if not message.blocks:
                self.messages.pop()
                for at in sorted({message.at, *self._sources}):
                    self._report.blank(at)
                self._sources.clear()
        else:
            self._blocks.finish_question(message, turn)
            if turn.side is SYSTEM:
                self._report.repair_once(INSTRUCTIONS_AS_TEXT, turn.items[0].at)

    def _complete(self, arrangement: Arrangement) -> None:
        messages = self.messages
        if not messages:
            messages.append(Merged(USER, [self._blocks.last]))
            self._report.repair(ADDED_LAST)
            return
        if messages[0].role != USER:
            messages.insert(0, Merged(USER, [self._blocks.first]))
            self._report.repair(ADDED_FIRST)
            self.stable += 1
        if messages[-1].role != USER and not _waits(arrangement, messages[-1]):
            messages.append(Merged(USER, [self._blocks.last]))
            self._report.repair(ADDED_LAST)


def _waits(arrangement: Arrangement, last: Merged) -> bool:
    """
    Return whether the last turn holds a call whose result is still to come.

    One that a provider runs itself counts only if it is said in the *last* message: a reply that
    paused for it goes on only there.
    """
    return any(
        isinstance(item, CallItem)
        and item.result is None
        and (not item.is_served or any(block is item.part for block in last.blocks))
        for item in arrangement.turns[-1].items
    )
