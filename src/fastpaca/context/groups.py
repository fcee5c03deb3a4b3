"""
What belongs together in a list of entries, and where it may be cut.

Theory of operation
-------------------

`Groups` reads entries from the oldest to the newest, each once. `Pairing` says which result belongs
to which call. From that follow, after each entry:

- **Spans.** A span reaches from a call to its result, to its approval request, and to the response
  to that. A span also reaches from an assistant message to the next one, if the first ends in
  reasoning, or the second holds a call that runs or that another message answers; but never if the
  second holds the result of an earlier call.
- **Cut points.** A place is a cut point if no span crosses it. So is a place before a message that
  makes a call, if all spans that cross it are results that end in that message: a cut takes them
  out of it.
- **The newest block.** A running call and everything after it can't be cut.

Each place is decided when its entry is read, as if no call ran. A span is known when its last entry
is read; then it removes the cut points that it crosses, which are the last ones. So an append costs
the same however long a step is, and however and whenever it ends.

Decisions that the rules leave open:

- Everything between an assistant message that ends in reasoning and the end of the conversation is
  bound to it, until the next message shows whether the reasoning led to it.
- A synthetic message is not part of a reply, so messages after it are not bound to it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, islice
from typing import Final

from fastpaca.context.cut_calls import CutCall
from fastpaca.context.message import Entry
from fastpaca.context.pairing import Pairing
from fastpaca.shapes import WHOLE_PLACE, Reading, Shape, Side, Speaker

_ASSISTANT, _PASSED = Speaker.ASSISTANT, Speaker.PASSED
_STRAY: Final = frozenset({Shape.GONE, Shape.PAGE, Shape.BLANK, Shape.RESULT, Shape.RESPONSE})


class Groups:
    """
    What belongs together in a list of entries; see the module.

    Args:
        entries: The list; it may grow at its end.
        pinned: How many entries at the beginning are pinned.
        cut_calls: Calls that were cut, by place.
        opened_at: Place of the newest message that opened a turn and was cut: calls before it
            don't run.

    Attributes:
        entries: The list.
        size: How many entries were read.
        pairing: Which result belongs to which call.
        sums: For each index, the tokens of all entries before it.
        turn: For each entry, the index of the message that opened its turn, or -1.
        task_messages: The indexes of entries that opened turns, ascending.
        first_calls: For each value of `turn`, the first entry of that turn that makes a call.
        newest_at: For each entry, where the newest block began after it was read.
        compactions: The indexes of entries with a compaction part, ascending.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        pinned: int = 0,
        cut_calls: tuple[CutCall, ...] = (),
        opened_at: int = 0,
    ) -> None:
        self.entries = entries
        self._pinned = pinned
        self.size = 0
        self.pairing = Pairing(cut_calls, opened_at)
        self.sums = [0]
        self.turn: list[int] = []
        self.task_messages: list[int] = []
        self.first_calls: dict[int, int] = {}
        self.newest_at: list[int] = []
        self.compactions: list[int] = []
        # Where a cut may fall if no call runs, and which of these cuts take nothing out.
        self._cuts: list[int] = []
        self._clean_cuts: list[int] = []
        self._with_removal: set[int] = set()
        self._withheld: list[int] = []
        # The newest message of the assistant, unless another role has spoken since, and whether it
        # ends in reasoning, so that the next message may be bound to it.
        self._speaker = -1
        self._is_held = False
        # For each message of the assistant that makes calls, the one before it that it may join.
        self._spoke_before: dict[int, int] = {}
        self._turn = -1
        # The value of `pairing.running_at` when the newest block was last determined.
        self._running_at: int | None = None

    def read(self, size: int) -> Groups:
        """Read entries until *size* are read."""
        while self.size < size:
            entry = self.entries[self.size]
            if entry.reading.tool_references or not self._read_plain(size):
                self._read(self.size, entry)
        if self.pairing.barrier:  # the message that opened the newest turn was cut after all these
            self._pass_barrier()
        assert self.size == len(self.turn) == len(self.newest_at) == len(self.sums) - 1
        return self

    def come_to(self, entry: Entry) -> Groups:
        """Read the cut calls before *entry*, which would be the next one."""
        self._come_to(entry.covers_to)
        self.pairing.come_to(entry.covers_to)
        self.pairing.stand_at(entry.covers_to)
        return self

    def finish_ghosts(self) -> Groups:
        """Read the cut calls after all entries."""
        self.pairing.finish()
        return self

    # --- reading ---

    def _read_plain(self, size: int) -> int:
        """
        Read entries up to the first that may be bound to others; return how many.

        Most entries are plain, and each of these is a block by itself. `_read` would do the same,
        but several times slower.
        """
        pairing, start = self.pairing, self.size
        if self._is_held or pairing.running_at is not None:
            return 0
        awaited_place = pairing.awaited_place
        sums, turns, turn, total = self.sums, self.turn, self._turn, self.sums[-1]
        opened_at: int | None = None
        speaker = self._speaker
        index = start
        for entry in islice(self.entries, start, size):
            reading = entry.reading
            if (
                reading.tool_references
                or reading.ends_in_reasoning
                or entry.is_task
                or entry.covers_to >= awaited_place
                or _SUMMARY in reading.shapes
            ):
                break
            total += entry.counts.total
            sums.append(total)
            if reading.opens_turn:
                opened_at = entry.covers_to
                turn = -1
                if index >= self._pinned:
                    turn = index
                    self.task_messages.append(index)
            turns.append(turn)
            if reading.speaker is not _PASSED:
                is_reply = reading.speaker is _ASSISTANT and entry.seq is not None
                speaker = index if is_reply else -1
            index += 1
        if opened_at is not None:
            pairing.open_turn(opened_at)
        if index > start:
            pairing.unpaired.clear()
        places = range(start, index)
        self._cuts += places
        self._clean_cuts += places
        self.newest_at += places
        self._turn, self._speaker, self.size = turn, speaker, index
        return index - start

    def _read(self, index: int, entry: Entry) -> None:
        reading, pairing = entry.reading, self.pairing
        at_place = entry.covers_to
        if at_place >= pairing.awaited_place:
            self._come_to(at_place)
        self.size = index + 1
        self.sums.append(self.sums[-1] + entry.counts.total)
        if reading.opens_turn:
            self._open_turn(index, at_place)
        self.turn.append(self._turn)
        has_summary = _SUMMARY in reading.shapes and reading.holds_summary
        if has_summary:
            self.compactions.append(index)
            pairing.replace_running()
        if reading.tool_references:
            pairing.read(index, entry, self._turn)
            if index in pairing.calls and self._turn not in self.first_calls:
                self.first_calls[self._turn] = index
        elif pairing.unpaired:
            pairing.unpaired.clear()
        if reading.tool_references or self._is_held or entry.is_task:
            self._decide(index, entry)
        else:
            self._add(index)
        if reading.speaker is not _PASSED:
            is_reply = reading.speaker is _ASSISTANT and entry.seq is not None
            if has_summary and reading.shapes.endswith(_SUMMARY):
                is_reply = False  # a cut may fall right after it
            self._speaker = index if is_reply else -1
            self._is_held = is_reply and reading.ends_in_reasoning
        if pairing.running_at is None or pairing.running_at != self._running_at:
            self.newest_at.append(self.newest())
            self._running_at = pairing.running_at
        else:
            self.newest_at.append(self.newest_at[-1])

    def _open_turn(self, index: int, seq: int) -> None:
        self.pairing.open_turn(seq)
        self._turn = -1
        if index >= self._pinned:
            self._turn = index
            self.task_messages.append(index)

    def _come_to(self, seq: int) -> None:
        barrier = self.pairing.barrier
        if barrier == seq:
            self.pairing.pass_barrier()  # the next entry opened that turn itself
        elif 0 < barrier < seq:
            self._pass_barrier()
        self.pairing.come_to(seq)

    def _pass_barrier(self) -> None:
        self.pairing.pass_barrier()
        if self.newest_at:
            self.newest_at[-1] = self.newest()

    def _decide(self, place: int, entry: Entry) -> None:
        """Decide whether a cut may fall at *place*, where *entry* stands."""
        kind, pairing = entry.reading.speaker, self.pairing
        is_tied = False
        if entry.reading.tool_references and (pairing.answered or pairing.bound):
            is_tied = True
            for start in pairing.answered:
                self._take_back(self._spoke_before.get(start, start))
            for start in pairing.bound:
                self._take_back(start)
        if kind is _ASSISTANT and self._speaker >= 0 and place not in pairing.answers_earlier:
            if place in pairing.calls:
                self._spoke_before[place] = self._speaker
            if self._is_held:
                self._take_back(self._speaker)
                return
        if self._is_held and kind is _PASSED:
            self._withheld += [place] if self._is_free(place, entry, is_tied=is_tied) else []
            return
        if self._withheld:
            for withheld in self._withheld:
                self._add(withheld)
            self._withheld.clear()
        if self._is_free(place, entry, is_tied=is_tied):
            self._add(place)

    def _is_free(self, place: int, entry: Entry, *, is_tied: bool) -> bool:
        """Return whether nothing that ends at *place* binds it to an earlier entry."""
        if is_tied:
            if self.pairing.bound or not self._makes_call(place):
                return False
            if any(WHOLE_PLACE in reference.places for reference in entry.tool_references):
                return False  # taking such a result out would take the call with it
            self._with_removal.add(place)
        if entry.is_task and place and self.entries[place - 1].is_task:
            return False
        return place not in self.pairing.strays or not self._is_stray(place, entry.reading)

    def _is_stray(self, place: int, reading: Reading) -> bool:
        """Return whether a message holds only strays."""
        if place == 0 or self.pairing.strays[place] != len(reading.tool_references):
            return False
        is_whole = any(reference.place == WHOLE_PLACE for reference in reading.tool_references)
        return is_whole or _STRAY.issuperset(reading.shapes)

    def _makes_call(self, place: int) -> bool:
        calls = self.pairing.calls.get(place)
        return calls is not None and any(
            call.reference.side is not Side.BOTH or call.reference.is_open for call in calls
        )

    def _add(self, place: int) -> None:
        assert not self._cuts or self._cuts[-1] < place
        self._cuts.append(place)
        if place not in self._with_removal:
            self._clean_cuts.append(place)

    def _take_back(self, start: int) -> None:
        """Remove the places after *start*, since something holds them together."""
        for places in (self._cuts, self._clean_cuts, self._withheld):
            if places and places[-1] > start:
                del places[bisect_right(places, start) :]
                self._running_at = None  # the newest block may begin elsewhere

    # --- asking ---

    def newest(self) -> int:
        """Return where the newest block begins."""
        if not self._cuts:
            return 0
        running = self.pairing.running_at
        if running is None:
            return self._cuts[-1]
        return floor_of(self._cuts, self._spoke_before.get(running, running))

    def cut_places(self) -> list[int]:
        """Return all places where a cut may fall."""
        end, cuts = self._end_of_cuts(), self._cuts
        return cuts if not cuts or cuts[-1] < end else cuts[: bisect_left(cuts, end)]

    def _end_of_cuts(self) -> int:
        """Return the end of the places for cuts, which is at the first call that runs."""
        running = self.pairing.running_at
        if running is None:
            return self.size
        return running if running in self._spoke_before else running + 1

    def clean_cut(self, index: int) -> int:
        """Return the first place at or after *index* where a cut takes nothing out, or the end."""
        at = bisect_left(self._clean_cuts, index)
        if at < len(self._clean_cuts) and self._clean_cuts[at] < self._end_of_cuts():
            return self._clean_cuts[at]
        return self.size

    def whole_cuts(self) -> list[int]:
        """
        Return the places where a cut takes nothing out, for compactions by a caller.

        No place is between a call and a stray of it. The end is one of them if everything may go,
        which is so if no call runs and the last message does not end in reasoning.
        """
        newest = self.newest()
        inside = [0] * (self.size + 2)
        for at, calls in self.pairing.calls.items():
            end = max((index for call in calls for index, _ in call.results), default=at)
            inside[at + 1] += 1
            inside[max(end, at) + 1] -= 1
        depths = list(accumulate(inside))
        whole = [place for place in self._clean_cuts if place <= newest and not depths[place]]
        is_open = self.pairing.running_at is not None or self._is_held
        return whole if is_open else [*whole, self.size]


_SUMMARY: Final = bytes([Shape.COMPACTION])


def floor_of(places: Sequence[int], index: int) -> int:
    """Return the last of *places* that is not after *index*."""
    return places[bisect_right(places, index) - 1]


def next_of(places: Sequence[int], index: int, end: int) -> int:
    """Return the first of *places* at or after *index*, but at most *end*."""
    at = bisect_left(places, index)
    return min(places[at], end) if at < len(places) else end
