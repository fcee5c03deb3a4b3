"""One answer of `GET …/context`, read strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

FITS = ("whole", "dropped", "cut", "empty")
HEAD = re.compile(r'\{"version":(\d+),"messages":\[')


class Segment(NamedTuple):
    """A run of returned entries of one kind."""

    type: str
    from_seq: int
    to_seq: int


@dataclass(frozen=True)
class View:
    """One answer of `GET …/context`."""

    version: int
    messages: tuple[Mapping[str, Any], ...]
    used_tokens: int
    needs_compaction: bool
    segments: tuple[Segment, ...]
    token_budget: int
    window_tokens: int
    fit: str
    stable_messages: int = 0

    @property
    def seqs(self) -> list[int]:
        """The seqs of the returned messages of the log."""
        return [one["seq"] for one in self.messages if one["seq"] is not None]


class Malformed(Exception):
    """An answer has not the shape that the contract gives it."""


def parse_view(body: Any) -> View:
    """
    Read *body*, the JSON of an answer, as a view.

    Raises:
        Malformed: A field is missing or of another type.
    """
    if not isinstance(body, dict):
        raise Malformed("the answer is not an object")
    messages = _field(body, "messages", list)
    for index, message in enumerate(messages):
        check_message(message, f"messages[{index}]")
    return _view(body, messages)


def _view(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> View:
    fit = _field(body, "fit", str)
    if fit not in FITS:
        raise Malformed(f"fit is {fit!r}")
    return View(
        version=_field(body, "version", int),
        messages=tuple(messages),
        used_tokens=_field(body, "used_tokens", int),
        needs_compaction=_field(body, "needs_compaction", bool),
        segments=tuple(_segment(one) for one in _field(body, "segments", list)),
        token_budget=_field(body, "token_budget", int),
        window_tokens=_field(body, "window_tokens", int),
        fit=fit,
    )


class ViewReader:
    """
    Reads the answers of one context, one after the other.

    A message that came before, byte for byte, is the same object again and is not parsed twice:
    most of a view is what the last one was, and this is where most of the time would go.
    """

    def __init__(self) -> None:
        self._known: list[tuple[str, dict[str, Any]]] = []
        self._decoder = json.JSONDecoder()

    def read(self, content: bytes) -> View:
        """
        Read an answer.

        Raises:
            Malformed: It is no JSON, or a field is missing or of another type.
        """
        try:
            return self._read(content.decode())
        except (ValueError, IndexError) as error:
            raise Malformed(f"the answer is no JSON: {error}") from error

    def _read(self, text: str) -> View:
        head = HEAD.match(text)
        if head is None:
            return parse_view(json.loads(text))
        messages, end = self._messages(text, head.end())
        rest = json.loads("{" + text[end:].removeprefix("]").removeprefix(","))
        return _view({"version": int(head.group(1)), **rest}, messages)

    def _messages(self, text: str, start: int) -> tuple[list[dict[str, Any]], int]:
        """Read the messages from *start*, and return them and where their list ends."""
        found: list[tuple[str, dict[str, Any]]] = []
        position = 0
        while text[start] != "]":
            start += text[start] == ","
            place = self._find(text, start, position)
            if place is None:
                message, end = self._decoder.raw_decode(text, start)
                check_message(message, f"messages[{len(found)}]")
                found.append((text[start:end], message))
            else:
                found.append(self._known[place])
                position = place + 1
            start += len(found[-1][0])
        self._known = found
        return [message for _, message in found], start

    def _find(self, text: str, start: int, position: int) -> int | None:
        known = self._known
        places = range(position, len(known))
        return next((one for one in places if text.startswith(known[one][0], start)), None)


def check_message(message: Any, where: str) -> None:
    """
    Hold *message* against the shape in which messages are read.

    Raises:
        Malformed: A field is missing or of another type.
    """
    if not isinstance(message, dict):
        raise Malformed(f"{where} is not an object")
    for key, kind in (("role", str), ("parts", list), ("token_count", int), ("metadata", dict)):
        if type(message.get(key)) is not kind:
            raise Malformed(f"{where}.{key} is {message.get(key)!r}")
    if "seq" not in message or type(message["seq"]) not in (int, type(None)):
        raise Malformed(f"{where}.seq is {message.get('seq')!r}")


def _field(holder: Mapping[str, Any], key: str, kind: type) -> Any:
    value = holder.get(key)
    # bool is a subclass of int in Python, and is not a number in JSON.
    if type(value) is not kind:
        raise Malformed(f"{key} is {value!r}, not of type {kind.__name__}")
    return value


def _segment(body: Any) -> Segment:
    if not isinstance(body, dict):
        raise Malformed("a segment is not an object")
    kind = _field(body, "type", str)
    return Segment(kind, _field(body, "from_seq", int), _field(body, "to_seq", int))
