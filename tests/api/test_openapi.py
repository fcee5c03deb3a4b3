"""The OpenAPI document and its page: true to the application, valid, and harmless to look at."""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from fastpaca import errors
from fastpaca.api.app import App
from fastpaca.api.errors import STATUS
from fastpaca.api.openapi.document import docs_page, openapi_bytes
from fastpaca.api.routes import Route
from fastpaca.testing import composed
from tests.api.test_golden import send, stories
from tests.kit.app import ENDLESS, run
from tests.kit.messages import user

SPEC = json.loads(openapi_bytes())
METHODS = ("get", "put", "post", "patch", "delete")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in SPEC["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, as far as it is nothing but that."""
    if set(value) != {"$ref"}:
        return value
    found: Any = SPEC
    for step in value["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return resolved(found)


def check(schema: dict[str, Any], value: object) -> None:
    """Hold *value* against a schema that refers to others of the document."""
    OAS31Validator({**schema, "components": SPEC["components"]}).validate(value)


def routes() -> list[Route]:
    app = composed().app
    assert isinstance(app, App)
    found = app._routes
    assert found._of_message is not None
    return [*found._fixed.values(), *found._of_context.values(), found._of_message]


# --- the document -----------------------------------------------------------------------------


def test_document_is_valid() -> None:
    """It is OpenAPI 3.1, down to the schemas."""
    OpenAPIV31SpecValidator(SPEC).validate()


def test_document_has_the_routes_of_the_application() -> None:
    """Every path and method is described, no other, and so is whether it needs a key."""
    described = {
        (path, method.upper(), operation.get("security") == [])
        for path, method, operation in operations()
    }
    served = {
        (route.path, method, route.is_open) for route in routes() for method in route.handlers
    }
    assert described == served


def test_document_has_every_error() -> None:
    """The list of errors is that of the code, with the status of each."""
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.FastpacaError) and kind is not errors.FastpacaError
    ]
    expected = {
        (next(STATUS[base] for base in kind.__mro__ if base in STATUS), kind.code) for kind in kinds
    }
    assert {(error["status"], error["error"]) for error in SPEC["x-errors"]} == expected


def test_operations_are_named_once() -> None:
    """Generated clients get one method for each operation, and every group is explained."""
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in SPEC["tags"]}
    assert {tag for _, _, operation in operations() for tag in operation["tags"]} == tags


def test_links_lead_to_what_takes_an_id() -> None:
    """A context that was put leads to every operation on one context, an append to its reading."""
    on_one = {found["operationId"] for path, _, found in operations() if "{id}" in path}
    assert {"readMessages", "readTail", "readWindow"} < links("appendMessages", "201")
    for status in ("200", "201"):
        assert links("putMessage", status) == links("appendMessages", "201") | {"getMessage"}
    assert links("compactWindow", "200") == {"readWindow"}
    for status in ("200", "201"):
        assert links("putContext", status) == on_one - {*ENDLESS, "getMessage"}


def links(name: str, status: str) -> set[str]:
    """Give the operations that *status* of the operation *name* leads to."""
    (found,) = (one for _, _, one in operations() if one["operationId"] == name)
    return {link["operationId"] for link in found["responses"][status]["links"].values()}


