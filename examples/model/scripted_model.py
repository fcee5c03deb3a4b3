"""
A stand-in for a model: it speaks OpenAI's Chat Completions protocol and answers by a script.

The examples talk to it where there is no network and no key, and their tests can see every request
that it was sent. Its answers say how much of the conversation it was given. Start it with

    python scripted_model.py

and point a client of the `openai` or `@ai-sdk/openai` package at the address that it prints.

It calls the tools that it is offered if what the user said last names them, one after the other.

It can also be steered, which is what tests do:

    GET    /requests                  every request so far, in order
    DELETE /requests                  forget them
    POST   /words  {"count": 3}       let three more words out and hold back all others
    POST   /words  {"count": null}    hold nothing back
    POST   /fault  {"status": 400}    refuse requests with that status
    POST   /fault  {"after_words": 2} break answers off after two words
    POST   /fault  {}                 answer again as usual
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Json = dict[str, Any]

CREATED: Final = 1_700_000_000
"""The date of every answer: the same request is answered the same way, always."""

SUMMARISE: Final = "summarise"
"""A system message that begins with this word asks for a summary."""


# --- the script: what is answered ---


def answer(messages: Sequence[Json]) -> str:
    """Answer *messages*: summarise if they ask for that, else repeat what was said last."""
    said = [text(message) for message in messages if message["role"] not in {"system", "developer"}]
    if not said:
        return "Nothing was said."
    if text(messages[0]).lower().startswith(SUMMARISE):
        lines = [f"{one['role']}: {text(one)}" for one in messages[1:-1]]
        return f"{len(lines)} lines, from “{opening(lines[0])}” to “{opening(lines[-1])}”."
    count = f"{len(messages)} messages" if len(messages) > 1 else "1 message"
    return (
        f"You said: “{said[-1]}” I was sent {count}, of which the oldest says: “{opening(said[0])}”"
    )


def call(body: Json) -> Json | None:
    """Call the next tool that the user has named since the last answer, or none."""
    messages = body["messages"]
    asked = max((at for at, one in enumerate(messages) if one["role"] == "user"), default=None)
    if asked is None:
        return None
    wanted = text(messages[asked])
    called = {
        made["function"]["name"] for one in messages[asked:] for made in one.get("tool_calls") or ()
    }
    for tool in body.get("tools") or ():
        function = tool["function"]
        name = function["name"]
        if name.replace("_", " ") in wanted.lower() and name not in called:
            # An argument is the word of the user's that has a digit, such as an order's number.
            word = next((one for one in wanted.split() if re.search(r"\d", one)), "")
            arguments = dict.fromkeys(function["parameters"].get("required", ()), word)
            made = {"name": name, "arguments": json.dumps(arguments)}
            number = sum(len(one.get("tool_calls") or ()) for one in messages)
            return {"id": f"call-{number}", "type": "function", "function": made}
    return None


def text(message: Json) -> str:
    """Give the text of a message: its content, or that of its text parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def opening(line: str) -> str:
    """Give the first words of *line*."""
    found = line.split()
    return " ".join([*found[:6], "…"] if len(found) > 6 else found)


def words(answered: str) -> list[str]:
    """Take an answer apart into what is streamed at once: each word, and the space behind it."""
    return re.findall(r"\S+\s*", answered)


# --- the protocol: how it is answered ---


