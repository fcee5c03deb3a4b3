"""
A bare ASGI application on uvicorn that sends one frame to all its WebSockets, over and over.

What it reaches is the reference for the stream. Prints its address like a node.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from bench.baseline import Message, serve

Send = Callable[[Message], Awaitable[None]]


class Broadcast:
    """Accepts WebSockets, and sends to all of them."""

    def __init__(self, frame_bytes: int) -> None:
        self._message = {"type": "websocket.send", "text": "x" * frame_bytes}
        self._sends: dict[Send, None] = {}
        self._running: asyncio.Task[None] | None = None

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send
    ) -> None:
        """Keep a connection."""
        assert scope["type"] == "websocket"
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await receive()
        await send({"type": "websocket.accept"})
        self._sends[send] = None
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self._sends.pop(send, None)

    async def _run(self) -> None:
        """Send without end."""
        while True:
            for send in list(self._sends):
                try:
                    await send(self._message)
                except OSError:
                    self._sends.pop(send, None)
            await asyncio.sleep(0)


if __name__ == "__main__":
    serve(Broadcast(int(sys.argv[1])))
