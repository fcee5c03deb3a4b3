"""
The command line: `fastpaca serve`, `health`, `backup`, `migrate`, `export` and `import`.

The flags of `serve` come from the table of settings, so the flag, the variable and the help of a
setting are in one place. Subcommands are imported on demand: `backup` and `health` work without the
server's packages, and `--help` doesn't wait for them.

The exit code is 0 on success, 1 on failure, and 2 if the arguments or a setting can't be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Final

from fastpaca import __version__
from fastpaca.settings import SETTINGS, Setting, SettingsError

_HEALTH: Final = {
    "host": "the address of the node, or unix: and the path of its socket",
    "port": "the port of the node",
}
"""What the settings of an address mean to `health`."""

_STORE: Final = {
    "data_dir": "the data directory of a node on SQLite",
    "store": "sqlite for the data directory, or the address of a PostgreSQL database, which other"
    " users of the machine can see, so prefer FASTPACA_STORE",
}
"""What the settings of a store mean to `export` and `import`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv*, by default that of the process, and return its exit code."""
    parser = _parser()
    args, unknown = parser.parse_known_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    if unknown:
        parser.error(_unknown(args.command, unknown[0]))
    try:
        exit_code: int = args.run(args)
    except SettingsError as error:
        print(f"fastpaca: {error}", file=sys.stderr)
        return 2
    return exit_code


def _unknown(command: str, argument: str) -> str:
    """Say that *command* has no such argument, and name the one that may have been meant."""
    flags = [setting.flag for setting in SETTINGS] if command == "serve" else []
    closest = get_close_matches(argument.partition("=")[0], flags, 1)
    hint = f"; did you mean {closest[0]}?" if closest else "."
    return (
        f"{command} has no argument {argument}{hint}"
        f" `fastpaca {command} --help` lists all arguments."
    )


def _run(name: str) -> Callable[[argparse.Namespace], int]:
    """Return what runs the command in the module *name*, which is imported when it runs."""

    def run(args: argparse.Namespace) -> int:
        try:
            command = import_module(f"fastpaca.cli.{name}")
        except ModuleNotFoundError as error:
            return _missing_package(error)
        exit_code: int = command.run(args)
        return exit_code

    return run


def _missing_package(error: ModuleNotFoundError) -> int:
    if error.name is None or error.name.partition(".")[0] == "fastpaca":
        raise error
    print(
        f"fastpaca: this command needs packages that are not installed ({error.name} is missing);"
        " install them with: pip install 'fastpaca[server]'",
        file=sys.stderr,
    )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastpaca",
        description="Stores the conversations of LLM applications.",
        epilog="`fastpaca serve` starts a node on 127.0.0.1:4000 that keeps its data in"
        " ./fastpaca-data. `fastpaca COMMAND --help` describes a command.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"fastpaca {__version__}",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
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
        description="Start a node. Each flag overrides the environment variable named in its help."
        " Other users of the machine can see flags, so pass secrets in variables or files.",
        allow_abbrev=False,
    )
    for setting in SETTINGS:
        _add_flag(parser, setting)
    parser.set_defaults(run=_run("serve"))


def _add_flag(parser: argparse.ArgumentParser, setting: Setting, meaning: str = "") -> None:
    """Add the flag of *setting*; *meaning* is what it means to a command other than `serve`."""
    default = f", default {setting.default}" if setting.default else ""
    # A switch needs no value: --metrics-public is --metrics-public=true.
    is_switch = setting.default in {"true", "false"}
    parser.add_argument(
        setting.flag,
        dest=setting.name,
        metavar=setting.metavar,
        nargs="?" if is_switch else None,
        const="true" if is_switch else None,
        help=f"{meaning or setting.help} ({setting.variable}{default})",
    )


def _add_health(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "health",
        help="check whether the node on this machine is ready",
        description="Check whether the node on this machine is ready, at the address that the node"
        " also reads from the environment. The exit code is 0 if it is ready, and 1 if not.",
        allow_abbrev=False,
    )
    for setting in SETTINGS:
        if meaning := _HEALTH.get(setting.name):
            _add_flag(parser, setting, meaning)
    parser.set_defaults(run=_run("health"))


def _add_backup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "backup",
        help="copy the data of a running node into a file",
        description="Make a consistent copy of a running node's data, without stopping it, in a"
        " file that only its owner can read.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the file to create; - for standard output",
    )
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:4000",
        help="the address of the node, or unix: and the path of its socket (default: %(default)s)",
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="the key of the node; other users of the machine can see it, so prefer"
        " FASTPACA_API_KEY or FASTPACA_API_KEY_FILE",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace FILE if it exists and is a regular file, once the copy is complete",
    )
    parser.set_defaults(run=_run("backup"))


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "migrate",
        help="migrate the schema in PostgreSQL",
        description="Migrate the schema of a PostgreSQL database. A node does this when it starts,"
        " unless MIGRATE_ON_BOOT is false.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--store",
        metavar="STORE",
        help="the address of the database; other users of the machine can see it, so prefer"
        " FASTPACA_STORE",
    )
    parser.add_argument(
        "--distribute",
        action="store_true",
        help="also distribute the tables over the workers of Citus; stop all nodes first",
    )
    parser.set_defaults(run=_run("migrate"))


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="write the contexts of a store into a file of JSON lines",
        description="Write the contexts of a store, with their complete history, as JSON lines."
        " Stop the node before you export its data directory; a PostgreSQL database may be in"
        " use.",
        allow_abbrev=False,
    )
    _add_store_flags(parser)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the file to write; standard output by default or with -",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue an interrupted export into FILE"
    )
    parser.add_argument(
        "--prefix", default="", metavar="TEXT", help="export only contexts whose ids start with it"
    )
    parser.set_defaults(run=_run("export"))


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "import",
        help="load an export into a store",
        description="Load the contexts of an export into a store. Contexts that already exist are"
        " compared and left alone, so you can run an interrupted import again. Stop the"
        " node before you import into its data directory; a PostgreSQL database may be in"
        " use.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="a file written by `fastpaca export`")
    _add_store_flags(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="after the import, read everything back and compare it with FILE",
    )
    parser.add_argument(
        "--verify-only", action="store_true", help="only compare with FILE, and write nothing"
    )
    parser.set_defaults(run=_run("import_"))


def _add_store_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `serve` that name the store; the environment has all other settings."""
    for setting in SETTINGS:
        if meaning := _STORE.get(setting.name):
            _add_flag(parser, setting, meaning)