def test_parameters_in_the_path_are_described() -> None:
    """What stands in braces is a parameter, and every one of them stands in its path."""
    for path, _, operation in operations():
        shared = SPEC["paths"][path].get("parameters", [])
        parameters = [resolved(one) for one in [*shared, *operation["parameters"]]]
        in_path = [one["name"] for one in parameters if one["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)


def test_examples_fit_their_schemas() -> None:
    """Every example of a body, an answer or an error is one."""
    count = 0
    for _, _, operation in operations():
        described = [resolved(response) for response in operation["responses"].values()]
        for value in [operation.get("requestBody", {}), *described]:
            for media in value.get("content", {}).values():
                named = media.get("examples", {}).values()
                examples = [example["value"] for example in named] + [
                    media[name] for name in ("example",) if name in media
                ]
                for example in examples:
                    check(media["schema"], example)
                    count += 1
    assert count > 50


async def test_examples_of_bodies_are_taken(client: httpx.AsyncClient) -> None:
    """Who pastes an example from the page gets what the page says."""
    await client.put("/v1/contexts/chat-42")
    for path, method, operation in operations():
        content = operation.get("requestBody", {}).get("content", {})
        for example in content.get("application/json", {}).get("examples", {}).values():
            body = {**example["value"]}
            body.pop("if_version", None)
            url = path.replace("{id}", "chat-42").replace("{message_id}", "msg-7")
            response = await client.request(method, url, json=body)
            assert response.status_code in {200, 201}, response.text


# --- real answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("story", stories())
def test_golden_answers_are_as_described(story: dict[str, Any]) -> None:
    """Every answer to a golden request has a status, headers and a body that are described."""
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in story.get("settings", {}).items()
    }

    async def play(client: httpx.AsyncClient) -> None:
        etags: dict[str, str] = {}
        for step in story["steps"]:
            response = await send(client, step["request"], etags)
            for name, value in step["response"].get("headers", {}).items():
                if value is not None and value.startswith("<etag:"):
                    etags[value[6:-1]] = response.headers[name]
            check_answer(response)

    run(play, composed(**settings))


def check_answer(response: httpx.Response) -> None:
    method = response.request.method.lower()
    operation = described(response.request)
    if operation is None:
        codes = {error["error"] for error in SPEC["x-errors"]}
        assert response.status_code in {204, 400, 401, 403, 404, 405}
        assert not response.content or response.json()["error"] in codes
        return
    answer = resolved(operation["responses"][str(response.status_code)])
    for name, reference in answer["headers"].items():
        header = resolved(reference)
        assert name in response.headers or not header.get("required"), name
    content = answer.get("content")
    if content is None or method == "head":
        assert response.content == b""
        return
    kind = response.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        check(content[kind]["schema"], response.json())
    else:
        assert kind in content


def described(request: httpx.Request) -> dict[str, Any] | None:
    """Find what the document says about a request; nothing about what is not there."""
    raw = request.url.raw_path.decode().partition("?")[0]
    path = re.sub(r"(?<=^/v1/contexts/)[^/]+", "{id}", raw)
    path = re.sub(r"(?<=/messages/)[^/]+$", "{message_id}", path)
    method = "get" if request.method == "HEAD" else request.method.lower()
    found: dict[str, Any] | None = SPEC["paths"].get(path, {}).get(method)
    return found


async def test_whole_answers_are_as_described(client: httpx.AsyncClient) -> None:
    """A context that lives through everything is answered as described, status by status."""
    path = "/v1/contexts/a"
    hello = user("Hello")
    both = {"messages": [hello, {**hello, "id": 1, "mine": None}]}
    key = {"Idempotency-Key": "k"}
    reads = ("", "/messages", "/tail", "/context", "/context?budget_tokens=300")
    answers = [
        await client.put(path, json={"policy": {"strategy": "skip_parts"}}),
        await client.put(path, json={"token_budget": 0}),
        await client.post(f"{path}/messages", json={"message": hello}, headers=key),
        await client.post(f"{path}/messages", json={"message": hello}, headers=key),
        await client.post(f"{path}/messages", json=both, headers=key),
        await client.post(f"{path}/messages", json=both),
        await client.post(f"{path}/messages", json={**both, "if_version": 1}),
        await client.post(f"{path}/messages", content=b"{", headers={"Content-Type": "a/b"}),
        await client.put(f"{path}/messages/m", json={"message": hello}, headers={**key}),
        await client.put(f"{path}/messages/m", json={"message": hello}),
        await client.put(f"{path}/messages/m", json={"message": user("Hello again")}),
        await client.put(f"{path}/messages/m", json={"message": {**hello, "role": "assistant"}}),
        await client.get(f"{path}/messages/m"),
        await client.get(f"{path}/messages/none"),
        await client.get(f"{path}/messages?path=current"),
        await client.get(f"{path}/tail?path=current"),
        await client.post(f"{path}/rewind", json={"to_version": 1}),
        await client.post(f"{path}/rewind", json={"to_seq": 1, "to_version": 1}),
        await client.post(f"{path}/fork", json={"id": "b", "at_version": 1}),
        await client.post(f"{path}/fork", json={"id": "b"}),
        await client.get(f"{path}/compactions"),
        await client.post(f"{path}/compact", json={"replacement": [hello]}),
        await client.patch(f"{path}/metadata", json={"metadata": {"a": 1.0}}),
        *[await client.get(path + place) for place in reads],
        await client.get("/v1/contexts"),
        await client.get("/health/live"),
        await client.get("/health/ready"),
        await client.get("/metrics"),
        await client.get("/openapi.json"),
        await client.get("/docs"),
        await client.post("/backup"),
        await client.delete(path),
        await client.put(path, json={"token_budget": 9}),
        await client.delete(f"{path}?purge=true"),
        await client.put(path),
        await client.get(path),
    ]
    for answer in answers:
        check_answer(answer)
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 201, 204, 400, 404, 409, 415, 503}


# --- the page ---------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Notes the tags of a page, and what scripts and styles hold."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.held: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag = self.seen[-1][0] if self.seen else ""
        if tag in {"script", "style"} and data.strip():
            self.held[tag] = self.held.get(tag, "") + data


def parsed_page() -> Tags:
    tags = Tags()
    tags.feed(docs_page()[0].decode())
    return tags


def test_page_needs_nothing_else() -> None:
    """It loads no script, style, font or image from anywhere, and links to nothing foreign."""
    tags = parsed_page()
    for tag, attributes in tags.seen:
        assert "src" not in attributes
        assert attributes.get("href") in {None, "data:,", "openapi.json"}, tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    text = docs_page()[0].decode()
    assert "://" not in text
    assert "@import" not in text


def test_page_runs_its_own_script_only() -> None:
    """The policy names the hashes of the one script and the one style that are in the page."""
    headers = dict(docs_page()[1])
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in headers[b"content-security-policy"].decode().split(";")
    )
    held = parsed_page().held
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(held[tag].encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_page_puts_everything_in_as_text() -> None:
    """Nothing of the document is ever read as HTML, and the key is kept nowhere."""
    script = parsed_page().held["script"]
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert name not in script
    for name in ("localStorage", "sessionStorage", "document.cookie", "indexedDB"):
        assert name not in script
