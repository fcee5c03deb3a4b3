"""
A bare ASGI application on uvicorn that does nothing: it reads a body and answers with constants.

A fixed reference, so that no gain of our own server hides a loss elsewhere. Prints its address like
a node.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

APPENDED = b'{"seq":1000000,"version":1000000,"token_estimate":100}'

Message = dict[str, Any]


class Nothing:
    """Answers a GET with so many bytes, and anything else as an append is answered."""

    def __init__(self, view_bytes: int) -> None:
        self._view = b'{"messages":"' + b"x" * (view_bytes - 15) + b'"}'

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        while (await receive()).get("more_body"):
            pass
        body = self._view if scope["method"] == "GET" else APPENDED
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def serve(app: Any) -> None:
    """Serve *app* until killed, on uvicorn as it is installed with its fast parts."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            log_level="error",
            access_log=False,
        )
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(Nothing(int(sys.argv[1])))
