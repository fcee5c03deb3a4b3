"""
The providers of models, as one HTTP server: each request is answered with a response of `provided`.

It answers as a whole or as a stream of events, so the providers' own packages can be used as users
use them. `environment` makes them find it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.kit.provided import ANTHROPIC, CHAT, GEMINI, RESPONSES

Json = dict[str, Any]

_PATHS: Final[Mapping[str, Json]] = {
    "/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/v1/messages": ANTHROPIC,
    ":generateContent": GEMINI,
    ":streamGenerateContent": GEMINI,
}


class Providers:
    """
    A server, while it runs.

    Attributes:
        address: Where it listens.
        sent: The bodies of all requests.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent: list[Json] = []

    @property
    def environment(self) -> dict[str, str]:
        """What the packages read from the environment."""
        return {
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": self.address,
            "ANTHROPIC_API_KEY": "k",
            "ANTHROPIC_BASE_URL": self.address,
            "GEMINI_API_KEY": "k",
            "GOOGLE_GEMINI_BASE_URL": self.address,
        }


@contextmanager
def providers() -> Iterator[Providers]:
    """Serve in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.sent.append(body)
            path = self.path.partition("?")[0]
            response = next(said for end, said in _PATHS.items() if path.endswith(end))
            if body.get("stream"):
                self._send("text/event-stream", b"".join(map(_event, _events(path, response))))
            else:
                self._send("application/json", json.dumps(response).encode())

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server = Providers(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def _event(data: Json) -> bytes:
    return f"event: {data.get('type', 'message')}\ndata: {json.dumps(data)}\n\n".encode()


def _events(path: str, response: Json) -> Iterator[Json]:
    if path.endswith("/chat/completions"):
        return _chat_events(response)
    return _anthropic_events(response) if "messages" in path else _responses_events(response)


def _chat_events(completion: Json) -> Iterator[Json]:
    common = {key: completion[key] for key in ("id", "created", "model")}
    common["object"] = "chat.completion.chunk"
    (choice,) = completion["choices"]
    message = choice["message"]
    calls = [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f"{word} "} for word in message["content"].split()]
    deltas += [{"tool_calls": calls}]
    for delta in deltas:
        yield {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield {**common, "choices": [end]}
    yield {**common, "choices": [], "usage": completion["usage"]}


def _anthropic_events(message: Json) -> Iterator[Json]:
    start = {**message, "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(message["content"]):
        empty: Json
        if block["type"] == "tool_use":
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        elif block["type"] == "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        else:
            empty = {**block, "text": ""}
            deltas = [{"type": "text_delta", "text": block["text"]}]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    yield {"type": "message_delta", "delta": end, "usage": usage}
    yield {"type": "message_stop"}


def _responses_events(response: Json) -> Iterator[Json]:
    started = {**response, "status": "in_progress", "output": [], "usage": None}
    number = 0
    yield {"type": "response.created", "response": started, "sequence_number": number}
    for index, item in enumerate(response["output"]):
        for kind in ("added", "done"):
            number += 1
            yield {
                "type": f"response.output_item.{kind}",
                "output_index": index,
                "item": item,
                "sequence_number": number,
            }
    yield {"type": "response.completed", "response": response, "sequence_number": number + 1}
