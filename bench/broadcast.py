"""
The same server, which sends one frame to all its WebSockets, over and over.

What it reaches is the ceiling that the stream is held against. Prints its address like a node.
"""

from __future__ import annotations

import asyncio
import sys

from starlette.types import Receive, Scope, Send

from fastpaca.api.protocol import ConnectionBounds
from fastpaca.api.server import Server, bound_socket, listen, server_config
from fastpaca.telemetry import Metrics


class Broadcast:
    """Accepts WebSockets, and sends to all of them."""

    def __init__(self, frame_bytes: int) -> None:
        self._message = {"type": "websocket.send", "text": "x" * frame_bytes}
        self._sends: dict[Send, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep a connection."""
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        self._sends[send] = None
        while (await receive())["type"] != "websocket.disconnect":
            pass
        del self._sends[send]

    async def run(self) -> None:
        """Send without end."""
        while True:
            for send in list(self._sends):
                try:
                    await send(self._message)
                except OSError:
                    self._sends.pop(send, None)
            await asyncio.sleep(0)


async def main(frame_bytes: int) -> None:
    """Serve until killed."""
    broadcast = Broadcast(frame_bytes)
    listener = bound_socket("127.0.0.1", 0)
    listen(listener, "127.0.0.1")
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    running = asyncio.create_task(broadcast.run())
    await Server(server_config(broadcast, Metrics(), ConnectionBounds(), "info")).serve([listener])
    running.cancel()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
