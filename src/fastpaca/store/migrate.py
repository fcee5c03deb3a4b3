"""
Migrations: numbered SQL files that take a database from one version of its schema to the next.

They only go forward, each in one transaction together with the version that it brings. They lie in
the folder `migrations` of an adapter as `0001_what_it_brings.sql`; what was released never changes.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final, NamedTuple

from fastpaca.store.base import StoreRefused

# Where a semicolon ends no statement: comments, strings, quoted names and dollar quotes.
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
    """The SQL that brings a database to *version* from the version before."""

    version: int
    sql: str

    @property
    def statements(self) -> list[str]:
        """
        The statements of `sql`, one by one.

        A distributed PostgreSQL sends what changes a table on to its workers, and refuses to do so
        with several statements in one message.
        """
        return statements(self.sql)


def statements(sql: str) -> list[str]:
    """
    Split *sql* at the semicolons that end statements; comments alone are no statement.

    Comments don't nest, and strings have no backslash escapes, which no migration needs.
    """
    found: list[str] = []
    text, is_empty = "", True
    for match in _PIECES.finditer(sql):
        piece = match[0]
        if piece == ";":
            found += [] if is_empty else [text.strip()]
            text, is_empty = "", True
            continue
        text += piece
        is_empty = is_empty and (piece.isspace() or piece.startswith(("--", "/*")))
    return found + ([] if is_empty else [text.strip()])


def migrations(package: str) -> list[Migration]:
    """List the migrations of an adapter, such as `fastpaca.store.sqlite`, in order."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return [Migration(int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files]


def pending(known: list[Migration], version: int) -> list[Migration]:
    """
    List those of the *known* migrations that a database at *version* still needs.

    Raises:
        StoreRefused: A newer release has migrated it; this one would misread it.
    """
    newest = known[-1].version
    if version > newest:
        raise StoreRefused(
            f"The data was written by a newer release of fastpaca (its schema has version"
            f" {version}, this release knows up to {newest}). Start that release, or restore a"
            " backup."
        )
    return [migration for migration in known if migration.version > version]
