"""
`fastpaca backup FILE`: fetch a consistent copy of a running node's data.

The node makes the copy and sends it as an SQLite file. It is written to `FILE.part`, checked,
brought to the disk, and only then given its name, so that a file of that name is a whole backup.
Whatever fails leaves no file and is told in one sentence.

`-` is standard output. What was written there before a failure cannot be taken back, so the exit
code tells whether it is a whole backup.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import SplitResult, urlsplit

from fastpaca.cli.output import STANDARD_OUTPUT, written_out
from fastpaca.settings import load_api_key, parse_api_keys
from fastpaca.transfer.target import other_kind

SQLITE_MAGIC: Final = b"SQLite format 3\0"
CHUNK_BYTES: Final = 1024 * 1024
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
CONNECT_TIMEOUT_SECONDS: Final = 10
# The node copies its database before the first byte comes, which takes a while when it is large.
READ_TIMEOUT_SECONDS: Final = 600


class BackupFailed(Exception):
    """There is no backup. The message is the sentence for the operator."""


def run(args: argparse.Namespace) -> int:
    """
    Write the backup that *args* asks for, and answer the exit code.

    Raises:
        SettingsError: The API key cannot be used.
    """
    key = parse_api_keys(args.api_key, "--api-key")[0] if args.api_key else load_api_key()
    try:
        with _sigterm_as_exit():
            url = _base_url(args.url)
            if args.file == STANDARD_OUTPUT:
                size_bytes = _pass_on(url, key)
            else:
                size_bytes = _back_up(Path(args.file), url, key, force=args.force)
    except BackupFailed as error:
        print(f"fastpaca: no backup was made: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fastpaca: no backup was made: interrupted.", file=sys.stderr)
        return 130
    if args.file != STANDARD_OUTPUT:
        print(f"Wrote {args.file} ({readable(size_bytes)}).")
    return 0


def _pass_on(url: SplitResult, key: str | None) -> int:
    """Write the backup to standard output, and give its size."""
    if sys.stdout is not None and sys.stdout.isatty():
        raise BackupFailed("standard output is a terminal; redirect it, or name a file.")
    try:
        with _answer(url, key) as response, written_out() as out:
            return _receive(response, out)
    except OSError as error:
        raise BackupFailed(f"cannot write to standard output: {error.strerror}.") from None


def _back_up(target: Path, url: SplitResult, key: str | None, *, force: bool) -> int:
    _check_target(target, force=force)
    part = target.with_name(target.name + ".part")
    with _answer(url, key) as response, _partial_file(part) as file:
        size_bytes = _receive(response, file)
        file.flush()
        os.fsync(file.fileno())
        _check_target(target, force=force)
        part.replace(target)
        _sync_directory(target.parent)
    return size_bytes


def _check_target(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise BackupFailed(f"{target} is a directory; name a file in it.")
    if (kind := other_kind(target)) is not None:
        raise BackupFailed(f"{target} is {kind}; name a file, or - for standard output.")
    if not target.parent.is_dir():
        raise BackupFailed(f"the directory {target.parent} does not exist.")
    if not force and os.path.lexists(target):
        raise BackupFailed(
            f"{target} already exists; name another file, or replace it with --force."
        )


# --- the node ---


def _base_url(text: str) -> SplitResult:
    # The text is not repeated, because it may hold a password.
    wanted = BackupFailed(
        "--url must be the address of a node, such as http://127.0.0.1:4000 or"
        " unix:/run/fastpaca/socket, without anything else."
    )
    if text.startswith("unix:"):
        return SplitResult("unix", "", text.removeprefix("unix:"), "", "")
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise wanted from None
    is_plain = re.fullmatch(r"[!-~]+", text) and "@" not in url.netloc
    if not is_usable or not is_plain or url.query or url.fragment:
        raise wanted
    return url


class UnixConnection(http.client.HTTPConnection):
    """A connection to the Unix socket at *path*."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        """
        Connect.

        Raises:
            OSError: Nobody listens there.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextlib.contextmanager
def _answer(url: SplitResult, key: str | None) -> Iterator[http.client.HTTPResponse]:
    """Ask the node for the backup, and give its answer once that promises one."""
    connection: http.client.HTTPConnection
    if url.scheme == "unix":
        node, path = f"unix:{url.path}", ""
        connection = UnixConnection(url.path, CONNECT_TIMEOUT_SECONDS)
    else:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        node, path = f"{url.scheme}://{url.netloc}", url.path.rstrip("/")
        connection = kind(url.hostname or "", url.port, timeout=CONNECT_TIMEOUT_SECONDS)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with contextlib.closing(connection):
        with _as_sentences(node):
            connection.connect()
            connection.sock.settimeout(READ_TIMEOUT_SECONDS)
            connection.request("POST", f"{path}/backup", headers=headers)
            response = connection.getresponse()
        with response:
            if response.status != http.client.OK:
                raise BackupFailed(f"{node} returned {response.status} {_reason(response)}.")
            yield response


@contextlib.contextmanager
def _as_sentences(node: str) -> Iterator[None]:
    """Turn the ways in which a connection fails into sentences."""
    try:
        yield
    except TimeoutError:
        raise BackupFailed(f"{node} did not respond in time.") from None
    except (OSError, http.client.HTTPException) as error:
        raise BackupFailed(f"{node} cannot be read: {_one_line(str(error))}.") from None


def _reason(response: http.client.HTTPResponse) -> str:
    """Read what the node says about its refusal; a proxy in front of it may say anything."""
    try:
        body = json.loads(response.read(ERROR_BODY_BYTES_MAX))
        return _one_line(f"{body['error']}: {body['message']}")
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return _one_line(response.reason)


def _receive(response: http.client.HTTPResponse, file: BinaryIO) -> int:
    """Write the body of *response* to *file*, and answer its length once all of it is there."""
    expected_bytes = response.length
    if expected_bytes is None:
        raise BackupFailed("the response has no length, so it may be incomplete.")
    received_bytes = 0
    for chunk in _chunks(response):
        if received_bytes == 0 and not chunk.startswith(SQLITE_MAGIC):
            raise BackupFailed(
                "the response is not an SQLite file; is --url the address of a node?"
            )
        file.write(chunk)
        received_bytes += len(chunk)
    if received_bytes != expected_bytes or received_bytes == 0:
        raise BackupFailed(
            f"the response ended after {received_bytes:,} of {expected_bytes:,} bytes."
        )
    return received_bytes


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with _as_sentences("the response of the node"):
        while chunk := response.read(CHUNK_BYTES):
            yield chunk


# --- the file ---


@contextlib.contextmanager
def _partial_file(part: Path) -> Iterator[BinaryIO]:
    """Open a new file that only its owner can read, and remove it if what is done with it fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(part, flags, 0o600)
    except FileExistsError:
        raise BackupFailed(
            f"{part} already exists; another backup is running, or one was killed. If none is"
            " running, remove the file."
        ) from None
    except OSError as error:
        raise BackupFailed(f"{part} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BackupFailed(f"{part} cannot be written: {error.strerror}.") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    """Make a new name last. Windows has no such call, and keeps names without it."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that the partial file is removed."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _one_line(text: str) -> str:
    """Take the control characters out of what somebody else wrote, before a terminal shows it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).rstrip(".")


def readable(size_bytes: int) -> str:
    """Write a number of bytes for people."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
