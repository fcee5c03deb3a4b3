"""
`fastpaca backup FILE`: fetch a consistent copy of a running node's data.

The node makes the copy and sends it as an SQLite file. It is written to `FILE.part`, checked and
synced to disk, and only then renamed, so a file named FILE is always a complete backup. A failure
leaves no file and prints one sentence.

`-` is standard output. What was written there before a failure can't be removed, so the exit code
says whether the backup is complete.
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

from fastpaca.cli.output import STANDARD_OUTPUT, readable_size, standard_output
from fastpaca.files import special_kind, sync_directory
from fastpaca.settings import load_api_key, parse_api_keys

SQLITE_MAGIC: Final = b"SQLite format 3\0"
CHUNK_BYTES: Final = 1024 * 1024
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
CONNECT_TIMEOUT_SECONDS: Final = 10
# The node copies its database before it sends the first byte, which takes a while for a large one.
READ_TIMEOUT_SECONDS: Final = 600


class BackupFailed(Exception):
    """There is no backup. The message is a sentence for the operator."""


def run(args: argparse.Namespace) -> int:
    """
    Write the backup that *args* asks for, and return the exit code.

    Raises:
        SettingsError: The API key can't be used.
    """
    key = parse_api_keys(args.api_key, "--api-key")[0] if args.api_key else load_api_key()
    try:
        with _sigterm_as_exit():
            url = _base_url(args.url)
            if args.file == STANDARD_OUTPUT:
                size_bytes = _write_to_output(url, key)
            else:
                size_bytes = _write_to_file(Path(args.file), url, key, force=args.force)
    except BackupFailed as error:
        print(f"fastpaca: no backup was made: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fastpaca: no backup was made: interrupted.", file=sys.stderr)
        return 130
    if args.file != STANDARD_OUTPUT:
        print(f"Wrote {args.file} ({readable_size(size_bytes)}).")
    return 0


def _write_to_output(url: SplitResult, key: str | None) -> int:
    """Write the backup to standard output, and return its size."""
    if sys.stdout is not None and sys.stdout.isatty():
        raise BackupFailed("standard output is a terminal; redirect it, or name a file.")
    try:
        with _backup_response(url, key) as response, standard_output() as out:
            return _receive(response, out)
    except OSError as error:
        raise BackupFailed(f"cannot write to standard output: {error.strerror}.") from None


def _write_to_file(target: Path, url: SplitResult, key: str | None, *, force: bool) -> int:
    _check_target(target, force=force)
    part = target.with_name(target.name + ".part")
    with _backup_response(url, key) as response, _partial_file(part) as file:
        size_bytes = _receive(response, file)
        file.flush()
        os.fsync(file.fileno())
        _check_target(target, force=force)
        part.replace(target)
        sync_directory(target.parent)
    return size_bytes


def _check_target(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise BackupFailed(f"{target} is a directory; name a file in it.")
    if (kind := special_kind(target)) is not None:
        raise BackupFailed(f"{target} is {kind}; name a file, or - for standard output.")
    if not target.parent.is_dir():
        raise BackupFailed(f"the directory {target.parent} does not exist.")
    if not force and os.path.lexists(target):
        raise BackupFailed(
            f"{target} already exists; name another file, or replace it with --force."
        )


# --- the node ---


def _base_url(text: str) -> SplitResult:
    # The message leaves the text out, because it may hold a password.
    refusal = BackupFailed(
        "--url must be the address of a node, such as http://127.0.0.1:4000 or"
        " unix:/run/fastpaca/socket, without anything else."
    )
    if text.startswith("unix:"):
        return SplitResult("unix", "", text.removeprefix("unix:"), "", "")
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise refusal from None
    is_plain = re.fullmatch(r"[!-~]+", text) and "@" not in url.netloc
    if not is_usable or not is_plain or url.query or url.fragment:
        raise refusal
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
            OSError: No process listens on the socket.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextlib.contextmanager
def _backup_response(url: SplitResult, key: str | None) -> Iterator[http.client.HTTPResponse]:
    """Ask the node for a backup, and return the response if it is one of success."""
    connection: http.client.HTTPConnection
    if url.scheme == "unix":
        node, path = f"unix:{url.path}", ""
        connection = UnixConnection(url.path, CONNECT_TIMEOUT_SECONDS)
    else:
        is_https = url.scheme == "https"
        connect = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
        node, path = f"{url.scheme}://{url.netloc}", url.path.rstrip("/")
        connection = connect(url.hostname or "", url.port, timeout=CONNECT_TIMEOUT_SECONDS)
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
    """Turn errors of a connection into sentences."""
    try:
        yield
    except TimeoutError:
        raise BackupFailed(f"{node} did not respond in time.") from None
    except (ConnectionRefusedError, FileNotFoundError, socket.gaierror) as error:
        raise BackupFailed(
            f"{node} cannot be reached: {error.strerror}. Is a node running there? Name another"
            " with --url."
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise BackupFailed(f"{node} cannot be read: {_one_line(str(error))}.") from None


def _reason(response: http.client.HTTPResponse) -> str:
    """Return the reason of a refusal; the response may be that of a proxy."""
    try:
        body = json.loads(response.read(ERROR_BODY_BYTES_MAX))
        return _one_line(f"{body['error']}: {body['message']}")
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return _one_line(response.reason)


def _receive(response: http.client.HTTPResponse, file: BinaryIO) -> int:
    """Write the body of *response* to *file*, and return its size."""
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
    """Open a new file that only its owner can read; remove it if the block fails."""
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


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Make SIGTERM unwind the stack, so that the partial file is removed."""
    earlier_handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier_handler)


def _one_line(text: str) -> str:
    """Remove control characters from a text of unknown origin, for the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).rstrip(".")
