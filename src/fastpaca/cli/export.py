"""
`fastpaca export`: write the contexts of a store to a file of JSON lines, or to standard output.

The file is `FILE.part` until it is complete and synced to disk, so a file named FILE is always a
complete export. `--resume` continues an export that was interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import closing
from pathlib import Path

from fastpaca import __version__
from fastpaca.cli.output import STANDARD_OUTPUT, readable_size, standard_output
from fastpaca.cli.progress import Progress
from fastpaca.cli.stores import opened, settings_of
from fastpaca.settings import Settings, SettingsError
from fastpaca.store.base import ReadFailed, Store, StoreRefused
from fastpaca.transfer.exporter import CannotTruncate, export_contexts
from fastpaca.transfer.file import PartialFile, StreamSink, UnusableFile
from fastpaca.transfer.format import FORMAT, HeaderLine
from fastpaca.transfer.history import HistoryBroken
from fastpaca.transfer.reader import ExportReader


def run(args: argparse.Namespace) -> int:
    """
    Write the export that *args* asks for, and return the exit code.

    Raises:
        SettingsError: A setting can't be used, or the flags don't go together.
    """
    settings = settings_of(args)
    if args.output == STANDARD_OUTPUT:
        args.output = None
    if args.resume and args.output is None:
        raise SettingsError("--resume continues a file; name it with --output.")
    progress = Progress(sys.stderr, "Exporting")
    try:
        asyncio.run(_export(settings, args, progress))
    except (StoreRefused, UnusableFile) as error:
        return _failed(progress, f"nothing was exported: {error}")
    except (HistoryBroken, ReadFailed) as error:
        return _failed(progress, f"the export is incomplete: {error}.")
    except CannotTruncate:
        return _failed(
            progress,
            "the export is incomplete: a context was purged while it was being written to"
            " standard output. Export again, or into a file.",
        )
    except OSError as error:
        return _failed(progress, f"the export is incomplete: {error.strerror}.")
    except KeyboardInterrupt:
        _failed(progress, "the export is incomplete: interrupted.")
        return 130
    progress.clear()
    return 0


def _failed(progress: Progress, sentence: str) -> int:
    progress.clear()
    print(f"fastpaca: {sentence}", file=sys.stderr)
    return 1


async def _export(settings: Settings, args: argparse.Namespace, progress: Progress) -> None:
    async with opened(settings, may_create=False) as store:
        header = HeaderLine(FORMAT, __version__, store.name, args.prefix)
        if args.output is None:
            with standard_output() as out:
                await export_contexts(store, header, ExportReader(), StreamSink(out), progress)
        else:
            await _write_file(store, header, args, progress)


async def _write_file(
    store: Store, header: HeaderLine, args: argparse.Namespace, progress: Progress
) -> None:
    target = Path(args.output)
    with closing(PartialFile(target, resume=args.resume)) as file:
        reader = file.resumed(header) if args.resume else ExportReader()
        if args.resume:
            print(f"Continuing after {_contexts(reader)}.", file=sys.stderr)
        await export_contexts(store, header, reader, file, progress)
        size_bytes = file.offset()
        file.complete()
    progress.clear()
    messages = f"{reader.tally.messages:,} messages"
    size = readable_size(size_bytes)
    print(f"Wrote {target}: {_contexts(reader)} with {messages}, {size}.")


def _contexts(reader: ExportReader) -> str:
    return f"{reader.tally.contexts:,} contexts"
