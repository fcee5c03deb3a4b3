"""
Provider formats: what comes in, and what goes out.

A log keeps what was appended, value for value. `read` turns a provider's own message into one with
parts, and `render` turns the messages of a view into the list that a provider accepts today. Both
are pure, and depend only on msgspec:

    rendering = render(view, "anthropic")
    client.messages.create(system=rendering.system or [], messages=rendering.messages, …)

How the room is built, in the order of reading:

- `items.py`: what a message can say; `reading.py` reads it, by the table of shapes: `parts.py` what
  stands in a part, and `keys.py` what stands in keys next to the parts.
- `pairs.py` binds results to their calls; `arrangement.py` puts them in the order providers take,
  and `torn.py` says which thinking no longer follows what it followed.
- `blocks.py`: how a format says what its blocks hold.
- One file per format: its blocks, what it takes in, and how it writes. `merging.py` is shared by
  those whose user and model speak in turn, `writing.py` by all.
- `incoming.py`: reads a provider's own messages, by tables of the formats.
- `received.py`: the same, checked and ready to be appended.
- `report.py`: repairs and losses, by code.
- `rendering.py`: all of it, one after the other.
- `fitted.py`: the same for a view of a context, within its budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from fastpaca.formats.arrangement import OPEN_CALLS, OpenCalls
from fastpaca.formats.fitted import AskedFormat, RenderedView, rendered_view
from fastpaca.formats.incoming import Incoming
from fastpaca.formats.received import PARTS, format_named, own_path, parse_message, read_text
from fastpaca.formats.rendering import (
    FORMAT_RULES,
    FORMATS,
    RESERVED_TOKENS,
    Rendering,
    decoded,
    rendered,
    surcharges,
)
from fastpaca.formats.report import LOSSES, REPAIRS, Loss, Repair
from fastpaca.formats.writing import Options


class ReadMessage(NamedTuple):
    """A message with `parts`, and the origin: how it came."""

    message: dict[str, Any]
    origin: str


def read(
    message: Mapping[str, Any], format_: str | None = None, field: str = "message"
) -> ReadMessage:
    """
    Read a provider's own *message*, or item, as it would be appended.

    Raises:
        InvalidRequest: There is no such format, or the message is none of it; the error names the
            path in the message, which begins with *field*.
    """
    text, origin = read_text(msgspec.json.encode(message), format_, field)
    return ReadMessage(msgspec.json.decode(text), origin)


def render(
    view: Any,
    format_: str,
    *,
    open_calls: OpenCalls = "close",
    cache: bool = False,
    intact_from: int | None = None,
    origins: Sequence[str] = (),
) -> Rendering:
    """
    Render a view as the list of a provider.

    Args:
        view: A view: an object or a mapping that has `messages`, or the messages themselves.
        format_: The name of the format.
        open_calls: What is done with calls that will not get their result any more: a marked result
            closes them, or they are dropped, or kept. Calls of the step that runs always stay.
        cache: Whether Anthropic's marks for its prompt cache are set.
        intact_from: The first message whose beginning is what it was when it was appended. Thinking
            in earlier messages is dropped. If it is not given, all is intact in a view that has
            every message of the log as it was, and nothing in any other.
        origins: How each message came, as `read` has returned it.

    Raises:
        InvalidRequest: There is no such format.
    """
    format_named(format_)
    messages = _member(view, "messages") if not isinstance(view, (list, tuple)) else view
    if intact_from is None:
        intact_from = 0 if _is_whole(messages, _member(view, "fit")) else len(messages)
    options = Options(open_calls=open_calls, cache=cache, intact_from=intact_from)
    return rendered(messages, format_, options, origins)


def _member(view: Any, name: str) -> Any:
    return view.get(name) if isinstance(view, dict) else getattr(view, name, None)


def _is_whole(messages: Sequence[Mapping[str, Any]], fit: object) -> bool:
    """Return whether a view holds every message of the log, as it was appended."""
    seqs = [message.get("seq", at + 1) for at, message in enumerate(messages)]
    return fit in (None, "whole") and seqs == list(range(1, len(seqs) + 1))


__all__ = [
    "FORMATS",
    "FORMAT_RULES",
    "LOSSES",
    "OPEN_CALLS",
    "PARTS",
    "REPAIRS",
    "RESERVED_TOKENS",
    "AskedFormat",
    "Incoming",
    "Loss",
    "OpenCalls",
    "Options",
    "ReadMessage",
    "RenderedView",
    "Rendering",
    "Repair",
    "decoded",
    "format_named",
    "own_path",
    "parse_message",
    "read",
    "read_text",
    "render",
    "rendered",
    "rendered_view",
    "surcharges",
]
