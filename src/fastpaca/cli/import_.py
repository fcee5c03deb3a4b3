"""
`fastpaca import FILE`: write the contexts of an export to a store, and verify them.

The file is read twice: all of it is checked before anything is written, so a file that was changed
or cut off leaves no trace.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from fastpaca.cli.progress import Progress
from fastpaca.cli.stores import opened, settings_of
from fastpaca.settings import Settings, SettingsError
from fastpaca.store.base import (
    CommitFailed,
    CommitUnknown,
    ReadFailed,
    Store,
    StoreRefused,
    new_commit_id,
)
from fastpaca.transfer.file import BadFile, ExportFile
from fastpaca.transfer.format import ContextEndLine
from fastpaca.transfer.history import HistoryBroken
from fastpaca.transfer.importer import Importer, ImportRefused
from fastpaca.transfer.verify import Verification

DIFFERENCES_SHOWN: Final = 20


def run(args: argparse.Namespace) -> int:
    """
    Import or verify as *args* says, and return the exit code.

    Raises:
        SettingsError: A setting can't be used, or the flags don't go together.
    """
    settings = settings_of(args)
    if args.verify and args.verify_only:
        raise SettingsError("--verify imports first and --verify-only does not; choose one.")
    if args.file == "-":
        raise SettingsError(
            "An import reads its file twice, so it cannot read from -; name a file."
        )
    try:
        with closing(ExportFile(Path(args.file))) as file:
            _check(file)
            return asyncio.run(_import(settings, file, args))
    except (BadFile, StoreRefused) as error:
        sentence = str(error)
    except (HistoryBroken, ImportRefused) as error:
        sentence = f"the import stopped: {error}."
    except (CommitFailed, CommitUnknown, ReadFailed) as error:
        sentence = f"the import stopped: {error}. Run the same command again to continue."
    except KeyboardInterrupt:
        print("\nfastpaca: interrupted. Run the same command again to continue.", file=sys.stderr)
        return 130
    print(f"fastpaca: {sentence}", file=sys.stderr)
    return 1


def _check(file: ExportFile) -> None:
    """
    Read the whole file before anything is written.

    Raises:
        BadFile: It is not a complete export.
    """
    progress = Progress(sys.stderr, "Checking", file.size_bytes)
    try:
        for line, begin, end in file.lines():
            progress(isinstance(line, ContextEndLine), 0, end - begin)
    finally:
        progress.clear()


async def _import(settings: Settings, file: ExportFile, args: argparse.Namespace) -> int:
    async with opened(settings, may_create=not args.verify_only) as store:
        if not args.verify_only:
            await _write(store, file)
        if args.verify or args.verify_only:
            return await _verify(store, file)
    return 0


async def _write(store: Store, file: ExportFile) -> None:
    progress = Progress(sys.stderr, "Importing", file.size_bytes)
    importer = Importer(store, new_commit_id, progress)
    try:
        await importer.run(file.lines())
    finally:
        progress.clear()
    written, present = importer.imported
    print(f"Imported {written:,} contexts; {present:,} already existed.")


async def _verify(store: Store, file: ExportFile) -> int:
    progress = Progress(sys.stderr, "Verifying", file.size_bytes)
    verification = Verification(store, file, progress)
    try:
        await verification.run(file.lines())
    finally:
        progress.clear()
    differences = verification.differences
    for difference in differences[:DIFFERENCES_SHOWN]:
        print(f"fastpaca: {difference}.", file=sys.stderr)
    if differences:
        print(f"fastpaca: {len(differences):,} contexts differ from {file.path}.", file=sys.stderr)
        return 1
    print(f"Verified: {progress.contexts:,} contexts match {file.path}, byte for byte.")
    return 0
