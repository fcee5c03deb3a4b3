"""Parse the query of a request: every parameter is known, sent once, and has a usable value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from fastpaca.context import jsontext
from fastpaca.errors import InvalidRequest
from fastpaca.formats import FORMATS, OPEN_CALLS, PARTS, AskedFormat, OpenCalls
from fastpaca.ids import ID_BYTES_MAX

PAGE_MAX: Final = 10_000
"""The most entries of a page."""

PAGE_DEFAULT: Final = 100

FORMAT_NAMES: Final = (*FORMATS, PARTS)
"""What messages can be sent and read as."""

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,15}")
_BROKEN_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")

Parameters = dict[str, str]

_NONE: Final[Parameters] = {}


def parse(query: bytes, known: tuple[str, ...]) -> Parameters:
    """
    Return the parameters of a query string.

    Raises:
        InvalidRequest: A parameter is not *known* or was sent twice, or the text is broken.
    """
    if not query:
        return _NONE
    parameters: Parameters = {}
    for pair in query.split(b"&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition(b"=")
        name = _decoded(raw_name, None)
        if name not in known:
            raise InvalidRequest(_unknown_message(name, known), name)
        if name in parameters:
            raise InvalidRequest("This parameter appears twice; send it once.", name)
        parameters[name] = _decoded(raw_value, name)
    return parameters


def _decoded(raw: bytes, field: str | None) -> str:
    if _BROKEN_PERCENT.search(raw):
        raise InvalidRequest("The query has a % that does not start a percent-encoded byte.", field)
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The query is not UTF-8.", field) from None


def _unknown_message(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return f"Unknown parameter {name!r}; this route has no parameters."
    return jsontext.unknown_key_message(name, known).replace("key", "parameter", 1)


def integer(
    parameters: Parameters, name: str, least: int, most: int = jsontext.INTEGER_MAX
) -> int | None:
    """
    Return an integer from *least* to *most*; None if it is absent.

    Raises:
        InvalidRequest: The value is something else.
    """
    text = parameters.get(name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidRequest(f"Must be an integer from {least} to {most}.", name)
    return int(text)


def limit(parameters: Parameters) -> int:
    """
    Return how many entries a page may have.

    Raises:
        InvalidRequest: The value is not an integer from 1 to `PAGE_MAX`.
    """
    return integer(parameters, "limit", 1, PAGE_MAX) or PAGE_DEFAULT


def flag(parameters: Parameters, name: str, *, default: bool = False) -> bool:
    """
    Return whether the value is `true`; *default* if it is absent.

    Raises:
        InvalidRequest: The value is neither `true` nor `false`.
    """
    text = parameters.get(name, "true" if default else "false")
    if text not in ("true", "false"):
        raise InvalidRequest("Must be true or false.", name)
    return text == "true"


def choice(parameters: Parameters, name: str, known: Sequence[str]) -> str | None:
    """
    Return the value, one of *known*; None if it is absent.

    Raises:
        InvalidRequest: It is none of them.
    """
    text = parameters.get(name)
    if text is not None and text not in known:
        raise InvalidRequest(f"Must be one of {', '.join(known)}.", name)
    return text


def wants_path(parameters: Parameters) -> bool:
    """
    Return whether the path is to be read instead of the log.

    Raises:
        InvalidRequest: The value is not `current`.
    """
    return choice(parameters, "path", ("current",)) is not None


def message_format(parameters: Parameters) -> str | None:
    """
    Return the name of the format of messages; None for the form that they are stored in.

    Raises:
        InvalidRequest: There is no such format.
    """
    name = choice(parameters, "format", FORMAT_NAMES)
    return None if name == PARTS else name


def asked_format(parameters: Parameters) -> AskedFormat | None:
    """
    Return the form of a view; None for the messages as they are stored.

    Raises:
        InvalidRequest: There is no such form.
    """
    name = message_format(parameters)
    open_calls = choice(parameters, "open_calls", OPEN_CALLS)
    cache = flag(parameters, "cache")
    return (
        None if name is None else AskedFormat(name, cast("OpenCalls", open_calls or "close"), cache)
    )


def part_of_id(parameters: Parameters, name: str) -> str:
    """
    Return a context id or the beginning of one; empty if it is absent.

    Raises:
        InvalidRequest: No context id can look like that.
    """
    text = parameters.get(name, "")
    if "\0" in text or len(text.encode()) > ID_BYTES_MAX:
        raise InvalidRequest(
            f"A context id has no NUL character and at most {ID_BYTES_MAX} bytes.", name
        )
    return text
