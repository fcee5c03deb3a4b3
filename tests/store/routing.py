"""
Whether a statement of SQL says by a parameter which servers it goes to: the lint for the store.

It reads as much of SQL as the statements of the store are made of, and refuses what it does not
know, so that nothing passes because it was not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Final, NamedTuple

KEYS: Final = {
    "contexts": "context_id",
    "messages": "context_id",
    "synthetics": "context_id",
    "compactions": "context_id",
    "answers": "key_hash",
}
"""The column that each table is distributed by."""

_TOKEN: Final = re.compile(
    r"""\s+ | --[^\n]* | (?P<token>
    '(?:[^']|'')*' | "(?:[^"]|"")*" | \$\d+ | \w+ | :: | <> | <= | >= | \|\| | [-+*/=<>(),.\[\]]
    )""",
    re.VERBOSE,
)

_ENDS: Final = {
    "ON",
    "WHERE",
    "ORDER",
    "LIMIT",
    "RETURNING",
    "SET",
    "FROM",
    "GROUP",
    "HAVING",
    "JOIN",
    "LEFT",
    "LATERAL",
    "CROSS",
    "INNER",
}

_UNKNOWN: Final = {
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "WITH",
    "USING",
    "RIGHT",
    "FULL",
    "NATURAL",
    "ONLY",
}

Tokens = list["str | Tokens"]
"""Words in capitals if they are no strings; what stands in parentheses is a list of its own."""


class NotUnderstood(Exception):
    """The statement has a form that this can't judge."""


class _Table(NamedTuple):
    name: str
    alias: str
    on: Tokens | None  # the condition of the join that brings it in


def unrouted(sql: str) -> list[str]:
    """
    List the tables in *sql* whose key no parameter binds in a condition of the table's own.

    Raises:
        NotUnderstood: It has a form that this can't judge.
    """
    return [table for level in _levels(_parsed(sql)) for table in _unrouted(level)]


def _parsed(sql: str) -> Tokens:
    stack: list[Tokens] = [[]]
    place = 0
    while place < len(sql):
        match = _TOKEN.match(sql, place)
        if match is None:
            raise NotUnderstood(sql[place : place + 20])
        place = match.end()
        token = match["token"]
        if token is None:
            continue
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1:
                raise NotUnderstood("a parenthesis")
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(token if token[0] in "'\"" else token.upper())
    if len(stack) != 1:
        raise NotUnderstood("a parenthesis")
    return stack[0]


def _levels(tokens: Tokens) -> Iterator[Tokens]:
    yield tokens
    for token in tokens:
        if isinstance(token, list):
            yield from _levels(token)


def _unrouted(level: Tokens) -> list[str]:
    words = [token for token in level if isinstance(token, str)]
    if "FASTPACA" not in words:
        return []
    if unknown := _UNKNOWN.intersection(words):
        raise NotUnderstood(", ".join(sorted(unknown)))
    if words[0] == "INSERT":
        return _unrouted_rows(level)
    tables = _tables(level)
    if len(tables) != words.count("FASTPACA"):
        raise NotUnderstood("a table that stands in no FROM, JOIN or UPDATE")
    wheres = list(_clauses(level, "WHERE"))
    if len(wheres) > 1:
        raise NotUnderstood("two statements")
    where = wheres[0] if wheres else []
    return [
        table.name
        for table in tables
        if not any(
            _binds(condition, table, is_alone=len(tables) == 1)
            for condition in (where, table.on or [])
        )
    ]


def _tables(level: Tokens) -> list[_Table]:
    tables = []
    for place, token in enumerate(level):
        if token != "FASTPACA":
            continue
        before, after = level[place - 1], level[place + 1 : place + 5]
        if before not in ("FROM", "JOIN", "UPDATE") or len(after) < 2 or after[0] != ".":
            raise NotUnderstood(f"a table after {before}")
        name = str(after[1]).lower()
        if name not in KEYS:
            raise NotUnderstood(f"the table {name}")
        rest = level[place + 3 :]
        if rest[:1] == [","]:
            raise NotUnderstood("tables with commas between them")
        alias = str(rest[1]) if rest[:1] == ["AS"] else ""
        on = next(_clauses(rest, "ON"), None) if before == "JOIN" else None
        tables.append(_Table(name, alias, on))
    return tables


def _clauses(level: Tokens, word: str) -> Iterator[Tokens]:
    """Find what stands after each *word*, up to the next clause."""
    for place, token in enumerate(level):
        if token == word:
            end = place + 1
            while end < len(level) and not _is_word(level[end], _ENDS):
                end += 1
            yield level[place + 1 : end]


def _is_word(token: str | Tokens, words: Set[str]) -> bool:
    return isinstance(token, str) and token in words


def _binds(condition: Tokens, table: _Table, *, is_alone: bool) -> bool:
    """Tell whether *condition* says by a parameter which rows of *table* it is about."""
    if "OR" in condition:
        return False
    key = KEYS[table.name].upper()
    names: list[Tokens] = [[table.alias, ".", key]] if table.alias else []
    if is_alone and not table.alias:
        names.append([key])
    return any(_is_bound(part, name) for part in _split(condition, "AND") for name in names)


def _is_bound(part: Tokens, name: Tokens) -> bool:
    if part[: len(name) + 1] != [*name, "="]:
        return False
    match part[len(name) + 1 :]:
        case [str(value)]:
            return value.startswith("$")
        case ["ANY", [str(value), *cast]]:
            return value.startswith("$") and cast in ([], ["::", "BYTEA", "[", "]"])
    return False


def _unrouted_rows(level: Tokens) -> list[str]:
    """Judge an INSERT: each of its rows has a parameter of its own for the key."""
    match level:
        case ["INSERT", "INTO", "FASTPACA", ".", str(name), [*columns], "VALUES", *rest]:
            place = [*_split(columns, ",")].index([KEYS[name.lower()].upper()])
        case _:
            raise NotUnderstood("an INSERT that is none of rows")
    rows: list[Tokens] = []
    while rest and isinstance(rest[0], list):
        rows.append(rest[0])
        rest = rest[2:] if rest[1:2] == [","] else rest[1:]
    if not rows or (rest and rest[0] not in ("ON", "RETURNING")):
        raise NotUnderstood("an INSERT that is none of rows")
    keys = [[*_split(row, ",")][place] for row in rows]
    is_routed = all(len(key) == 1 and str(key[0]).startswith("$") for key in keys)
    return [] if is_routed else [name.lower()]


def _split(tokens: Tokens, at: str) -> Iterator[Tokens]:
    part: Tokens = []
    for token in tokens:
        if token == at:
            yield part
            part = []
        else:
            part.append(token)
    yield part
