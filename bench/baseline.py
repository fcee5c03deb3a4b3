"""
The same server doing nothing: its protocol, its application, its limits, and handlers that answer
constants.

What it reaches is the ceiling that the real handlers are held against. Prints its address like a
node.
"""

from __future__ import annotations

import asyncio
import sys

from fastpaca.api.admission import Admission
from fastpaca.api.app import App
from fastpaca.api.limits import BodyMemory, BodyPace, RequestBodies
from fastpaca.api.protocol import ConnectionBounds
from fastpaca.api.request import Request, Response
from fastpaca.api.routes import CONTEXT, Route, Routes
from fastpaca.api.server import Server, bound_socket, listen, server_config
from fastpaca.settings import Settings
from fastpaca.telemetry import Metrics

APPENDED = b'{"seq":1000000,"version":1000000,"token_estimate":100}'


class Nothing:
    """Handlers that do nothing."""

    def __init__(self, settings: Settings, memory: BodyMemory, view_bytes: int) -> None:
        self._bodies = RequestBodies(settings.body_bytes_max, BodyPace(), memory)
        self._view = Response(200, b'{"messages":"' + b"x" * (view_bytes - 15) + b'"}')

    async def append(self, request: Request) -> Response:
        """Read the body and answer."""
        await self._bodies.read(request)
        return Response(201, APPENDED)

    async def context(self, _: Request) -> Response:
        """Answer with as many bytes as a real view has."""
        return self._view


async def main(view_bytes: int) -> None:
    """Serve until killed."""
    settings = Settings()
    metrics = Metrics()
    memory = BodyMemory(settings.body_memory_bytes, settings.body_bytes_max)
    nothing = Nothing(settings, memory, view_bytes)
    routes = Routes(
        (
            Route(f"{CONTEXT}/messages", {"POST": nothing.append}),
            Route(f"{CONTEXT}/context", {"GET": nothing.context}),
        )
    )
    app = App(routes, Admission.of(settings, asyncio.get_running_loop().time), metrics, memory)
    listener = bound_socket("127.0.0.1", 0)
    listen(listener, "127.0.0.1")
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await Server(server_config(app, metrics, ConnectionBounds(), "info")).serve([listener])


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
