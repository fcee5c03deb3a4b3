"""What was appended: the message log as its writer knows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

from tests.acceptance.difference import Difference, compare, fingerprint
from tests.acceptance.pairing import (
    Message,
    Pair,
    Pairing,
    holds_call_id,
    is_pinned_role,
    opens_turn,
)


class Slot(NamedTuple):
    """
    An entry of a window that is known.

    A message of the log has a *seq* and the indexes of the parts it has *kept*. A summary has
    neither; it stands for the seqs from somewhere in *first* to *last*. Its token count is None
    until the server was asked for it.
    """

    seq: int | None
    message: Message
    token_count: int | None
    kept: tuple[int, ...] = ()
    first: tuple[int, int] = (0, 0)
    last: int = 0


class Logged(NamedTuple):
    """One appended message and what the server answered to it."""

    message: Message
    token_count: int
    version: int
    fingerprint: Mapping[str, str]


@dataclass
class Log:
    """Everything that was appended so far, in order."""

    entries: list[Logged] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    pairing: Pairing = field(default_factory=Pairing)
    pinned: int = 0
    """The length of the leading run of instructions."""
    total_tokens: int = 0
    _compared: dict[int, tuple[Message, Difference]] = field(default_factory=dict)

    def append(self, message: Message, token_count: int, version: int) -> int:
        """Add *message* and return its seq."""
        if self.pinned == len(self.entries) and is_pinned_role(message):
            self.pinned += 1
        self.entries.append(Logged(message, token_count, version, fingerprint(message)))
        every_part = tuple(range(len(message["parts"])))
        self.slots.append(Slot(self.last_seq, message, token_count, every_part))
        self.pairing.add(self.last_seq, message)
        self.total_tokens += token_count
        return self.last_seq

    def compare(self, returned: Message) -> Difference:
        """Work out what *returned* has left of its source; an object is looked at only once."""
        known, difference = self._compared.get(id(returned), (None, None))
        if known is returned and difference is not None:
            return difference
        seq = returned["seq"]
        if fingerprint(returned) == self[seq].fingerprint:
            difference = Difference(self.slots[seq - 1].kept, ())
        else:
            difference = compare(self[seq].message, returned)
        self._compared[id(returned)] = returned, difference
        return difference

    def __getitem__(self, seq: int) -> Logged:
        return self.entries[seq - 1]

    @property
    def last_seq(self) -> int:
        """The seq of the newest message, 0 when there is none."""
        return len(self.entries)

    @property
    def pairs(self) -> Sequence[Pair]:
        """The calls that have their result, as the log stands."""
        return self.pairing.pairs

    def open_spans(self) -> list[tuple[int, int]]:
        """
        Return spans from the unanswered calls of the last turn to the end of the log.

        The contract lets an unanswered call span its own message only. But the result of such a
        call may be yet to come, and a window that holds on to the call until then breaks no
        promise, so both are fair.
        """
        turn = self.opener_of(self.last_seq) or 1
        return [(call.seq, self.last_seq) for call in self.pairing.unanswered() if call.seq >= turn]

    def tokens(self, seqs: Iterable[int]) -> int:
        """Return the sum of the token counts of the messages at *seqs*."""
        return sum(self[seq].token_count for seq in seqs)

    def opener_of(self, seq: int) -> int | None:
        """Return the seq of the user message that opens the turn of the message at *seq*."""
        turns = (one for one in range(seq, 0, -1) if opens_turn(self[one].message))
        return next(turns, None)

    def turn_holds_calls(self, opener: int) -> bool:
        """Tell whether the turn that *opener* opens holds a call with an id."""
        rest = (self[seq].message for seq in range(opener + 1, self.last_seq + 1))
        turn = takewhile(lambda message: not opens_turn(message), rest)
        return any(holds_call_id(message) for message in turn)

    def running_turn(self, last_seq: int) -> int | None:
        """
        Return where the last turn began when the log ended at *last_seq*, if it holds a call with
        an id.
        """
        opener = self.opener_of(last_seq)
        if opener is None:
            return None
        turn = range(opener, last_seq + 1)
        return opener if any(holds_call_id(self[seq].message) for seq in turn) else None
