"""
A provider's own messages, as they are appended: what they say becomes parts.

Works on JSON text, so that every value is kept to the letter. What a message says under `content`
becomes its `parts`; nothing else of it moves. How it came is the *origin* of a message, such as
`anthropic/string`: the format, if one was named, and the form of its content, so that it goes out
the same.

Each format says in a table which roles it has and what its blocks must hold; what is wrong is named
by its path in the provider's own message. A block that no table knows is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

import msgspec

from fastpaca.context import jsontext
from fastpaca.errors import InvalidRequest
from fastpaca.formats.blocks import KINDS, Block, Fields

STRING, LIST, NULL, ABSENT = "string", "list", "null", ""

_FORMS: Final = {b'"': STRING, b"[": LIST, b"n": NULL}


class Incoming(NamedTuple):
    """A message with `parts`, as JSON text, and the origin: how it came."""

    text: bytes
    origin: str


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a format takes.

    Attributes:
        name: The name of the format.
        roles: The roles that its messages have.
        key: The key of the content: `content`, or `parts`.
        forms: The forms that the content may have.
        keys: Of the other keys of a message, what they must be.
        blocks: Its blocks, by type.
        type_of: Names a block that has no type; None if each has one.
    """

    name: str
    roles: Collection[str]
    key: str = "content"
    forms: Collection[str] = (STRING, LIST)
    keys: Fields = {}
    blocks: Mapping[str, Block] = {}
    type_of: Callable[[jsontext.Members], str] | None = None


def read_content(text: bytes, field: str) -> Incoming:
    """
    Let a message that has `content` and no `parts` have parts; any other stays as it is.

    Raises:
        InvalidRequest: The content is no string, no list of blocks with a type, and not null.
    """
    if b'"content"' not in text:
        return Incoming(text, "")
    members = jsontext.members(text, ("content", "parts"), field)
    if "parts" in members or "content" not in members:
        return Incoming(text, "")
    parts, form = _parts(members["content"], _ANY, f"{field}.content")
    return Incoming(_with_parts(members, "content", parts), f"/{form}")


def read_message(text: bytes, rules: Rules, field: str) -> Incoming:
    """
    Read a message of a provider.

    Raises:
        InvalidRequest: It is none; the error names the field and what would be right.
    """
    members = jsontext.members(text, ("role", "content", "parts"), field)
    role = required(members, "role", '"', field)
    if jsontext.string(role, field) not in rules.roles:
        known = ", ".join(sorted(rules.roles))
        raise InvalidRequest(f"The roles of {rules.name} are {known}.", f"{field}.role")
    check(members, rules.keys, field)
    if rules.key != "parts" and "parts" in members:
        message = f"Messages of {rules.name} have 'content', not 'parts'."
        raise InvalidRequest(message, f"{field}.parts")
    content = members.get(rules.key)
    if content is None:
        if ABSENT not in rules.forms:
            raise InvalidRequest(f"A message needs {rules.key!r}.", f"{field}.{rules.key}")
        parts, form = b"[]", ABSENT
    else:
        parts, form = _parts(content, rules, f"{field}.{rules.key}")
    return Incoming(_with_parts(members, rules.key, parts), f"{rules.name}/{form}")


def _parts(content: bytes, rules: Rules, field: str) -> tuple[bytes, str]:
    """Return the *content* of a message as parts, and its form."""
    form = _FORMS.get(content[:1])
    if form is None or form not in rules.forms:
        wanted = " or ".join(_WORDS[one] for one in rules.forms if one != ABSENT)
        raise InvalidRequest(f"Must be {wanted}, not {jsontext.kind_of(content)}.", field)
    if form == STRING:
        return b'[{"type":"text","text":' + content + b"}]", form
    if form == NULL:
        return b"[]", form
    blocks = [
        _block(block, rules, f"{field}[{index}]")
        for index, block in enumerate(jsontext.items(content, field))
    ]
    return b"[" + b",".join(blocks) + b"]", form


def _block(block: bytes, rules: Rules, field: str) -> bytes:
    """Check a block, and let it have a type."""
    members = jsontext.members(block, ("type",), field)
    if rules.type_of is not None:
        if members.keys() <= {"type", ""}:  # which is no key of the provider's
            raise InvalidRequest("The block is empty.", field)
        if "type" not in members:
            kind = rules.type_of(members)
            check_block(members, kind, rules, field)
            return b'{"type":' + msgspec.json.encode(kind) + b"," + block[1:]
    kind = jsontext.string(required(members, "type", '"', field), f"{field}.type")
    if not kind and rules.name:
        raise InvalidRequest("Must not be empty.", f"{field}.type")
    check_block(members, kind, rules, field)
    return block


def check_block(members: jsontext.Members, kind: str, rules: Rules, field: str) -> None:
    """Check that a block of that *kind* holds what it must; an unknown one may hold anything."""
    block = rules.blocks.get(kind)
    if block is not None:
        check(members, block.fields, field)


def check(members: jsontext.Members, fields: Fields, field: str) -> None:
    """
    Check that an object holds what *fields* ask for.

    A dot in a key leads into an object; `key[]` asks for each item of a list.
    """
    for key, kinds in fields.items():
        outer, _, inner = key.partition(".")
        if outer.endswith("[]"):
            name = outer[:-2]
            value = members.get(name)
            if value is None or value == b"null":
                continue
            for index, item in enumerate(jsontext.items(value, f"{field}.{name}")):
                path = f"{field}.{name}[{index}]"
                check(jsontext.members(item, (), path), {inner: kinds}, path)
        elif inner:
            value = members.get(outer)
            if value is not None and value[:1] == b"{":
                check(
                    jsontext.members(value, (), f"{field}.{outer}"),
                    {inner: kinds},
                    f"{field}.{outer}",
                )
        else:
            required(members, key, kinds, field)


def required(members: jsontext.Members, key: str, kinds: str, field: str) -> bytes:
    """
    Return what an object holds under *key*.

    Raises:
        InvalidRequest: It is missing, or of another kind.
    """
    value = members.get(key)
    if value is None:
        if "?" in kinds:
            return b"null"
        wanted = " or ".join(KINDS[kind] for kind in kinds)
        raise InvalidRequest(f"Needs {key!r}: {wanted}.", f"{field}.{key}")
    if value[:1].decode() in kinds or ("?" in kinds and value == b"null"):
        return value
    if "t" in kinds and value == b"false":
        return value
    wanted = " or ".join(KINDS[kind] for kind in kinds if kind != "?")
    raise InvalidRequest(f"Must be {wanted}, not {jsontext.kind_of(value)}.", f"{field}.{key}")


def _with_parts(members: jsontext.Members, key: str, parts: bytes) -> bytes:
    """Write a message again with *parts* where its content stood, or at its end."""
    if key not in members:
        return jsontext.joined({**members, "parts": parts})
    return jsontext.joined(
        {
            ("parts" if name == key else name): (parts if name == key else value)
            for name, value in members.items()
        }
    )


_WORDS: Final = {STRING: "a string", LIST: "a list", NULL: "null"}
_ANY: Final = Rules(name="", roles=(), forms=(STRING, LIST, NULL))
