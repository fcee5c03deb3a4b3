"""Errors over HTTP: one shape at every status, and nothing of the inside in any."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from fastpaca import errors
from fastpaca.api.errors import STATUS, response, status_of
from fastpaca.errors import FastpacaError, InternalError, InvalidRequest
from fastpaca.store.base import CommitFailed, CommitUnknown, ReadFailed
from fastpaca.testing import composed, running
from tests.kit.app import append, create, error_of, run
from tests.kit.messages import HELLO
from tests.kit.requests import send
from tests.kit.stores import ScriptedStore

ROUTES = {
    "/v1/contexts": {"GET"},
    "/v1/contexts/c": {"GET", "PUT", "DELETE"},
    "/v1/contexts/c/metadata": {"PATCH"},
    "/v1/contexts/c/messages": {"GET", "POST"},
    "/v1/contexts/c/tail": {"GET"},
    "/v1/contexts/c/context": {"GET"},
    "/v1/contexts/c/compact": {"POST"},
    "/health/live": {"GET"},
    "/health/ready": {"GET"},
    "/metrics": {"GET"},
    "/backup": {"POST"},
    "/openapi.json": {"GET"},
    "/docs": {"GET"},
}


def kinds(kind: type[FastpacaError]) -> Iterator[type[FastpacaError]]:
    if kind.__module__ == FastpacaError.__module__:  # else it is a client's own
        yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def test_every_error_has_a_status() -> None:
    """Each class of error is in the table, or its parent is; only a defect is 500."""
    for kind in kinds(FastpacaError):
        if kind is not FastpacaError:
            found = next(base for base in kind.__mro__ if base in STATUS)
            assert (STATUS[found] == 500) == (kind is InternalError), kind


def test_every_error_has_the_documented_body() -> None:
    """`error` is the code, `message` a sentence, and fields stand beside them."""
    made = [
        InvalidRequest("Wrong.", "message.parts[2].type"),
        errors.MethodNotAllowed("PUT", ("GET",)),
        errors.VersionConflict(83, 84),
        *(kind() for kind in (errors.NotFound, errors.OutcomeUnknown, errors.HeadersTooLarge)),
    ]
    bodies = [response(error) for error in made]
    assert bodies[0].body == (
        b'{"error":"invalid_request","message":"Wrong.","field":"message.parts[2].type"}'
    )
    assert bodies[2].body == (
        b'{"error":"conflict","message":"Context version changed (expected 83, found 84)",'
        b'"expected":83,"found":84}'
    )
    assert [one.status for one in bodies] == [400, 405, 409, 404, 503, 431]
    assert status_of(errors.ContextNotFound()) == 404


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"]
)
async def test_every_route_says_what_it_answers(path: str, method: str) -> None:
    """Other methods are 405 with `Allow`; HEAD goes where GET does; OPTIONS names the methods."""
    known = ROUTES[path]
    allowed = known | ({"HEAD"} if "GET" in known else set()) | {"OPTIONS"}
    node = composed()
    async with running(node):
        reply = await send(node.app, method, path.encode())
        if method not in allowed:
            assert reply.status == 405
            assert method == "HEAD" or reply.json()["error"] == "method_not_allowed"
        else:
            assert reply.status not in (404, 405) or "c" in path
        if method == "OPTIONS":
            assert (reply.status, reply.body) == (204, b"")
        if method == "OPTIONS" or reply.status == 405:
            assert set(reply.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", [path for path, methods in ROUTES.items() if "GET" in methods])
async def test_head_is_get_without_the_body(path: str) -> None:
    """HEAD has the status and headers of GET, its length included, and no body."""
    node = composed()
    async with running(node) as client:
        await create(client)
        await append(client, HELLO)
        headers = [(b"x-request-id", b"same")]
        for one in (path, path.replace("/c", "/none") if "/c" in path else path + "/none"):
            got = await send(node.app, "GET", one.encode(), headers=headers)
            head = await send(node.app, "HEAD", one.encode(), headers=headers)
            assert head.status == got.status
            assert head.body == b""
            if path != "/metrics":  # which counts the requests themselves
                assert head.headers == got.headers


@pytest.mark.parametrize("sent", ["a", "A-z_0.9:x", "x" * 128])
async def test_a_sane_request_id_comes_back(client: httpx.AsyncClient, sent: str) -> None:
    """Every answer carries the caller's request id, errors and empty answers too."""
    await create(client)
    for method, path in (
        ("GET", "/v1/contexts/c"),
        ("GET", "/nothing"),
        ("DELETE", "/v1/contexts/c"),
        ("OPTIONS", "/v1/contexts"),
        ("POST", "/v1/contexts/c/messages"),
        ("GET", "/metrics"),
    ):
        answer = await client.request(method, path, headers={"X-Request-Id": sent})
        assert answer.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", " ", "a b", "x" * 129, 'a"b', "é", "a\tb", "<script>"])
