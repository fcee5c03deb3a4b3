"""The stories of `tests/wire/sdk_*.json`: how their calls are made, and what is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import msgspec
import pytest

from fastpaca import AsyncContext, AsyncFastpaca, Fastpaca, FastpacaError
from fastpaca.client.aio import PendingContext
from tests.api.test_golden import matches

WIRE = Path(__file__).parent.parent / "wire"

TIME = "2026-01-05T09:30:00.000000Z"

NAMED = {("messages", "messages"), ("id", "put")}
"""What is no positional argument of a verb, though it is one of others."""

Json = Any


def stories() -> list[Any]:
    """All stories of the SDKs, as parameters."""
    return [
        pytest.param(story, id=f"{file.stem}: {story['story']}")
        for file in sorted(WIRE.glob("sdk_*.json"))
        for story in json.loads(file.read_text(encoding="utf-8"))
    ]


class Told:
    """
    One call of a story.

    Attributes:
        verb: What is called.
        steps: The requests that it takes, each with its faults and its response.
    """

    def __init__(self, steps: list[Json]) -> None:
        call = steps[0]["call"]
        self.verb: str = call["verb"]
        self.steps = steps
        self._context: str | None = call.get("context")
        self._arguments: dict[str, Any] = dict(call["arguments"])
        self._outcome = steps[-1]

    @property
    def is_made_of_faults(self) -> bool:
        """Whether it comes to what it does by answers that were made up."""
        return any("request" in fault for step in self.steps for fault in step.get("faults", ()))

    def made_on(self, client: Fastpaca | AsyncFastpaca) -> Any:
        """Make the call on *client*; what it gives is to be awaited or iterated still."""
        arguments = dict(self._arguments)
        positional = [
            arguments.pop(name)
            for name in ("id", "message", "messages", "changes", "replacement")
            if name in arguments and (name, self.verb) not in NAMED
        ]
        if self.verb == "compact_if_needed":
            summary = arguments.pop("summary")
            positional.append(lambda _: summary)
        if self._context is None:
            return getattr(client, self.verb)(*positional, **arguments)
        if isinstance(client, Fastpaca):
            return getattr(client.context(self._context), self.verb)(*positional, **arguments)
        handle = awaited_at_once(client.context(self._context))
        return getattr(handle, self.verb)(*positional, **arguments)

    def check_value(self, value: object) -> None:
        """Hold what was returned against the story."""
        assert "value" in self._outcome, value
        check_shown(self._outcome["value"], plain(value))

    def check_values(self, values: list[Any]) -> None:
        """Hold what an iterator gave against the story."""
        check_shown(self._outcome["values"], [plain(value) for value in values])

    def check_error(self, error: FastpacaError) -> None:
        """Hold what was raised against the story."""
        assert "error" in self._outcome, repr(error)
        for name, expected in self._outcome["error"].items():
            assert getattr(error, name) == expected
            if name not in ("code", "status"):
                assert error.fields[name] == expected


def awaited_at_once(opening: PendingContext) -> AsyncContext:
    """Give a handle that nothing is sent for."""
    with pytest.raises(StopIteration) as done:
        opening.__await__().send(None)
    handle: AsyncContext = done.value.value
    return handle


def told(story: Json) -> list[Told]:
    """Take a story apart into its calls."""
    calls: list[list[Json]] = []
    for step in story["steps"]:
        if "call" in step:
            calls.append([])
        calls[-1].append(step)
    return [Told(steps) for steps in calls]


def plain(value: object) -> Json:
    """Give a value as JSON has it, a frame with its type."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if hasattr(value, "configure"):
        return {"id": value.id}  # type: ignore[attr-defined]  # a handle of either client
    return value


def check_shown(shown: Json, found: Json) -> None:
    """Compare lists whole, and of objects the fields that are shown."""
    if isinstance(shown, dict) and isinstance(found, dict):
        for name, value in shown.items():
            check_shown(value, found.get(name))
    elif isinstance(shown, list) and isinstance(found, list):
        assert len(shown) == len(found), (shown, found)
        for one, other in zip(shown, found, strict=True):
            check_shown(one, other)
    else:
        assert shown == found


class Script:
    """A node that answers as a story tells, faults included, and checks what it is asked."""

    def __init__(self) -> None:
        self._attempts: list[tuple[Json, Json]] = []
        self._keys: dict[str, str] = {}

    def expect(self, call: Told) -> None:
        """Go on with *call*."""
        assert not self._attempts, "a call sent fewer requests than told"
        for step in call.steps:
            for fault in step.get("faults", ()):
                self._attempts.append((fault.get("request", step["request"]), fault))
            self._attempts.append((step["request"], step["response"]))

    def done(self) -> None:
        """Check that all was asked for."""
        assert not self._attempts

    def answer(self, request: httpx.Request, body: bytes) -> Json:
        """Check *request* and give what it meets."""
        assert self._attempts, f"one request too many: {request.method} {request.url}"
        expected, outcome = self._attempts.pop(0)
        assert request.method == expected["method"]
        assert taken_apart(request.url.raw_path.decode()) == taken_apart(expected["path"])
        if "json" in expected:
            assert request.headers["content-type"] == "application/json"
            check_same(filled(expected["json"]), json.loads(body))
        else:
            assert body == b""
        for name, value in expected.get("headers", {}).items():
            self._check_header(value, request.headers[name])
        return outcome

    def _check_header(self, expected: str, found: str) -> None:
        if not expected.startswith("<key:"):
            assert found == expected
            return
        assert self._keys.setdefault(expected, found) == found
        assert len(set(self._keys.values())) == len(self._keys), "two calls share a key"


def check_same(expected: Json, found: Json) -> None:
    """Compare JSON, types and order of keys included."""
    assert matches(expected, found), (expected, found)


def taken_apart(target: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Decode a path segment by segment, and a query in any order."""
    path, _, query = target.partition("?")
    return [unquote(segment) for segment in path.split("/")], sorted(parse_qsl(query))


def filled(value: Json) -> Json:
    """Put something in the place of each placeholder."""
    text = json.dumps(value).replace("<time>", TIME).replace("<any>", "any")
    return json.loads(text)


def body_of(outcome: Json) -> bytes:
    """Write the body of an answer."""
    if "json" in outcome:
        return json.dumps(filled(outcome["json"])).encode()
    text: str = outcome.get("text", "")
    return text.replace("<any>", "any").encode()


class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes byte by byte, and may break off."""

    def __init__(self, body: bytes, *, breaks: bool) -> None:
        self._body = body
        self._breaks = breaks

    def __iter__(self) -> Any:
        for at in range(0, len(self._body), 7):
            yield self._body[at : at + 7]
        if self._breaks:
            raise httpx.RemoteProtocolError("the connection was cut")

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece


class Scripted(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The way to a `Script`, for both clients."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        outcome = self._script.answer(request, request.read())
        if "status" not in outcome:
            raise httpx.ReadError("the connection was cut")
        headers = {"content-type": "application/json", **outcome.get("headers", {})}
        stream = Cut(body_of(outcome), breaks=outcome.get("cut", False))
        return httpx.Response(outcome["status"], headers=headers, stream=stream)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)
