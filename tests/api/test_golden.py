"""The golden requests and responses of `tests/wire`, played against the application."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastpaca.store.base import Store
from fastpaca.store.memory import MemoryStore
from fastpaca.store.postgres.store import PostgresStore
from fastpaca.store.sqlite.store import SqliteStore
from fastpaca.testing import composed
from tests.archive.world import Eager, archived
from tests.kit.app import run

WIRE = Path(__file__).parent.parent / "wire"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ETAG = re.compile(r"<etag:(\w+)>")


def stories() -> list[Any]:
    return [
        pytest.param(story, id=f"{file.stem}: {story['story']}")
        for file in sorted(WIRE.glob("*.json"))
        if file.name not in ("cuts.json", "shapes.json")
        for story in json.loads(file.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("story", stories())
@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres", "oldest postgres", "archived"])
def test_golden_story(
    story: dict[str, Any], kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every golden request has its golden response: status, headers and body, on every store."""
    store = make_store(kind, tmp_path, request)
    given = story.get("settings", {})
    settings: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
    }

    async def play(client: httpx.AsyncClient) -> None:
        etags: dict[str, str] = {}
        for step in story["steps"]:
            asked, expected = step["request"], step["response"]
            response = await send(client, asked, etags)
            where = f"{asked['method']} {asked['path']}: {response.text[:500]}"
            assert response.status_code == expected["status"], where
            check_headers(response, expected.get("headers", {}), etags)
            if "json" in expected:
                assert response.headers["content-type"] == "application/json", where
                assert matches(expected["json"], json.loads(response.content)), where
            else:
                assert matches(expected["text"], response.text), where

    run(play, composed(store, **settings))


def make_store(kind: str, directory: Path, request: pytest.FixtureRequest) -> Store:
    """Make a new store; a database only if one is asked for."""
    if "postgres" in kind:
        dsn = request.getfixturevalue("oldest_dsn" if "oldest" in kind else "fast_dsn")
        return PostgresStore(dsn, allow_unsafe=True)
    if kind == "archived":  # and trimmed to nothing behind each commit
        return archived(directory, request.getfixturevalue("fast_dsn"), kind=Eager)
    return SqliteStore(directory) if kind == "sqlite" else MemoryStore()


async def send(
    client: httpx.AsyncClient, request: dict[str, Any], etags: dict[str, str]
) -> httpx.Response:
    headers = {
        name: ETAG.sub(lambda found: etags[found[1]], value)
        for name, value in request.get("headers", {}).items()
    }
    content = None
    if "json" in request:
        content = json.dumps(request["json"], ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **headers}
    elif "text" in request:
        content = request["text"].encode()
    return await client.request(
        request["method"], request["path"], content=content, headers=headers
    )


def check_headers(
    response: httpx.Response, expected: dict[str, str | None], etags: dict[str, str]
) -> None:
    assert response.headers["x-request-id"]
    for name, value in expected.items():
        found = response.headers.get(name)
        if value is None or found is None:
            assert found is value, name
        elif named := ETAG.fullmatch(value):
            assert etags.setdefault(named[1], found) == found
            assert list(etags.values()).count(found) == 1, "two views have one ETag"
        else:
            assert matches(value, found), name


def matches(expected: Any, found: Any) -> bool:
    """Compare JSON values, types included, with the placeholders of `tests/wire/README.md`."""
    if isinstance(expected, str) and isinstance(found, str):
        if expected == "<time>":
            return TIME.fullmatch(found) is not None
        pattern = ".*".join(map(re.escape, expected.split("<any>")))
        return re.fullmatch(pattern, found, re.DOTALL) is not None
    if type(expected) is not type(found):
        return False
    if isinstance(expected, dict):
        return list(expected) == list(found) and all(
            matches(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(matches, expected, found))
    return bool(expected == found)
