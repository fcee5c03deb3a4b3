"""
From the text of a value to what it means.

Each function returns the value, or raises a `ValueError` that says what would be right: the end of
a sentence that begins with the name of the variable. It never repeats the text, since a password
may have landed in the wrong variable.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

SOCKET_PATH_BYTES_MAX: Final = 103
"""The longest path of a Unix socket: 104 bytes with a NUL on macOS and the BSDs, 108 on Linux."""

_PERIODS: Final = {"second": 1, "minute": 60, "hour": 3600}
_UNITS: Final = dict.fromkeys(("", "b"), 1) | {
    f"{prefix}{unit}": base**power
    for unit, base in (("b", 1000), ("ib", 1024))
    for power, prefix in enumerate("kmg", 1)
}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many seconds."""

    count: int
    period_seconds: int


def integer(least: int, most: int, remark: str = "") -> Callable[[str], int]:
    """Return the parser of an integer from *least* to *most*."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be an integer from {least} to {most}{remark}")
        return int(text)

    return parse


def size(maximum: str) -> Callable[[str], int]:
    """Return the parser of a number of bytes, such as `16MiB`, up to *maximum*."""

    def parse(text: str) -> int:
        if not 1 <= (count := _bytes(text)) <= _bytes(maximum):
            raise ValueError(
                f"must be a number of bytes from 1 to {maximum}, such as 16777216 or 16MiB"
            )
        return count

    return parse


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,16})\s*([A-Za-z]*)", text)
    return int(match[1]) * _UNITS.get(match[2].lower(), 0) if match else 0


def one_of(*values: str) -> Callable[[str], str]:
    """Return the parser of one of *values*, in upper or lower case."""

    def parse(text: str) -> str:
        if text.lower() not in values:
            raise ValueError(f"must be {', '.join(values[:-1])} or {values[-1]}")
        return text.lower()

    return parse


def switch(text: str) -> bool:
    """Return whether *text* is `true`; it may also be `false`."""
    return one_of("true", "false")(text) == "true"


def host(text: str) -> str:
    """Return an IP address, a host name, or `unix:` and the path of a socket."""
    if text.startswith("unix:"):
        return f"unix:{_socket_path(text.removeprefix('unix:'))}"
    name = text[1:-1] if re.fullmatch(r"\[.*:.*\]", text) else text
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if not _is_host_name(name):
            raise ValueError(
                "must be an IP address or a host name, such as 127.0.0.1, ::1 or 0.0.0.0,"
                " or unix: and the path of a socket"
            ) from None
    return name


def _socket_path(text: str) -> Path:
    path = _path(text)
    if not path.name or "\0" in text or not 0 < len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        raise ValueError(
            "must be unix: and the path of a socket, such as unix:/run/fastpaca/socket, of at"
            f" most {SOCKET_PATH_BYTES_MAX} bytes"
        )
    return path


def _is_host_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    # A last label of digits is a mistyped IPv4 address; resolvers disagree about what it means.
    return (
        len(text) <= 253
        and all(re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", label) for label in labels)
        and not labels[-1].isdigit()
    )


def path_of(what: str) -> Callable[[str], Path]:
    """Return the parser of a path; *what* says of what."""

    def parse(text: str) -> Path:
        if not text or "\0" in text:
            raise ValueError(f"must be the path of {what}")
        return _path(text)

    return parse


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("starts with the home directory of an unknown user") from None


def store(text: str) -> str:
    """Return `sqlite`, `memory`, or the address of a PostgreSQL database."""
    if re.match(r"postgres(ql)?://", text):
        return text
    if text.lower() not in ("sqlite", "memory"):
        raise ValueError(
            "must be sqlite, memory, or the address of a PostgreSQL database, such as"
            " postgresql://user@host/database"
        )
    return text.lower()


def api_keys(text: str) -> tuple[str, ...]:
    """Return the keys in *text*, which are separated by commas."""
    keys = _comma_separated(text)
    if not keys:
        raise ValueError("is set but contains no key; set one, or unset it to run without a key")
    # A key is sent in a header, where other characters do not arrive as they were sent.
    if not all(re.fullmatch(r"[!-~]+", key) for key in keys):
        raise ValueError("must contain only printable ASCII characters, without spaces")
    return keys


def cors_origins(text: str) -> tuple[str, ...]:
    """Return the origins in *text*, which are separated by commas, as browsers send them."""
    return tuple(dict.fromkeys(_origin(origin) for origin in _comma_separated(text)))


def _origin(text: str) -> str:
    wanted = ValueError(
        "must be a list of origins, each with a scheme, a host and optionally a port, such as"
        " https://app.example.com or http://localhost:3000"
    )
    try:
        url = urlsplit(text.lower())
        port = url.port
    except ValueError:
        raise wanted from None
    if not (url.scheme and url.hostname) or "@" in url.netloc or re.search(r"[\s*]", text):
        raise wanted
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise wanted
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    is_default_port = port is None or (url.scheme, port) in {("http", 80), ("https", 443)}
    return f"{url.scheme}://{name}" + ("" if is_default_port else f":{port}")


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


def token_estimator(text: str) -> str:
    """Return `chars`, or `tiktoken:` and a name; whether there is such a model is seen later."""
    if text != "chars" and not re.fullmatch(r"tiktoken:[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}", text):
        raise ValueError(
            "must be chars, or tiktoken: and the name of a model or an encoding,"
            " such as tiktoken:gpt-4o or tiktoken:o200k_base"
        )
    return text


def rate_limit(text: str) -> RateLimit | None:
    """Return a rate, such as `100/second`; None for `off`."""
    if text.lower() == "off":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})\s*/\s*(second|minute|hour)", text, re.IGNORECASE)
    if not match:
        raise ValueError("must be off, or a number per second, minute or hour, such as 100/second")
    return RateLimit(int(match[1]), _PERIODS[match[2].lower()])


def node_name(text: str) -> str:
    """Return a name of 1 to 255 printable characters."""
    if not 1 <= len(text) <= 255 or not text.isprintable():
        raise ValueError("must be 1 to 255 printable characters")
    return text
