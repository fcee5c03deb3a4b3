"""
The table of statements in `docs/distribution.md`, made of the statements themselves.

`python -m tests.docs.statements` writes it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastpaca.store.postgres import statements
from fastpaca.store.postgres.statements import Rows, Statement

PAGE: Final = Path(__file__).parents[2] / "docs/distribution.md"

ALL: Final = [one for one in vars(statements).values() if isinstance(one, Rows | Statement)]
"""All statements, in the order of their module."""

BEGIN: Final = "<!-- statements: written by python -m tests.docs.statements -->\n"
END: Final = "<!-- end of statements -->\n"


def table() -> str:
    """Write a row for each statement, those that go everywhere last, each with its reason."""
    rows = [
        (statement.name, statement.purpose, statement.often, statement.everywhere)
        for statement in sorted(ALL, key=lambda statement: bool(statement.everywhere))
    ]
    lines = ["| statement | what for | how often | goes to |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {purpose} | {often} | {f'all: {reason}' if reason else 'its keys'} |"
        for name, purpose, often, reason in rows
    ]
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Put the table where *page* has it."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
