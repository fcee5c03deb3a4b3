"""
How a response is sent: at once, piece by piece, or as the messages of a WebSocket.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Message, Receive, Send

from fastpaca.api.limits import RequestBodies
from fastpaca.api.request import Chunks, Request, Response
from fastpaca.api.websocket import FRAMES

PIECE_BYTES: Final = 256 * 1024
"""How much of a large body the connection gets at once."""


async def send(request: Request, response: Response, send: Send) -> None:
    """Send *response* over HTTP, or to a WebSocket if *request* asks for one."""
    if request.is_socket:
        await _send_to_socket(request, response, send)
    else:
        await _send_over_http(request, response, send)


async def _send_over_http(request: Request, response: Response, send: Send) -> None:
    body = response.body
    size = len(body) if isinstance(body, bytes) else body.size
    headers = [*response.headers, (b"x-request-id", request.id), *request.cors]
    if response.status not in (204, 304) and size is not None:
        headers.append((b"content-length", b"%d" % size))
    # The server discards what still arrives and only then closes, so that the response is not lost
    # to a reset.
    if request.unread and (response.status == 408 or not RequestBodies.ends_soon(request)):
        headers.append((b"connection", b"close"))
    start = {"type": "http.response.start", "status": response.status, "headers": headers}
    if not isinstance(body, bytes):
        await _send_chunks(request, start, body, send)
        return
    await send(start)
    if request.method == "HEAD":
        body = b""
    # Piece by piece, so that this ends when the client has read nearly all of it: a large body
    # counts in memory until then.
    for at in range(0, len(body) - PIECE_BYTES, PIECE_BYTES):
        piece = body[at : at + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    rest = (
        body if len(body) <= PIECE_BYTES else body[(len(body) - 1) // PIECE_BYTES * PIECE_BYTES :]
    )
    await send({"type": "http.response.body", "body": rest})


async def _send_chunks(request: Request, start: Message, body: Chunks, send: Send) -> None:
    """Send *body* piece by piece, until the client disconnects."""
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


async def _send_to_socket(request: Request, response: Response, send: Send) -> None:
    """Accept a WebSocket and send the body, which is ready frames; or refuse it with *response*."""
    body = response.body
    await request.receive()  # what is sent before this has no connection yet
    if isinstance(body, bytes):
        await _refuse_socket(request, response, body, send)
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
        pass  # ASGI's way to say that the client disconnected
    finally:
        gone.cancel()
        body.close()


async def _refuse_socket(request: Request, response: Response, body: bytes, send: Send) -> None:
    """Respond over HTTP to a request for a WebSocket."""
    headers = [*response.headers, (b"x-request-id", request.id), *request.cors]
    headers.append((b"content-length", b"%d" % len(body)))
    await send(
        {"type": "websocket.http.response.start", "status": response.status, "headers": headers}
    )
    await send({"type": "websocket.http.response.body", "body": body})


def _watch(receive: Receive, body: Chunks) -> asyncio.Task[None]:
    """Notice when the client disconnects, and end a *body* that has no end of its own."""
    gone = asyncio.create_task(_until_gone(receive))
    if body.size is None:  # others are closed at their end: a file may be read right now
        gone.add_done_callback(lambda _: body.close())
    return gone


async def _until_gone(receive: Receive) -> None:
    while not (await receive())["type"].endswith(".disconnect"):
        pass
