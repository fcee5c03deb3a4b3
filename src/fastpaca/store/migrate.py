"""
Migrations: numbered SQL files that take a database from one version of its schema to the next.

They only go forward, each in one transaction together with the version that it brings. They lie in
`sql/<database>/` as `0001_what_it_brings.sql`; what was released is never changed.
"""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

from fastpaca.store.base import StoreRefused


class Migration(NamedTuple):
    """The SQL that brings a database to *version* from the version before."""

    version: int
    sql: str


def migrations(database: str) -> list[Migration]:
    """List the migrations for *database* (the name of a folder in `sql/`), in order."""
    folder = resources.files("fastpaca.store").joinpath("sql", database)
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