class Model:
    """
    What the server has been asked, and how fast it answers.

    Args:
        pause_ms: How long to wait before each word.
    """

    def __init__(self, pause_ms: int) -> None:
        self._pause_seconds = pause_ms / 1000
        self._words_left: int | None = None  # that may be said; None for any number
        self._let_out = asyncio.Condition()
        self._requests: list[Json] = []
        self._fault: Json = {}

    def app(self) -> Starlette:
        """Give the server."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.complete, methods=["POST"]),
                Route("/requests", self.list_requests),
                Route("/requests", self.forget_requests, methods=["DELETE"]),
                Route("/words", self.let_out, methods=["POST"]),
                Route("/fault", self.set_fault, methods=["POST"]),
            ]
        )

    async def complete(self, request: Request) -> Response:
        """Answer as Chat Completions does, at once or as a stream of chunks."""
        body = await request.json()
        self._requests.append(body)
        if (status := self._fault.get("status")) is not None:
            error = {"message": "The script says no.", "type": "invalid_request_error"}
            return JSONResponse({"error": error}, status)
        if body.get("stream"):
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        await self._pause()
        message: Json = {"role": "assistant", "content": answer(body["messages"])}
        reason = "stop"
        if (made := call(body)) is not None:
            message, reason = message | {"content": None, "tool_calls": [made]}, "tool_calls"
        choices = [{"index": 0, "message": message, "finish_reason": reason}]
        return JSONResponse(self._object(body, "chat.completion", choices, usage=True))

    async def _events(self, body: Json) -> AsyncIterator[str]:
        """Stream the chunks of an answer as server-sent events."""
        kind = "chat.completion.chunk"
        made = call(body)
        said = words(answer(body["messages"])) if made is None else []
        breaks_off = self._fault.get("after_words")
        for number, word in enumerate(said):
            if number == breaks_off:
                return
            await self._pause()
            delta = {"role": "assistant", "content": word} if number == 0 else {"content": word}
            yield event(self._object(body, kind, [choice(delta, None)]))
        if made is not None:
            start: Json = {"role": "assistant", "tool_calls": [{"index": 0} | made]}
            yield event(self._object(body, kind, [choice(start, None)]))
        reason = "stop" if made is None else "tool_calls"
        yield event(self._object(body, kind, [choice({}, reason)]))
        if (body.get("stream_options") or {}).get("include_usage"):
            yield event(self._object(body, kind, [], usage=True))
        yield "data: [DONE]\n\n"

    async def _pause(self) -> None:
        async with self._let_out:
            await self._let_out.wait_for(lambda: self._words_left != 0)
            if self._words_left is not None:
                self._words_left -= 1
        await asyncio.sleep(self._pause_seconds)

    def _object(self, body: Json, kind: str, choices: list[Json], *, usage: bool = False) -> Json:
        """Make the object that every answer and every chunk is."""
        made = {
            "id": f"chatcmpl-{len(self._requests)}",
            "object": kind,
            "created": CREATED,
            "model": body["model"],
            "choices": choices,
        }
        if usage:
            prompt = sum(len(words(text(message))) for message in body["messages"])
            completion = len(words(answer(body["messages"])))
            made["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        return made

    # --- how it is steered ---

    async def list_requests(self, _request: Request) -> Response:
        """List every request so far."""
        return JSONResponse({"requests": self._requests})

    async def forget_requests(self, _request: Request) -> Response:
        """Forget the requests so far."""
        self._requests.clear()
        return Response(status_code=204)

    async def let_out(self, request: Request) -> Response:
        """Let so many words out, or all from now on."""
        count = (await request.json())["count"]
        async with self._let_out:
            self._words_left = None if count is None else (self._words_left or 0) + count
            self._let_out.notify_all()
        return Response(status_code=204)

    async def set_fault(self, request: Request) -> Response:
        """Fail from now on in the way that is asked for."""
        self._fault = await request.json()
        return Response(status_code=204)


def choice(delta: Json, finish_reason: str | None) -> Json:
    """Make the only choice of a chunk."""
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def event(data: Json) -> str:
    """Write *data* as a server-sent event."""
    return f"data: {json.dumps(data)}\n\n"


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A stand-in for a model, for trying examples.")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--pause-ms", type=int, default=40, help="before each word (default: 40)")
    options = parser.parse_args()
    model = Model(options.pause_ms)
    if options.port:
        print(f"OPENAI_BASE_URL=http://127.0.0.1:{options.port}/v1", flush=True)
    uvicorn.run(model.app(), port=options.port, log_level="info", access_log=False)


if __name__ == "__main__":
    main()
