"""The real libpq, asked what an address means; it comes with the newest server."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.kit.postgres import NEWEST, programs


class _Option(ctypes.Structure):
    """PQconninfoOption, of libpq-fe.h."""

    _fields_ = (
        ("keyword", ctypes.c_char_p),
        ("envvar", ctypes.c_char_p),
        ("compiled", ctypes.c_char_p),
        ("val", ctypes.c_char_p),
        ("label", ctypes.c_char_p),
        ("dispchar", ctypes.c_char_p),
        ("dispsize", ctypes.c_int),
    )


@cache
def _library() -> Any:
    (path,) = {
        path.resolve()
        for pattern in ("libpq.so.5", "libpq.5.dylib")
        for path in (programs(NEWEST) / "lib").glob(pattern)
    }
    library = ctypes.CDLL(str(path))
    library.PQconndefaults.restype = ctypes.POINTER(_Option)
    library.PQconninfoParse.restype = ctypes.POINTER(_Option)
    assert library.PQlibVersion() // 10_000 == NEWEST
    return library


def _options(first: Any) -> Iterator[_Option]:
    number = 0
    while first[number].keyword:
        yield first[number]
        number += 1


def variables() -> dict[str, str]:
    """List all parameters, each with the variable that says the same, or with nothing."""
    first = _library().PQconndefaults()
    found = {o.keyword.decode(): (o.envvar or b"").decode() for o in _options(first)}
    _library().PQconninfoFree(first)
    return found


def parsed(dsn: str) -> dict[str, str] | None:
    """Say what an address says, by parameter; None if it cannot be understood."""
    first = _library().PQconninfoParse(dsn.encode(), None)
    if not first:
        return None
    found = {
        o.keyword.decode(): o.val.decode(errors="replace")
        for o in _options(first)
        if o.val is not None
    }
    _library().PQconninfoFree(first)
    return found
