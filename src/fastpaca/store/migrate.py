"""
Migrations: numbered SQL files that take a database from one version of its schema to the next.

They only go forward, each in one transaction that also records the new version. They are in the
folder `migrations` of an adapter, named `0001_what_it_adds.sql`; released files never change.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final, NamedTuple

from fastpaca.store.base import StoreRefused

# Comments, strings, quoted names and dollar quotes, in which a semicolon doesn't end a statement.
_PIECES: Final = re.compile(
    r"""
    --[^\n]*
    | /\*.*?\*/
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    | ;
    | [^-/'"$;]+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


class Migration(NamedTuple):
    """The SQL that takes a database to *version* from the previous one."""

    version: int
    sql: str

    @property
    def statements(self) -> list[str]:
        """
        The statements of `sql`, one by one.

        A distributed PostgreSQL forwards changes of a table to its workers, and refuses to do so
        for several statements in one message.
        """
        return statements(self.sql)


def statements(sql: str) -> list[str]:
    """
    Split *sql* at the semicolons that end statements; comments alone are not a statement.

    Nested comments and backslash escapes in strings are not supported; no migration needs them.
    """
    split: list[str] = []
    text, is_empty = "", True
    for match in _PIECES.finditer(sql):
        piece = match[0]
        if piece == ";":
            split += [] if is_empty else [text.strip()]
            text, is_empty = "", True
            continue
        text += piece
        is_empty = is_empty and (piece.isspace() or piece.startswith(("--", "/*")))
    return split + ([] if is_empty else [text.strip()])


def migrations(package: str) -> list[Migration]:
    """Return the migrations of an adapter, such as `fastpaca.store.sqlite`, in order."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return [Migration(int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files]


def pending(known: list[Migration], version: int) -> list[Migration]:
    """
    Return the *known* migrations that a database at *version* still needs.

    Raises:
        StoreRefused: A newer release has migrated it, and this one would misread it.
    """
    newest = known[-1].version
    if version > newest:
        raise StoreRefused(
            f"The data was written by a newer release of fastpaca (its schema has version"
            f" {version}, this release knows up to {newest}). Start that release, or restore a"
            " backup."
        )
    return [migration for migration in known if migration.version > version]
