"""
How an answer goes out: at once, piece by piece, or as the messages of a WebSocket.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Message, Receive, Send

from fastpaca.api.limits import Bodies
from fastpaca.api.request import Answer, Chunks, Request
from fastpaca.api.websocket import FRAMES

PIECE_BYTES: Final = 256 * 1024
"""How much of a large body is handed to the connection at once."""


async def send(request: Request, answer: Answer, send: Send) -> None:
    """Send *answer*, whichever way *request* came."""
    if request.is_socket:
        await _send_to_socket(request, answer, send)
    else:
        await _send_over_http(request, answer, send)


async def _send_over_http(request: Request, answer: Answer, send: Send) -> None:
    body = answer.body
    size = len(body) if isinstance(body, bytes) else body.size
    headers = [*answer.headers, (b"x-request-id", request.id), *request.cors]
    if answer.status not in (204, 304) and size is not None:
        headers.append((b"content-length", b"%d" % size))
    # The server reads away what is still to come, and closes only then, so that no reset
    # overtakes the answer.
    if request.unread and (answer.status == 408 or not Bodies.ends_soon(request)):
        headers.append((b"connection", b"close"))
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    if not isinstance(body, bytes):
        await _send_chunks(request, start, body, send)
        return
    await send(start)
    if request.method == "HEAD":
        body = b""
    # Piece by piece, so that this ends when the client has taken nearly all of it: a large body
    # counts until then.
    for at in range(0, len(body) - PIECE_BYTES, PIECE_BYTES):
        piece = body[at : at + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    rest = (
        body if len(body) <= PIECE_BYTES else body[(len(body) - 1) // PIECE_BYTES * PIECE_BYTES :]
    )
    await send({"type": "http.response.body", "body": rest})


async def _send_chunks(request: Request, start: Message, body: Chunks, send: Send) -> None:
    """Send *body* piece by piece, for as long as the client is there."""
    gone = _watch(request.receive, body)
    try:
        await send(start)
        if request.method != "HEAD":
            async for chunk in body.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if gone.done():
                    return
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        body.close()


async def _send_to_socket(request: Request, answer: Answer, send: Send) -> None:
    """Accept a WebSocket and send the body, frames as they go out, or refuse it with the answer."""
    body = answer.body
    await request.receive()  # what is sent before this has no connection yet
    if isinstance(body, bytes):
        await _send_instead(request, answer, body, send)
        return
    gone = _watch(request.receive, body)
    try:
        await send({"type": "websocket.accept", "headers": [(b"x-request-id", request.id)]})
        async for chunk in body.chunks():
            await send({"type": FRAMES, "data": chunk})
            if gone.done():
                return
        await send({"type": "websocket.close", "code": body.close_code})
    except OSError:
        pass  # so ASGI says that the client has gone
    finally:
        gone.cancel()
        body.close()


async def _send_instead(request: Request, answer: Answer, body: bytes, send: Send) -> None:
    """Answer over HTTP to whoever asked for a WebSocket."""
    headers = [*answer.headers, (b"x-request-id", request.id), *request.cors]
    headers.append((b"content-length", b"%d" % len(body)))
    await send(
        {"type": "websocket.http.response.start", "status": answer.status, "headers": headers}
    )
    await send({"type": "websocket.http.response.body", "body": body})


def _watch(receive: Receive, body: Chunks) -> asyncio.Task[None]:
    """Notice when the client has gone, and end a *body* that has no end of its own."""
    gone = asyncio.create_task(_until_gone(receive))
    if body.size is None:  # what has an end is closed there: a file may just be read
        gone.add_done_callback(lambda _: body.close())
    return gone


async def _until_gone(receive: Receive) -> None:
    while not (await receive())["type"].endswith(".disconnect"):
        pass
