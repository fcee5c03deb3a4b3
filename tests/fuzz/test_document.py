"""The OpenAPI document against a served node: what it allows is taken, what it rules out is not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import BaseSchema, Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from fastpaca.api.openapi.document import openapi_bytes
from fastpaca.errors import FastpacaError
from fastpaca.http.messages import HttpRequest, HttpResponse
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import SocketlessNode, composed
from tests.fuzz.effort import Effort
from tests.kit.app import ENDLESS
from tests.kit.http import serving
from tests.kit.messages import HELLO

T = TypeVar("T")

DOCUMENT = json.loads(openapi_bytes())
METHODS = ("get", "put", "post", "patch", "delete")
LABELS = [
    f"{method.upper()} {path}"
    for path, item in DOCUMENT["paths"].items()
    for method in METHODS
    if method in item and item[method]["operationId"] not in ENDLESS
]


class Served:
    """
    A server in a thread of its own, and a node that can be put in place of another.

    Attributes:
        address: Where it is served.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._nodes: list[SocketlessNode] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._stack = AsyncExitStack()
        self.renew()
        found = self._run(self._stack.enter_async_context(serving(self)))
        self.address = f"http://127.0.0.1:{found.port}"

    def _run(self, story: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(story, self._loop).result()

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Let the newest node respond."""
        return await self._nodes[-1].app.respond(request)

    def refuse(self, error: FastpacaError, sent_id: bytes | None, seconds: float) -> HttpResponse:
        """Let the newest node refuse what is not a request."""
        return self._nodes[-1].app.refuse(error, sent_id, seconds)

    def renew(self) -> None:
        """Go on with a new node, which knows nothing."""
        self._run(self._renew())

    async def _renew(self) -> None:
        if self._nodes:
            await self._nodes[-1].engine.stop()
        directory = self._directory / str(len(self._nodes))
        # What is asked here need not outlive the machine.
        node = composed(SqliteStore(directory, synchronous="OFF"), data_dir=directory)
        await node.engine.start()
        self._nodes.append(node)

    def stop(self) -> None:
        """Leave nothing behind."""
        self._run(self._stack.aclose())
        self._run(self._nodes[-1].engine.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve a node."""
    found = Served(tmp_path)
    yield found
    found.stop()


def described(address: str) -> BaseSchema:
    """Read the document that the node at *address* serves, and what it says in words only."""
    document = httpx.get(f"{address}/openapi.json").json()
    # Messages are sent without a format: which one a body has, its schema cannot say.
    document["components"]["schemas"]["SentMessage"] = {"$ref": "#/components/schemas/NewMessage"}
    found = schemathesis.openapi.from_dict(document)
    found.config.update(base_url=address)
    # What was deleted can still be read; see the description of the operation.
    found.config.checks.use_after_free.enabled = False
    # What is ruled out may also be too large.
    found.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
    found.hook("map_body")(lambda _, body: whole(body))
    found.hook("map_query")(lambda context, query: described_form(context, ascending(query)))
    return found.exclude(operation_id=list(ENDLESS))


def whole(value: Any) -> Any:
    """Write 5.0 as 5: a schema takes both for an integer, the API takes only the second."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def ascending(query: Any) -> Any:
    """Leave out a `to_seq` below `from_seq`, which a schema cannot rule out."""
    first, last = (query.get(name) for name in ("from_seq", "to_seq")) if query else (None, None)
    if isinstance(first, int) and isinstance(last, int) and first > last > 0:
        del query["to_seq"]
    return query


def described_form(context: Any, query: Any) -> Any:
    """Leave out the `format` of a body: its messages are sent in the form of fastpaca alone."""
    if query and context.operation.method.upper() in ("POST", "PUT"):
        query.pop("format", None)
    return query


def drawn(address: str, label: str, mode: GenerationMode) -> st.SearchStrategy[Case[Any]]:
    """Give requests for the operation *label*."""
    method, _, path = label.partition(" ")
    return described(address)[path][method].as_strategy(mode)


def excused(response: Any) -> list[Any]:
    """Give the checks that do not fit a *response*: no schema knows how far a context has come."""
    is_excused = response.status_code == 400 and any(
        reason in response.text
        for reason in ("above the current version", "of the path", "on the path", "name that place")
    )
    return [positive_data_acceptance] if is_excused else []


@pytest.mark.parametrize("label", LABELS)
def test_what_is_described_is_taken_and_answered_as_described(
    label: str, served: Served, effort: Effort
) -> None:
    """
    Requests that fit the document are answered with success, or with what a state may answer; and
    the status, headers and body of every answer are described.
    """
    numbers = count()

    @given(drawn(served.address, label, GenerationMode.POSITIVE), st.booleans())
    def holds(case: Case[Any], exists: bool) -> None:
        if exists and "{id}" in label:
            case.path_parameters["id"] = f"context-{next(numbers)}"
            url = f"{served.address}/v1/contexts/{case.path_parameters['id']}"
            httpx.put(url, json={"token_budget": 9}).raise_for_status()
            httpx.post(f"{url}/messages", json={"messages": [HELLO] * 3}).raise_for_status()
        response = case.call()
        case.validate_response(response, excluded_checks=excused(response))

    effort.attack(holds, few=8)


def takes_input(label: str) -> bool:
    """Tell whether there is anything to send that the document rules out."""
    method, _, path = label.partition(" ")
    operation = DOCUMENT["paths"][path][method.lower()]
    in_query = [one for one in operation["parameters"] if one.get("in") == "query"]
    return bool(in_query) or "requestBody" in operation


@pytest.mark.parametrize("label", [label for label in LABELS if takes_input(label)])
def test_what_is_ruled_out_is_refused(label: str, served: Served, effort: Effort) -> None:
    """
    Requests that do not fit the document are refused, in the shape that the document gives errors.
    """

    @given(drawn(served.address, label, GenerationMode.NEGATIVE))
    def holds(case: Case[Any]) -> None:
        case.validate_response(case.call())

    effort.attack(holds, few=8)


def test_contexts_live_as_the_links_say(served: Served, effort: Effort) -> None:
    """
    Whatever follows from what along the links, every answer on the way is described, and a context
    that was put is there until it is purged.
    """
    machine: Any = described(served.address).as_state_machine()

    class Life(machine):  # type: ignore[misc] # made at run time, out of the document
        def setup(self) -> None:
            served.renew()
            self.known: set[str] = set()

        def validate_response(self, response: Any, case: Case[Any], **more: Any) -> None:
            case.validate_response(
                response, excluded_checks=excused(response), recorder=self.recorder
            )
            name = case.path_parameters.get("id", "")
            if case.method == "PUT" and response.status_code < 300:
                self.known.add(name)
            elif case.method == "DELETE":
                self.known.discard(name)
            is_message = "message_id" in case.path_parameters  # which need not be there
            assert response.status_code != 404 or name not in self.known or is_message

    tried = Life if effort.seed is None else hypothesis.seed(effort.seed)(Life)
    run_state_machine_as_test(
        tried,
        settings=hypothesis.settings(
            max_examples=effort.examples(10),
            stateful_step_count=8,
            # What fails is short, and told as commands to paste; to shorten it takes minutes.
            phases=[hypothesis.Phase.reuse, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
