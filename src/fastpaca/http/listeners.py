"""How a server takes an address, and how many connections this process may have."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from fastpaca.http.bounds import ConnectionBounds

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""

CONNECT_SECONDS: Final = 1.0
"""How long to wait for a process that may listen on an existing Unix socket."""

_ADVICE: Final = {
    errno.EADDRINUSE: "; stop the program that uses it, or choose another port",
    errno.EADDRNOTAVAIL: "; this machine does not have that address",
    errno.EACCES: "; ports below 1024 need special rights, so choose a higher one",
}
"""What an operator can do about an address."""

_SOCKET_ADVICE: Final = {
    errno.ENOENT: "; create its directory first",
    errno.EACCES: "; the user that runs the node must be able to write to its directory",
}
"""What an operator can do about a Unix socket."""

FILES_KEPT_FREE: Final = 256
"""File descriptors that connections leave to everything else."""


class CannotListen(Exception):
    """The address cannot be listened on. The message is a sentence for the operator."""


@contextlib.contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """
    Listen on a Unix socket at *path* while the block runs, and remove it then.

    The file system decides who may connect: the socket is made under the umask of the process. A
    socket without a listener, left by a process that was killed, is replaced. The new one listens
    from the start, so that another process can see that it is in use; clients wait.

    Raises:
        CannotListen: Another process listens there, or something else stands there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.closing(listener):
        with _sentences(f"unix:{path}", advice=_SOCKET_ADVICE):
            _clear(path)
            listener.bind(str(path))
            made = path.stat()
            listener.listen(BACKLOG)
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                now = path.stat()
                if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
                    path.unlink()


def _clear(path: Path) -> None:
    """Remove a socket without a listener; refuse to remove anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(
            f"cannot listen on unix:{path}: a file that is not a socket is in the way."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_SECONDS)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # its queue is full
            pass
    raise CannotListen(f"cannot listen on unix:{path}: another process is listening there.")


def bound_socket(host: str, port: int) -> socket.socket:
    """
    Bind the address, so that the port is known before anything else is done; 0 takes a free one.

    Raises:
        CannotListen: The address is not available.
    """
    with _sentences(with_port(host, port), host):
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name with both kinds of address, such as localhost, is bound to its IPv4 address.
        family, kind, protocol, _, address = min(entries, key=lambda entry: entry[0])
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    return listener


def listen(listener: socket.socket, host: str) -> None:
    """
    Let clients connect.

    Raises:
        CannotListen: Another process listens there by now.
    """
    with _sentences(with_port(host, listener.getsockname()[1])):
        listener.listen(BACKLOG)


@contextlib.contextmanager
def _sentences(address: str, host: str = "", advice: Mapping[int, str] = _ADVICE) -> Iterator[None]:
    """Turn errors of the address into sentences for the operator."""
    try:
        yield
    except socket.gaierror:
        raise CannotListen(f"the host {host} has no address; correct its name.") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = advice.get(error.errno or 0, "")
        raise CannotListen(f"cannot listen on {address}: {reason}{hint}.") from None


def with_port(host: str, port: int) -> str:
    """Return an address as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connections_max() -> int:
    """Return how many connections the file limit allows, after raising it if possible."""
    wanted = ConnectionBounds().connections_max
    try:
        import resource  # noqa: PLC0415 - Unix only
    except ImportError:
        return wanted
    needed = 2 * wanted
    files, ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= needed:
        return wanted
    allowed = needed if ceiling == resource.RLIM_INFINITY else min(needed, ceiling)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, ceiling))
        files = allowed
    return max(1, min(wanted, (files - FILES_KEPT_FREE) * 3 // 4))
