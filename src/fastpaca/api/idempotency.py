"""`Idempotency-Key`: the same request under the same key is done once, and answered as before."""

from __future__ import annotations

import re
from functools import partial
from hashlib import sha256
from typing import Final

from fastpaca.api.request import JSON, Answer, Headers, Request
from fastpaca.engine import Keyed, Written
from fastpaca.errors import InvalidRequest
from fastpaca.offload import HASH, offload

_KEY: Final = re.compile(rb"[ -~]{1,255}")
_REPLAYED: Final[Headers] = (*JSON, (b"idempotent-replayed", b"true"))


async def keyed(request: Request, place: str, body: bytes) -> Keyed | None:
    """
    Read the key of *request*, if it has one, with a fingerprint of what was asked.

    The path counts as the context id and the *place* below it, so that it does not matter which of
    its characters were percent-encoded.

    Raises:
        InvalidRequest: The key cannot be used.
    """
    key = request.headers.get(b"idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidRequest("Must be 1 to 255 printable ASCII characters.", "Idempotency-Key")
    # No id holds a NUL, so that no two requests look alike.
    said = sha256(f"{request.method}\0{request.context_id}\0{place}\0".encode())
    await offload(HASH, len(body), partial(said.update, body))
    return Keyed(key.decode(), said.digest())


def answer(status: int, written: Written) -> Answer:
    """Answer with what was *written*, and say so if that was before."""
    return Answer(status, written.answer, _REPLAYED if written.replayed else JSON)
