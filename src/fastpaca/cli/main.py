"""
The command line: `fastpaca serve`, `health`, `backup`, `migrate`, `export` and `import`.

The flags of `serve` are made from the table of settings, so that a setting has its flag, its
variable and its help in one place. A subcommand is imported when it is asked for: `backup` and
`health` work without the packages of the server, and `--help` does not wait for them.

The exit code is 0 when all went well, 1 when something failed, and 2 when what was asked for, or a
setting, cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastpaca import __version__
from fastpaca.settings import SETTINGS, Setting, SettingsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv*, by default that of the process, and answer its exit code."""
    args = _parser().parse_args(argv)
    try:
        exit_code: int = args.run(args)
    except SettingsError as error:
        print(f"fastpaca: {error}", file=sys.stderr)
        return 2
    return exit_code


def _serve(args: argparse.Namespace) -> int:
    try:
        from fastpaca.cli import serve
    except ModuleNotFoundError as error:
        return _told_what_is_missing(error)
    return serve.run(args)


def _health(args: argparse.Namespace) -> int:
    from fastpaca.cli import health

    return health.run(args)


def _backup(args: argparse.Namespace) -> int:
    from fastpaca.cli import backup

    return backup.run(args)


def _migrate(args: argparse.Namespace) -> int:
    try:
        from fastpaca.cli import migrate
    except ModuleNotFoundError as error:
        return _told_what_is_missing(error)
    return migrate.run(args)


def _export(args: argparse.Namespace) -> int:
    try:
        from fastpaca.cli import export
    except ModuleNotFoundError as error:
        return _told_what_is_missing(error)
    return export.run(args)


def _import(args: argparse.Namespace) -> int:
    try:
        from fastpaca.cli import import_
    except ModuleNotFoundError as error:
        return _told_what_is_missing(error)
    return import_.run(args)


def _told_what_is_missing(error: ModuleNotFoundError) -> int:
    if error.name is None or error.name.partition(".")[0] == "fastpaca":
        raise error
    print(
        f"fastpaca: the server needs packages that are not installed ({error.name} is missing);"
        " install them with: pip install 'fastpaca[server]'",
        file=sys.stderr,
    )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastpaca",
        description="Keeps the conversations of language-model applications.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastpaca {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_health(commands)
    _add_backup(commands)
    _add_migrate(commands)
    _add_export(commands)
    _add_import(commands)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="start a node",
        description="Start a node. A flag wins over the environment variable that its help names.",
        allow_abbrev=False,
    )
    for setting in SETTINGS:
        _add_flag(parser, setting)
    parser.set_defaults(run=_serve)


def _add_flag(parser: argparse.ArgumentParser, setting: Setting) -> None:
    default = f", default {setting.default}" if setting.default else ""
    # A switch may stand alone: --metrics-public is --metrics-public=true.
    may_stand_alone = setting.default in {"true", "false"}
    parser.add_argument(
        setting.flag,
        dest=setting.name,
        metavar=setting.metavar,
        nargs="?" if may_stand_alone else None,
        const="true" if may_stand_alone else None,
        help=f"{setting.help} ({setting.variable}{default})",
    )


def _add_health(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "health",
        help="ask whether the node of this machine is ready",
        description="Ask whether the node of this machine is ready, at the address that it reads"
        " from the environment, too. The exit code is 0 if it is, and 1 if not.",
        allow_abbrev=False,
    )
    for setting in SETTINGS:
        if setting.name in ("host", "port"):
            _add_flag(parser, setting)
    parser.set_defaults(run=_health)


def _add_backup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "backup",
        help="copy the data of a running node into a file",
        description="Copy the data of a running node, consistently and without stopping it, into"
        " a file that only its owner can read.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the file to write, which must not exist; - is standard output",
    )
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:4000",
        help="the address of the node, or unix: and the path of its socket (default: %(default)s)",
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="the key of the node (FASTPACA_API_KEY or FASTPACA_API_KEY_FILE, which other users of"
        " the machine cannot see)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace FILE if it exists and is a regular file, once the copy is complete",
    )
    parser.set_defaults(run=_backup)


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "migrate",
        help="bring the schema in PostgreSQL up to date",
        description="Bring the schema of a PostgreSQL database up to date. A node does that when it"
        " starts, unless MIGRATE_ON_BOOT is false.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--store",
        metavar="STORE",
        help="the address of the database (FASTPACA_STORE, which other users of the machine cannot"
        " see)",
    )
    parser.add_argument(
        "--distribute",
        action="store_true",
        help="also spread the tables over the workers of Citus; no node may run meanwhile",
    )
    parser.set_defaults(run=_migrate)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="write the contexts of a store into a file of JSON lines",
        description="Write the contexts of a store, with their whole history, as JSON lines. The"
        " data directory of a running node is refused; a PostgreSQL database may be in use.",
        allow_abbrev=False,
    )
    _add_store_flags(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the file to write; by default, and if it is -, standard output",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an export into FILE that was interrupted"
    )
    parser.add_argument(
        "--prefix", default="", metavar="TEXT", help="only contexts whose ids begin with it"
    )
    parser.set_defaults(run=_export)


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "import",
        help="write the contexts of an export into a store",
        description="Write the contexts of an export into a store. What is there already is"
        " compared and left alone, so an import that was interrupted is started again. The data"
        " directory of a running node is refused; a PostgreSQL database may be in use.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="a file that `fastpaca export` has written")
    _add_store_flags(parser)
    parser.add_argument(
        "--verify", action="store_true", help="then read everything back and compare it with FILE"
    )
    parser.add_argument(
        "--verify-only", action="store_true", help="compare with FILE, and write nothing"
    )
    parser.set_defaults(run=_import)


def _add_store_flags(parser: argparse.ArgumentParser) -> None:
    """Let a command be told its store as `serve` is; all else is read from the environment."""
    for setting in SETTINGS:
        if setting.name in ("store", "data_dir"):
            _add_flag(parser, setting)
