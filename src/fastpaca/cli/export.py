"""
`fastpaca export`: write the contexts of a store into a file of JSON lines, or to standard output.

The file is `FILE.part` until it is complete and on the disk, so that a file of that name is a whole
export. One that was interrupted is gone on with by `--resume`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import closing
from pathlib import Path

from fastpaca import __version__
from fastpaca.cli.backup import readable
from fastpaca.cli.output import STANDARD_OUTPUT, written_out
from fastpaca.cli.progress import Progress
from fastpaca.cli.stores import opened, settings_of
from fastpaca.settings import Settings, SettingsError
from fastpaca.store.base import ReadFailed, Store, StoreRefused
from fastpaca.transfer import outgoing
from fastpaca.transfer.file import PartialFile, StreamSink, UnusableFile
from fastpaca.transfer.format import FORMAT, Header
from fastpaca.transfer.history import HistoryBroken
from fastpaca.transfer.outgoing import CannotTakeBack
from fastpaca.transfer.reading import Reading


def run(args: argparse.Namespace) -> int:
    """
    Write the export that *args* asks for, and answer the exit code.

    Raises:
        SettingsError: A setting cannot be used, or the flags do not go together.
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
    except CannotTakeBack:
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
    async with opened(settings, may_make=False) as store:
        header = Header(FORMAT, __version__, store.name, args.prefix)
        if args.output is None:
            reading = Reading()
            with written_out() as out:
                await outgoing.write(store, header, reading, StreamSink(out), progress)
        else:
            await _write_file(store, header, args, progress)


async def _write_file(
    store: Store, header: Header, args: argparse.Namespace, progress: Progress
) -> None:
    target = Path(args.output)
    with closing(PartialFile(target, resume=args.resume)) as file:
        reading = file.resumed(header) if args.resume else Reading()
        if args.resume:
            print(f"Continuing after {_contexts(reading)}.", file=sys.stderr)
        await outgoing.write(store, header, reading, file, progress)
        size = file.mark()
        file.complete()
    progress.clear()
    messages = f"{reading.tally.messages:,} messages"
    print(f"Wrote {target}: {_contexts(reading)} with {messages}, {readable(size)}.")


def _contexts(reading: Reading) -> str:
    return f"{reading.tally.contexts:,} contexts"
