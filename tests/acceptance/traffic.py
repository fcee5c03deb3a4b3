"""
The calls that a replay makes, each held to the status and the headers that the contract gives it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx

from tests.acceptance.connection import Connection


class Violation(NamedTuple):
    """One broken rule and how it was broken."""

    rule: str
    detail: str


class Broken(Exception):
    """A rule was broken; the replay of this conversation ends here."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{one.rule}: {one.detail}" for one in violations))
        self.violations = tuple(violations)


def broken(rule: str, detail: str) -> Broken:
    """Return the exception for one broken rule."""
    return Broken([Violation(rule, detail)])


def encode(body: Any) -> bytes:
    """Write *body* as JSON in UTF-8, so that texts travel as they are."""
    return json.dumps(body, ensure_ascii=False).encode()


class Traffic:
    """The calls on one context."""

    def __init__(self, http: Connection, context_id: str) -> None:
        self._http = http
        self._base = f"{http.url}/v1/contexts/{quote(context_id, safe='')}"
        self._urls: dict[str, httpx.URL] = {}
        self._bodies: dict[str, bytes] = {}
        self.context_id = context_id

    def key(self, purpose: str) -> str:
        """Return an idempotency key that no other context uses."""
        return hashlib.blake2b(f"{self.context_id} {purpose}".encode(), digest_size=20).hexdigest()

    async def call(
        self,
        method: str,
        path: str,
        status: int,
        *,
        content: bytes | None = None,
        query: Mapping[str, int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """
        Make one call on the context.

        Raises:
            Broken: The answer has another status, or none came.
        """
        sent = {"Content-Type": "application/json"} if content is not None else {}
        path += f"?{urlencode(query)}" if query else ""
        # Parsing a URL takes httpx longer than the rest of a request.
        if path not in self._urls:
            self._urls[path] = httpx.URL(self._base + path)
        request = httpx.Request(
            method, self._urls[path], content=content, headers={**sent, **(headers or {})}
        )
        try:
            response = await self._http.handle_async_request(request)
        except httpx.TransportError as error:
            raise broken("answer", f"{method} {path}: {error!r}") from error
        if response.status_code != status:
            got = f"{response.status_code} {response.text[:300]}"
            raise broken("answer", f"{method} {path}: {got}, not {status}")
        return response

    async def create(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Create the context, and again: the second time nothing is created."""
        await self.call("PUT", "", 201, content=encode(settings))
        answer = await self.call("PUT", "", 200, content=encode(settings))
        return as_object(answer)

    async def representation(self) -> dict[str, Any]:
        """Read the context's own fields."""
        return as_object(await self.call("GET", "", 200))

    async def append(
        self, content: bytes, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Append; *content* is the whole body."""
        return await self.call("POST", "/messages", 201, content=content, headers=headers)

    async def context(self, budget_tokens: int | None = None) -> httpx.Response:
        """
        Read the LLM context.

        Raises:
            Broken: There is no ETag, or one that was seen with another answer.
        """
        query = None if budget_tokens is None else {"budget_tokens": budget_tokens}
        response = await self.call("GET", "/context", 200, query=query)
        tag = response.headers.get("etag", "")
        digest = hashlib.blake2b(response.content, digest_size=16).digest()
        if not tag or self._bodies.setdefault(tag, digest) != digest:
            raise broken("etag", f"ETag {tag!r} came with another answer before, or is missing")
        return response

    async def expect_unchanged(self, response: httpx.Response) -> None:
        """Ask again for the LLM context: the same bytes, and 304 for whoever has them."""
        query = {key: int(value) for key, value in response.request.url.params.items()}
        again = await self.call("GET", "/context", 200, query=query)
        if again.content != response.content:
            raise broken("determinism", "two reads with nothing between them differ")
        known = {"If-None-Match": response.headers["etag"]}
        answer = await self.call("GET", "/context", 304, query=query, headers=known)
        if answer.content:
            raise broken("etag", "a 304 has a body")

    async def expect_changed(self, old_tag: str) -> None:
        """Ask for the LLM context with the tag of an earlier version: a whole answer comes."""
        await self.call("GET", "/context", 200, headers={"If-None-Match": old_tag})

    async def messages(self, path: str, **query: int) -> dict[str, Any]:
        """Read messages of the log: *path* is `tail` or `messages`."""
        return as_object(await self.call("GET", f"/{path}", 200, query=query))


def as_object(response: httpx.Response) -> dict[str, Any]:
    """
    Read an answer as a JSON object.

    Raises:
        Broken: It is none, or is not called JSON.
    """
    kind = response.headers.get("content-type", "")
    body = json.loads(response.content) if kind.startswith("application/json") else None
    if not isinstance(body, dict):
        raise broken("answer", f"{response.request.url.path} answers no JSON object ({kind})")
    return body


def expect_numbers(what: str, answer: Mapping[str, Any], **expected: int) -> None:
    """
    Hold integer fields of an answer against what they must be.

    Raises:
        Broken: One differs.
    """
    for key, value in expected.items():
        # True is equal to 1 in Python.
        if type(answer.get(key)) is not int or answer[key] != value:
            raise broken("answer", f"{what}: {key} is {answer.get(key)!r}, not {value}")