async def test_other_request_ids_are_replaced(client: httpx.AsyncClient, sent: str) -> None:
    """What could break a log line is not repeated; each such request gets an id of its own."""
    seen = set()
    for _ in range(3):
        headers = {"X-Request-Id": sent.encode()}
        answer = await client.get("/health/live", headers=headers)  # type: ignore[arg-type]  # httpx takes bytes
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 3
    assert sent not in seen


def test_a_defect_is_500_and_says_nothing_of_the_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unexpected error is logged once with the request id, and answered with that id only."""
    store = ScriptedStore()
    store.load_error = RuntimeError("the password is hunter2")
    node = composed(store)

    async def story(client: httpx.AsyncClient) -> None:
        answer = await client.get("/v1/contexts/c", headers={"X-Request-Id": "req-1"})
        body = error_of(answer, 500, "internal_error")
        assert "req-1" in body["message"]
        assert "hunter2" not in answer.text
        assert "RuntimeError" not in answer.text
        assert set(body) == {"error", "message"}

    with caplog.at_level(logging.INFO):
        run(story, node)
    records = [record for record in caplog.records if record.name.startswith("fastpaca.api")]
    assert [record.__dict__["request_id"] for record in records] == ["req-1"]
    assert records[0].exc_info is not None


async def test_a_store_that_cannot_commit_is_503_and_changes_nothing() -> None:
    """A commit that certainly failed is `unavailable`, with Retry-After; then all is as before."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        await create(client)
        store.commit_error = CommitFailed("disk full")
        path = "/v1/contexts/c/messages"
        answer = await client.post(path, json={"message": HELLO}, headers={"Idempotency-Key": "k"})
        error_of(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await client.get("/v1/contexts/c")).json()["version"] == 0
        store.commit_error = None
        answer = await client.post(path, json={"message": HELLO}, headers={"Idempotency-Key": "k"})
        assert answer.json()["seq"] == 1


async def test_a_commit_of_unknown_outcome_is_said_so() -> None:
    """A commit that may have happened is `outcome_unknown`, with Retry-After."""
    store = ScriptedStore()
    async with running(composed(store)) as client:
        await create(client)
        store.commit_error = CommitUnknown("connection lost", fatal=False)
        answer = await client.post("/v1/contexts/c/messages", json={"message": HELLO})
        error_of(answer, 503, "outcome_unknown")
        assert answer.headers["retry-after"] == "1"


async def test_a_store_that_cannot_be_read_is_503() -> None:
    """Reads and writes of a context that cannot be loaded are `unavailable`."""
    store = ScriptedStore()
    store.load_error = ReadFailed("I/O error")
    async with running(composed(store)) as client:
        for method, path in (("GET", ""), ("GET", "/context"), ("GET", "/tail"), ("PUT", "")):
            answer = await client.request(method, f"/v1/contexts/c{path}")
            error_of(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "1"


SECRET = "connection to the remote node worker-3.internal:5432 failed"

READS = (
    *("load", "load_at", "load_since", "messages", "messages_before", "changes"),
    *("compactions", "contexts", "answers", "revisions"),
)


class FailingStore(ScriptedStore):
    """A store whose methods fail with the errors in *failures*, if there is one for them."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, Exception] = {}

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        error = None if name == "failures" else self.failures.get(name) if callable(found) else None
        return found if error is None else partial(_fail, error)


async def _fail(error: Exception, *_: object, **_more: object) -> None:
    raise error


@pytest.mark.parametrize(
    "commit_error",
    [CommitFailed(SECRET), CommitUnknown(SECRET, fatal=False), RuntimeError(SECRET)],
    ids=["failed", "unknown", "fatal"],
)
def test_no_body_says_what_a_database_said(
    commit_error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails in the store, the answer names no server; the log does."""
    store = FailingStore()

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await append(client, HELLO, HELLO)
        store.failures = dict.fromkeys(READS, ReadFailed(SECRET)) | {"commit": commit_error}
        key = {"Idempotency-Key": "k"}
        answers = [
            await client.get("/v1/contexts/other"),
            await client.get("/v1/contexts"),
            await client.get("/v1/contexts/c/tail"),
            await client.get("/v1/contexts/c/messages"),
            await client.get("/v1/contexts/c/compactions"),
            await client.get("/v1/contexts/c/context", params={"at_version": 1}),
            await client.put("/v1/contexts/other"),
            await client.post("/v1/contexts/c/messages", json={"message": HELLO}, headers=key),
            await client.post("/v1/contexts/c/messages", json={"message": HELLO}),
            await client.post("/v1/contexts/c/messages", json={"message": HELLO}),
            await client.patch("/v1/contexts/c/metadata", json={"metadata": {"a": 1}}),
            await client.delete("/v1/contexts/c"),
            await client.delete("/v1/contexts/c", params={"purge": "true"}),
        ]
        assert {found.status_code for found in answers} == {503}
        answers += [await client.get(f"/health/{kind}") for kind in ("live", "ready")]
        assert not any("worker-3" in found.text for found in answers)

    run(story, composed(store))
    assert SECRET in caplog.text
