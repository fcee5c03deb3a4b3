"""
What a message says, in whichever provider's form it was written.

`reading.py` turns each part and key of a message into one of these with the table of shapes, and
each format writes them again in its own form. An item keeps the part that it was read from, so that
a format can give back unchanged what is its own.
"""

from __future__ import annotations

from typing import Any

import msgspec

Part = dict[str, Any]


class Item(msgspec.Struct, eq=False, kw_only=True):
    """
    One thing that a message says.

    Attributes:
        at: The index of its message.
        part: The part that it was read from; empty if it stood in a key, or was added.
        place: Where the part stands in its message; see `shapes.Mark`.
    """

    at: int
    part: Part = {}
    place: int = 0


class TextItem(Item, gc=False):
    """
    A text.

    Attributes:
        text: The text itself.
        is_refusal: Whether the model says that it will not do something.
        is_plain: Whether its part is `{"type": "text", "text": …}` and no more.
    """

    text: str
    is_refusal: bool = False
    is_plain: bool = False

    @property
    def is_blank(self) -> bool:
        """Whether it holds nothing but white space, which some providers refuse."""
        return not self.text or self.text.isspace()


class MediaItem(Item):
    """
    An image, a recording, a video or a file.

    Attributes:
        kind: `image`, `audio`, `video` or `file`.
        media_type: Its MIME type; empty if it is not known.
        data: Its bytes in base64.
        url: Where it can be fetched.
        file_id: Its id in a provider's store of files, which only that provider can read.
        name: Its file name.
        text: What it says, where it is given as text.
    """

    kind: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    name: str = ""
    text: str = ""


class CallItem(Item):
    """
    A call of a tool.

    Attributes:
        id: What binds its result; empty if it has none.
        name: The tool.
        arguments: What it is given: an object, or the text that the model wrote.
        is_served: Whether the provider runs the tool itself, in the middle of its reply.
        is_free: Whether the arguments are any text, not JSON.
        result: Its result, once it is known.
        is_running: Whether its result is still to come.
        is_replaced: Whether a later part says it again.
        is_settled: Whether no later message can change how it was answered.
        out_id: Its id in the rendering.
        out_type: Its type in the rendering, if it keeps the one that it came with.
        turn: The index of the turn that holds its result.
        plain_in: The format of which its part is a call with nothing but an id, a name and the
            arguments; empty if it is in none.
    """

    id: str
    name: str
    arguments: Any = None
    is_served: bool = False
    is_free: bool = False
    result: ResultItem | None = None
    is_running: bool = False
    is_replaced: bool = False
    is_settled: bool = True
    out_id: str = ""
    out_type: str = ""
    turn: int = -1
    plain_in: str = ""


class ResultItem(Item):
    """
    What a call came to.

    Attributes:
        id: What binds it to its call; empty if it has none.
        name: The tool, if the result names it.
        value: A string, a list of blocks, or any other JSON value.
        is_error: Whether the tool failed.
        is_served: As of the call.
        is_whole: Whether its message is the result as a whole.
        is_added: Whether a repair has added it.
        call: The call that it answers; None if it answers none.
        plain_in: The format of which its part is a result with nothing but an id and the value;
            empty if it is in none.
    """

    id: str = ""
    name: str = ""
    value: Any = None
    is_error: bool = False
    is_served: bool = False
    is_whole: bool = False
    is_added: bool = False
    call: CallItem | None = None
    plain_in: str = ""


class ApprovalItem(Item):
    """
    A question whether a call may be made, or the answer to one.

    Attributes:
        answers: Whether it is an answer.
        request: Of an answer, the question; None if it is not there, or was answered before.
    """

    answers: bool = False
    request: ApprovalItem | None = None


class ReasoningItem(Item):
    """
    What a model thought.

    Attributes:
        text: What can be read of it.
        key: The key of the message that it stands in; empty if it is a part.
        is_torn: Whether it was made after another beginning than the one that it has now.
    """

    text: str = ""
    key: str = ""
    is_torn: bool = False


class PageOnlyItem(Item):
    """Something that only a page shows."""


class CompactionItem(Item):
    """A provider's own summary of all before it; *text* is what can be read of it."""

    text: str = ""


class OpaqueItem(Item):
    """Something that only the provider it came from knows."""
