"""The ids of requests, for log lines and `X-Request-Id`."""

from __future__ import annotations

import itertools
import re
import secrets
from typing import Final

_USABLE: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

# Unique across processes, and cheaper than a UUID for each request.
_prefix = secrets.token_hex(8).encode()
_numbers = itertools.count(1)


def request_id(sent: bytes | None) -> bytes:
    """Return the request id that the caller *sent* if it is usable, else a new one."""
    if sent is not None and _USABLE.fullmatch(sent):
        return sent
    return b"%b-%x" % (_prefix, next(_numbers))
