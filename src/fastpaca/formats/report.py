"""
What a rendering had to repair, and what it could not say.

A repair changes how a list stands, so that its provider takes it; nothing of what was said is gone.
A loss is something that the other provider has no words for. Both tables are the documentation of
their codes, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

CLOSED_CALL: Final = "closed_call"
DROPPED_CALL: Final = "dropped_call"
MOVED_RESULT: Final = "moved_result"
DROPPED_RESULT: Final = "dropped_result"
FILLED_RESULT: Final = "filled_result"
MERGED: Final = "merged"
INSTRUCTIONS_AS_TEXT: Final = "instructions_as_text"
ADDED_FIRST: Final = "added_first"
ADDED_LAST: Final = "added_last"
DROPPED_BLANK: Final = "dropped_blank"
CHANGED_ID: Final = "changed_id"
CHANGED_NAME: Final = "changed_name"
DROPPED_ITEM_IDS: Final = "dropped_item_ids"
DROPPED_THINKING: Final = "dropped_thinking"
ADDED_SIGNATURE: Final = "added_signature"
ADDED_TEXT: Final = "added_text"

FRAME_TOKENS: Final = 4
"""What a message costs besides what it says, as `MESSAGE_OVERHEAD_TOKENS` and its role."""

CLOSED_TEXT: Final = "The call was interrupted; there is no result."
DENIED_TEXT: Final = "The call was denied."
NO_OUTPUT_TEXT: Final = "(no output)"
FIRST_TEXT: Final = "(The conversation goes on.)"
LAST_TEXT: Final = "Go on."
FILE_TEXT: Final = "(file)"

ID_TOKENS: Final = 24
"""What an id that the rendering makes costs at the most; those of providers cost 17 to 25."""

REPAIRS: Final[dict[str, tuple[int, str]]] = {
    CLOSED_CALL: (
        FRAME_TOKENS + 12 + 32,
        "A call of a finished turn never got its result, and is closed with one that says so.",
    ),
    DROPPED_CALL: (0, "A call without a result was dropped."),
    MOVED_RESULT: (0, "A result was moved to right after its call."),
    DROPPED_RESULT: (
        0,
        "A result was dropped: it answers no call, or one that was answered already.",
    ),
    FILLED_RESULT: (4, "An empty result says that there was no output."),
    MERGED: (0, "Neighbours of one role became one message."),
    INSTRUCTIONS_AS_TEXT: (0, "Later instructions stand in place as a text of the user."),
    ADDED_FIRST: (FRAME_TOKENS + 8, "A message of the user was added at the beginning."),
    ADDED_LAST: (FRAME_TOKENS + 4, "A message of the user was added at the end."),
    DROPPED_BLANK: (0, "A text or a message that holds nothing was dropped."),
    CHANGED_ID: (
        2 * ID_TOKENS,
        "An id that the provider refuses became a hash, in call and result.",
    ),
    CHANGED_NAME: (2 * 20, "The name of a tool or a file lost characters the provider refuses."),
    DROPPED_ITEM_IDS: (0, "Ids of items were dropped, since items of the same reply are gone."),
    DROPPED_THINKING: (
        0,
        "Thinking was dropped: its beginning has changed, it is not signed, or it led to nothing.",
    ),
    ADDED_TEXT: (4, "A text was added to a document that stood alone."),
    ADDED_SIGNATURE: (12, "A call got the signature that Gemini documents for foreign calls."),
}
"""By code, the tokens that a repair adds at the most, and what it does."""

REASONING: Final = "reasoning"
MEDIA: Final = "media"
CITATIONS: Final = "citations"
REFUSAL: Final = "refusal"
SERVED_CALL: Final = "served_call"
APPROVAL: Final = "approval"
COMPACTION: Final = "compaction"
PAGE_ONLY: Final = "page_only"
UNKNOWN: Final = "unknown"
ERROR_FLAG: Final = "error_flag"
ARGUMENTS: Final = "arguments"
KEYS: Final = "keys"

LOSSES: Final[dict[str, str]] = {
    REASONING: "Reasoning of another provider was dropped.",
    MEDIA: "An image, a recording or a file was dropped: there is no form for it here.",
    CITATIONS: "A text is there, without its citations.",
    REFUSAL: "A refusal is there, as a plain text.",
    SERVED_CALL: "A call that another provider ran itself was dropped with its result.",
    APPROVAL: "A question whether a call may be made, or the answer, was dropped.",
    COMPACTION: "A summary that only its provider can read was dropped.",
    PAGE_ONLY: "A part that only a page shows was dropped.",
    UNKNOWN: "A block that only its provider knows was dropped.",
    ERROR_FLAG: "A result is there, but not that it is an error.",
    ARGUMENTS: "Arguments that are no JSON object became one with a single key.",
    KEYS: "Keys of a block or a message that only its provider knows were dropped.",
}
"""By code, what was not said."""


class Repair(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One repair: its code, the seq of the message it was made for, and the id of the call."""

    code: str
    seq: int | None = None
    call: str | None = None


class Loss(msgspec.Struct, frozen=True, gc=False):
    """One loss: its code, and the seq of the message that said more; null of a summary."""

    code: str
    seq: int | None = None


class Findings:
    """
    Collects repairs and losses while a list is rendered.

    Attributes:
        seqs: The seq of each message; as the argument.
        repairs: In the order in which they were made.
        losses: The same; each code once for each message.
        added_tokens: What the repairs add, by the index of the message that they are made for; -1
            for the list as a whole.
    """

    def __init__(self, seqs: Sequence[int | None]) -> None:
        self.seqs = seqs
        self.repairs: list[Repair] = []
        self.losses: list[Loss] = []
        self.added_tokens: dict[int, int] = {}
        self._noted: dict[int, set[str]] = {}  # by message, the codes that are said once

    def repair(self, code: str, at: int = -1, call: str = "") -> None:
        """Note that a repair was made for the message at index *at*, or for the whole list."""
        self.repairs.append(Repair(code, self.seqs[at] if at >= 0 else None, call or None))
        tokens = REPAIRS[code][0]
        if tokens:
            self.added_tokens[at] = self.added_tokens.get(at, 0) + tokens

    def repair_once(self, code: str, at: int) -> None:
        """Note a repair once for a message, however often it is made in it."""
        if self._is_new(code, at):
            self.repair(code, at)

    def blank(self, at: int) -> None:
        """Note that the message at index *at* is dropped, if no loss says so already."""
        if at not in self._noted:
            self.repair(DROPPED_BLANK, at)

    def loss(self, code: str, at: int) -> None:
        """Note that something of the message at index *at* is not said."""
        if self._is_new(code, at):
            self.losses.append(Loss(code, self.seqs[at]))

    def _is_new(self, code: str, at: int) -> bool:
        """Note a code for a message; return whether it was not noted before."""
        noted = self._noted.setdefault(at, set())
        is_new = code not in noted
        noted.add(code)
        return is_new
