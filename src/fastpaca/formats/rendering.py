"""
A view as a provider takes it.

`rendered` reads every message, binds calls and results, puts them in order and lets the format
write them. It is pure: the same messages and options give the same list, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from fastpaca.context.message import Counts, Entry
from fastpaca.context.pinned import pinned_run
from fastpaca.formats import (
    ai_sdk,
    anthropic,
    bedrock,
    gemini,
    openai_chat,
    openai_responses,
    reading,
)
from fastpaca.formats.arrangement import Arrangement, arranged
from fastpaca.formats.incoming import Incoming, Rules, read_message
from fastpaca.formats.items import PageOnlyItem, TextItem
from fastpaca.formats.pairs import pair
from fastpaca.formats.reading import Said
from fastpaca.formats.report import ADDED_FIRST, ADDED_LAST, REPAIRS, Findings, Loss, Repair
from fastpaca.formats.writing import BlockWriter, Options, WrittenList
from fastpaca.shapes import INSTRUCTION_ROLES, Reading

Write = Callable[[BlockWriter, Arrangement, Sequence[Said]], WrittenList]
"""Writes a list, and the instructions that stand apart."""


class Format(msgspec.Struct, frozen=True):
    """
    A provider's form of a whole list of messages.

    Attributes:
        rules: What it takes.
        write: Writes a list.
        has_system: Whether instructions stand apart from the messages.
        reads: Reads one of its messages, or items, if these are not read by its rules alone.
    """

    rules: Rules
    write: Write
    has_system: bool
    reads: Callable[[bytes, str], Incoming] | None = None

    def read(self, text: bytes, field: str) -> Incoming:
        """
        Read one of its messages, or items.

        Raises:
            InvalidRequest: It is none; the error names the field and what would be right.
        """
        if self.reads is not None:
            return self.reads(text, field)
        return read_message(text, self.rules, field)


FORMATS: Final[Mapping[str, Format]] = {
    openai_chat.NAME: Format(openai_chat.RULES, openai_chat.write, has_system=False),
    openai_responses.NAME: Format(
        openai_responses.RULES,
        openai_responses.write,
        has_system=False,
        reads=openai_responses.read,
    ),
    anthropic.NAME: Format(anthropic.RULES, anthropic.write, has_system=True),
    gemini.NAME: Format(gemini.RULES, gemini.write, has_system=True, reads=gemini.read),
    bedrock.NAME: Format(bedrock.RULES, bedrock.write, has_system=True),
    ai_sdk.NAME: Format(ai_sdk.RULES, ai_sdk.write, has_system=True),
}
"""By name."""

FORMAT_RULES: Final = 1
"""The version of the rules for rendering: others may render the same view in another way."""


class Rendering(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    A view in the form of a provider.

    Attributes:
        format: The name of the format.
        messages: The list.
        system: The instructions, where the provider wants them apart.
        stable_messages: How many messages at the front the next rendering will begin with, unless
            the window is rewritten.
        repairs: What was put right, so that the provider takes the list.
        losses: What could not be said.
        added_tokens: What the repairs add to the tokens of the view, at the most.
    """

    format: str
    messages: list[Any]
    system: Any = None
    stable_messages: int = 0
    repairs: Sequence[Repair] = ()
    losses: Sequence[Loss] = ()
    added_tokens: int = 0


def rendered(
    messages: Sequence[Mapping[str, Any]],
    format_: str,
    options: Options,
    origins: Sequence[str] = (),
) -> Rendering:
    """
    Render *messages* of a view.

    Args:
        messages: Decoded, each with its role and parts. One without a `seq` is taken for the
            message of the log at its place.
        format_: One of `FORMATS`.
        options: How.
        origins: How each message came, as `incoming.read` has returned it; all may be omitted.
    """
    written, report = _written(messages, format_, options, origins)
    return Rendering(
        format_,
        written.messages,
        written.system,
        written.stable,
        report.repairs,
        report.losses,
        sum(report.added_tokens.values()),
    )


def surcharges(
    messages: Sequence[Mapping[str, Any]],
    format_: str,
    options: Options,
    origins: Sequence[str] = (),
) -> list[int]:
    """
    Return what repairs may add to the tokens of each message of a window, at the most.

    A window whose messages cost that much more, and that is fitted to `RESERVED_TOKENS` less than a
    budget, is within the budget once it is rendered: no repair of what fitting keeps costs more.
    """
    _, report = _written(messages, format_, options, origins)
    return [report.added_tokens.get(at, 0) for at in range(len(messages))]


RESERVED_TOKENS: Final = REPAIRS[ADDED_FIRST][0] + REPAIRS[ADDED_LAST][0]
"""What repairs may add to the tokens of a list besides those of its messages."""


def _written(
    messages: Sequence[Mapping[str, Any]],
    format_: str,
    options: Options,
    origins: Sequence[str],
) -> tuple[WrittenList, Findings]:
    form = FORMATS[format_]
    said = _read(messages, origins)
    report = Findings([one.seq for one in said])
    split = _pinned(said) if form.has_system else 0
    rest = said[split:]
    pair(rest)
    arrangement = arranged(rest, report, options.open_calls)
    writer = BlockWriter(format_, form.rules.blocks, said, report, options)
    return form.write(writer, arrangement, said[:split]), report


def decoded(texts: Sequence[bytes]) -> list[dict[str, Any]]:
    """Decode messages of a view, given as JSON; numbers stay as they are written."""
    return _messages.decode(b"[" + b",".join(texts) + b"]")


def exactly(text: str) -> Any:
    """Decode JSON that stands in a string; numbers stay as they are written."""
    return _values.decode(text)


def _as_written(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


_messages: Final = msgspec.json.Decoder(list[dict[str, Any]], float_hook=_as_written)
_values: Final = msgspec.json.Decoder(float_hook=_as_written)


def _read(messages: Sequence[Mapping[str, Any]], origins: Sequence[str]) -> list[Said]:
    if not origins:
        return [reading.read(at, message) for at, message in enumerate(messages)]
    return [reading.read(at, message, origins[at]) for at, message in enumerate(messages)]


_NOTHING: Final = Counts(0, 0, (), ())
_READING: Final = Reading(b"")


def _pinned(said: Sequence[Said]) -> int:
    """Count the leading instructions and the pinned summary, which are nothing but texts."""
    leading = []
    for one in said:
        is_summary = one.seq is None
        if one.message["role"] not in INSTRUCTION_ROLES and not is_summary:
            break
        if not all(isinstance(item, (TextItem, PageOnlyItem)) for item in one.items):
            break
        entry = Entry(one.seq, 0, 0, one.message["role"], _NOTHING, b"", _READING, 0, 0)
        leading.append(entry)
    return pinned_run(leading)
