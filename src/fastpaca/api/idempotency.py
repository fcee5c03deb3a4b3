"""`Idempotency-Key`: a request that is repeated with its key is done once, and answered alike."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Final

from fastpaca.api.request import JSON_TYPE, Request, Response
from fastpaca.engine import Keyed, Written
from fastpaca.errors import InvalidRequest
from fastpaca.http.messages import Headers
from fastpaca.ids import KEY_CHARS_MAX, is_idempotency_key
from fastpaca.offload import HASH, offload

NEW_KEY: Final = b":new-key"
"""
A header by which a client in this process says that it has just made its key.

Then the key need not be looked up. No client on a network can say so: no name of a header has a
colon.
"""

_REPLAYED: Final[Headers] = (*JSON_TYPE, (b"idempotent-replayed", b"true"))


async def keyed(
    request: Request, place: str, body: bytes, format_: str | None = None
) -> Keyed | None:
    """
    Return the key of *request*, if it has one, with a fingerprint of method, path and body.

    The path counts as the context id and the *place* below it, so that it does not matter which
    characters were percent-encoded. The format counts too, since it says what the body means.

    Raises:
        InvalidRequest: The key is not 1 to 255 printable ASCII characters.
    """
    key = request.headers.get(b"idempotency-key")
    if key is None:
        return None
    text = key.decode("latin-1")
    if not is_idempotency_key(text):
        raise InvalidRequest(
            f"Must be 1 to {KEY_CHARS_MAX} printable ASCII characters.", "Idempotency-Key"
        )
    # No id contains a NUL, so that no two requests look alike.
    fingerprint = sha256(f"{request.method}\0{request.context_id}\0{place}\0".encode())
    if format_ is not None:
        fingerprint.update(f"{format_}\0".encode())
    await offload(HASH, len(body), partial(fingerprint.update, body))
    return Keyed(text, fingerprint.digest(), NEW_KEY in request.headers)


def response(status: int, written: Written) -> Response:
    """Return the response to a write, marked if it was stored by an earlier request."""
    return Response(status, written.response, _REPLAYED if written.replayed else JSON_TYPE)
