"""
The same server doing nothing: its protocol, its edge, its limits, and handlers that answer
constants.

What it reaches is the ceiling that the real handlers are held against. Prints its address like a
node.
"""

from __future__ import annotations

import asyncio
import sys

from fastpaca.api.app import _door
from fastpaca.api.edge import Edge
from fastpaca.api.limits import Bodies, BodyMemory, Pace
from fastpaca.api.protocol import Bounds
from fastpaca.api.request import Answer, Request
from fastpaca.api.routes import CONTEXT, Route, Routes
from fastpaca.api.server import Server, bound_socket, listen, server_config
from fastpaca.settings import Settings
from fastpaca.telemetry import Metrics

APPENDED = b'{"seq":1000000,"version":1000000,"token_estimate":100}'


class Nothing:
    """Handlers that do nothing."""

    def __init__(self, settings: Settings, memory: BodyMemory, view_bytes: int) -> None:
        self._bodies = Bodies(settings.max_body_bytes, Pace(), memory)
        self._view = Answer(200, b'{"messages":"' + b"x" * (view_bytes - 15) + b'"}')

    async def append(self, request: Request) -> Answer:
        """Read the body and answer."""
        await self._bodies.read(request)
        return Answer(201, APPENDED)

    async def context(self, _: Request) -> Answer:
        """Answer as many bytes as a real view has."""
        return self._view


async def main(view_bytes: int) -> None:
    """Serve until killed."""
    settings = Settings()
    metrics = Metrics()
    memory = BodyMemory(settings.body_memory_bytes, settings.max_body_bytes)
    nothing = Nothing(settings, memory, view_bytes)
    routes = Routes(
        (
            Route(f"{CONTEXT}/messages", {"POST": nothing.append}),
            Route(f"{CONTEXT}/context", {"GET": nothing.context}),
        )
    )
    edge = Edge(routes, _door(settings, asyncio.get_running_loop().time), metrics, memory)
    listener = bound_socket("127.0.0.1", 0)
    listen(listener, "127.0.0.1")
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await Server(server_config(edge, metrics, Bounds(), "info")).serve([listener])


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
