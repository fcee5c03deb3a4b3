"""
A chat page: fastpaca keeps the conversation, a model answers, and every open page sees it happen.

    pip install -r requirements.txt
    python chat.py

A page posts what its user writes, and learns everything, its own message included, from one stream
of events. So two tabs show the same, and a page that is reloaded finds what it had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from conversation import Back, Busy, Conversation, writing
from fastpaca import AsyncFastpaca, FastpacaError, VersionConflict

PAGE_MESSAGES: Final = 50
"""How many messages a page reads at once."""

TEXT_CHARS_MAX: Final = 20_000
PENDING_EVENTS_MAX: Final = 100

RECENT_MAX: Final = 100
"""How many of the newest requests keep their conversation in memory."""

RETRY_MS: Final = 1000
"""How long a page waits before it connects again."""

STATIC: Final = Path(__file__).parent / "static"


class Chat:
    """The routes. One process serves any number of conversations."""

    def __init__(self, fastpaca: AsyncFastpaca, model: AsyncOpenAI, name: str, budget: int) -> None:
        self._fastpaca = fastpaca
        self._model = model
        self._model_name = name
        self._budget = budget
        # A conversation is in memory as long as a page looks at it, or an answer is written, and
        # for some requests more: a page that connects again learns why there is no answer.
        self._conversations: WeakValueDictionary[str, Conversation] = WeakValueDictionary()
        self._recent: deque[Conversation] = deque(maxlen=RECENT_MAX)

    def app(self) -> Starlette:
        """Give the application."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with self._fastpaca, self._model:
                yield
                for task in writing:
                    task.cancel()
                await asyncio.gather(*writing, return_exceptions=True)

        return Starlette(
            routes=[
                Route("/", lambda _request: RedirectResponse("/chats/demo")),
                Route("/chats/{id}", lambda _request: FileResponse(STATIC / "chat.html")),
                Route("/chats/{id}/messages", self.read),
                Route("/chats/{id}/messages", self.say, methods=["POST"]),
                Route("/chats/{id}/answer", self.answer_again, methods=["POST"]),
                Route("/chats/{id}/rewind", self.go_back, methods=["POST"]),
                Route("/chats/{id}/events", self.follow),
                Mount("/static", StaticFiles(directory=STATIC)),
            ],
            exception_handlers={
                HTTPException: refused,
                FastpacaError: unreachable,
                VersionConflict: outdated,
                Busy: busy,
            },
            lifespan=lifespan,
        )

    def _conversation(self, request: Request) -> Conversation:
        name: str = request.path_params["id"]
        found = self._conversations.get(name)
        if found is None:
            found = Conversation(name, self._fastpaca, self._model, self._model_name, self._budget)
            self._conversations[name] = found
        self._recent.append(found)
        return found

    async def read(self, request: Request) -> Response:
        """Return the newest messages, or those before so many, and where to follow from."""
        offset = number(request.query_params.get("offset"), "offset") or 0
        conversation = self._conversation(request)
        return JSONResponse(await conversation.page(offset, PAGE_MESSAGES))

    async def say(self, request: Request) -> Response:
        """Append what the user writes, or put it in place of a question, and have it answered."""
        body = await posted(request)
        text, message_id = body.get("text"), body.get("id")
        if not isinstance(text, str) or not text.strip() or len(text) > TEXT_CHARS_MAX:
            raise HTTPException(400, f"A message has 1 to {TEXT_CHARS_MAX} characters.")
        if not isinstance(message_id, str) or not 1 <= len(message_id) <= 64:
            raise HTTPException(400, "A message has an id.")
        await self._conversation(request).say(message_id, text.strip(), back_of(body))
        return JSONResponse({}, 202)

    async def answer_again(self, request: Request) -> Response:
        """Have the conversation answered as it stands, after an answer that failed, or again."""
        back = back_of(await posted(request))
        await self._conversation(request).answer(back)
        return JSONResponse({}, 202)

    async def go_back(self, request: Request) -> Response:
        """Show the conversation as it was, such as with the previous answer."""
        back = back_of(await posted(request))
        if back is None:
            raise HTTPException(400, "Say where to go back to.")
        await self._conversation(request).go_back(back)
        return JSONResponse({})

    async def follow(self, request: Request) -> Response:
        """Stream what happens, from a version on: messages, the state, an answer as it grows."""
        # The browser sends this header by itself when it connects again.
        since = request.headers.get("last-event-id") or request.query_params.get("cursor")
        cursor = number(since, "cursor") or 0
        conversation = self._conversation(request)
        await conversation.open()
        return StreamingResponse(
            server_sent(conversation, cursor),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )


async def server_sent(conversation: Conversation, cursor: int) -> AsyncIterator[str]:
    """Write what happens as server-sent events; `id` is what to resume from."""
    # A page that reads slowly holds up its own two tasks, and nobody else.
    pending: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(PENDING_EVENTS_MAX)

    async def pass_on(source: AsyncGenerator[dict[str, Any], None]) -> None:
        with suppress(FastpacaError):  # the page connects again, and is told then
            async with aclosing(source) as events:
                async for event in events:
                    await pending.put(event)
        await pending.put(None)

    yield f"retry: {RETRY_MS}\n\n"
    sources = (conversation.frames(cursor), conversation.drafts())
    tasks = [asyncio.create_task(pass_on(source)) for source in sources]
    try:
        while (event := await pending.get()) is not None:
            resume = f"id: {event['cursor']}\n" if "cursor" in event else ""
            yield f"{resume}data: {json.dumps(event)}\n\n"
    finally:
        for task in tasks:
            task.cancel()


async def posted(request: Request) -> dict[str, Any]:
    """Read a JSON object. Other pages cannot send one without the consent of this server."""
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "Send application/json.")
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "Send a JSON object.")
    return body


def back_of(body: dict[str, Any]) -> Back | None:
    """Read where to go back to, and which version the page shows."""
    match body.get("back"):
        case None:
            return None
        case {"to_version": int(to_version), "if_version": int(if_version)}:
            return Back(to_version, if_version)
        case _:
            raise HTTPException(400, "To go back, send two versions.")


def number(value: str | None, name: str) -> int | None:
    """Read a parameter that is a number."""
    if value is None:
        return None
    if not value.isdecimal():
        raise HTTPException(400, f"{name} is a number.")
    return int(value)


async def refused(_request: Request, error: Exception) -> Response:
    """Say what was wrong with a request."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


async def unreachable(_request: Request, error: Exception) -> Response:
    """Say that fastpaca did not do what was asked."""
    return JSONResponse({"error": f"The conversation is not available: {error}"}, 502)


async def outdated(_request: Request, _error: Exception) -> Response:
    """Say that the page did not show everything yet."""
    return JSONResponse({"error": "The conversation has changed; look at it again."}, 409)


async def busy(_request: Request, _error: Exception) -> Response:
    """Say that one answer comes after the other."""
    return JSONResponse({"error": "An answer is being written; wait for its end."}, 409)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A chat page on fastpaca.")
    parser.add_argument("--fastpaca", default="http://127.0.0.1:4000", help="address of a node")
    parser.add_argument("--model", default="gpt-4o-mini", help="what model to ask")
    parser.add_argument("--budget", type=int, default=2000, help="tokens that it is sent at most")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    # The address of the model and the key are in OPENAI_BASE_URL and OPENAI_API_KEY.
    chat = Chat(AsyncFastpaca(options.fastpaca), AsyncOpenAI(), options.model, options.budget)
    # Pages follow for as long as they are open, so the end is not left to them.
    uvicorn.run(chat.app(), port=options.port, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
