"""
Messages as they are received: read in their format, checked, and ready to be appended.

Errors and oddities name paths in the message as its sender knows it.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from fastpaca.context import jsontext
from fastpaca.context.draft import Draft, parse
from fastpaca.context.oddities import UNKNOWN_SHAPE, Oddity
from fastpaca.errors import InvalidRequest
from fastpaca.formats.incoming import STRING, Incoming, read_content
from fastpaca.formats.openai_responses import ITEM_FORM
from fastpaca.formats.rendering import FORMATS, Format
from fastpaca.shapes import Shape

PARTS = "parts"
"""The name of the form that messages are stored in."""


def format_named(name: str) -> Format:
    """
    Return the format of that *name*.

    Raises:
        InvalidRequest: There is none.
    """
    rules = FORMATS.get(name)
    if rules is None:
        message = jsontext.unknown_key_message(name, [*FORMATS, PARTS])
        raise InvalidRequest(message.replace("key", "format"), "format")
    return rules


def read_text(text: bytes, format_: str | None, field: str) -> Incoming:
    """
    Read a message that was appended in a format, given as minified JSON.

    Without a format, or with `parts`, a message may bring `content` in place of its parts.

    Raises:
        InvalidRequest: There is no such format, or the message is none of it.
    """
    if format_ is None or format_ == PARTS:
        return read_content(text, field)
    return format_named(format_).read(text, field)


def parse_message(text: bytes, field: str, format_: str | None = None) -> Draft:
    """
    Parse a message in a format, given as minified JSON; without one, it has `content` or parts.

    Raises:
        InvalidRequest: It can't be used; the error names the field and what would be right.
    """
    jsontext.check_depth(text, field)
    incoming = read_text(text, format_, field)
    origin = incoming.origin
    try:
        draft = parse(incoming.text, field)
    except InvalidRequest as error:
        where = field + own_path(origin, (error.field or field).removeprefix(field))
        raise InvalidRequest(error.message, where) from None
    oddities = draft.oddities
    if format_ is not None:
        noticed = {oddity.path for oddity in oddities}
        unknown = [one for one in _unknown(draft, format_) if one.path not in noticed]
        oddities = (*oddities, *unknown)
    return replace(draft, origin=origin, oddities=oddities)


def _unknown(draft: Draft, format_: str) -> Iterator[Oddity]:
    """Yield the blocks that neither the format nor the table of shapes knows."""
    blocks = FORMATS[format_].rules.blocks
    for place, (part, shape) in enumerate(zip(draft.parts, draft.reading.shapes, strict=True)):
        if shape == Shape.OPAQUE and part.kind not in blocks:
            yield Oddity(UNKNOWN_SHAPE, f".parts[{place}]")


def own_path(origin: str, path: str) -> str:
    """
    Return where something was in a message as it came, given its *path* in the stored one.

    Paths are relative to the message: `.parts[0].text` may have been `.content[0].text`.
    """
    name, slash, form = origin.rpartition("/")
    if not slash or not path.startswith(".parts"):
        return path
    if form == ITEM_FORM:
        return path.removeprefix(".parts[0]")
    if form.endswith(STRING):
        return ".content"
    key = FORMATS[name].rules.key if name in FORMATS else "content"
    return path.replace(".parts", f".{key}", 1)
