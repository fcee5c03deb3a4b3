"""Who is let in: API keys, browsers' origins, and the host that a request names."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fastpaca.testing import composed, running
from tests.kit.app import create, error_of
from tests.kit.requests import body_headers, send

KEYS = ("first-key", "second-key")
APP = "https://app.example.com"


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": value}


@pytest.mark.parametrize(
    "value",
    ["Bearer first-key", "Bearer second-key", "bearer first-key", "BEARER  second-key"],
)
async def test_any_of_the_keys_opens(value: str) -> None:
    """Keys can be rotated: each of several is good, and the scheme is written in any case."""
    async with running(composed(api_keys=KEYS)) as client:
        assert (await client.put("/v1/contexts/c", headers=bearer(value))).status_code == 201


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer first-ke",
        "Bearer first-keyy",
        "Bearer First-key",
        "Bearer first-key second-key",
        "Bearer first-key,second-key",
        "first-key",
        "Basic first-key",
        "Bearerfirst-key",
    ],
)
async def test_nothing_else_opens(value: str) -> None:
    """A wrong key, scheme or spelling is 401, and says what to send."""
    async with running(composed(api_keys=KEYS)) as client:
        answer = await client.put("/v1/contexts/c", headers=bearer(value))
        body = error_of(answer, 401, "unauthorized")
        assert "Bearer" in body["message"]
        assert not any(key in answer.text for key in KEYS)
        assert answer.headers["www-authenticate"] == "Bearer"
        listed = await client.get("/v1/contexts", headers=bearer("Bearer first-key"))
        assert listed.json()["contexts"] == []


async def test_a_key_of_odd_bytes_is_just_wrong() -> None:
    """Bytes beyond ASCII in the header are compared like any others."""
    node = composed(api_keys=KEYS)
    async with running(node):
        headers = [(b"authorization", b"Bearer \xff\xfe\x00")]
        reply = await send(node.app, "GET", b"/v1/contexts", headers=headers)
        assert reply.status == 401


async def test_the_key_is_checked_before_anything_else() -> None:
    """Without a key nobody learns what exists, which paths there are, or which limits."""
    node = composed(api_keys=KEYS, body_bytes_max=10)
    async with running(node):
        for method, path in (
            ("GET", b"/v1/contexts/none"),
            ("GET", b"/nothing"),
            ("GET", b"/v1/contexts/%zz"),
            ("GET", b"/v1/contexts"),
            ("BREW", b"/v1/contexts"),
            ("OPTIONS", b"/v1/contexts"),
            ("GET", b"/metrics"),
            ("POST", b"/backup"),
            ("GET", b"/docs"),
            ("GET", b"/openapi.json"),
        ):
            assert (await send(node.app, method, path)).status == 401, path
        body = b"x" * 100
        reply = await send(
            node.app, "PUT", b"/v1/contexts/c", headers=body_headers(body), pieces=[body]
        )
        assert reply.status == 401


async def test_health_is_open() -> None:
    """Probes need no key; a wrong one does no harm."""
    async with running(composed(api_keys=KEYS)) as client:
        for path in ("/health/live", "/health/ready"):
            for headers in ({}, bearer("Bearer wrong")):
                assert (await client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(("public", "status"), [(False, 401), (True, 200)])
async def test_metrics_are_open_if_the_operator_says_so(public: bool, status: int) -> None:
    """`/metrics` needs the key, unless FASTPACA_METRICS_PUBLIC is set; all else needs it still."""
    async with running(composed(api_keys=KEYS, metrics_public=public)) as client:
        assert (await client.get("/metrics")).status_code == status
        assert (await client.get("/v1/contexts")).status_code == 401


async def test_two_authorization_headers_are_refused() -> None:
    """What a proxy in front may read in another way is not guessed at."""
    async with running(composed(api_keys=KEYS)) as client:
        headers = [("Authorization", "Bearer first-key"), ("Authorization", "Bearer x")]
        answer = await client.get("/v1/contexts", headers=headers)
        error_of(answer, 400, "invalid_request")


# --- origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "null",
        "",
        APP + ".evil.com",
        "http://app.example.com",
        APP + ":1",
    ],
)
@pytest.mark.parametrize("settings", [{}, {"cors_origins": (APP,)}, {"api_keys": KEYS}])
async def test_pages_of_other_origins_are_refused(origin: str, settings: dict[str, Any]) -> None:
    """A browser's `Origin` that is not listed is 403, with and without a key, and does nothing."""
    async with running(composed(**settings)) as client:
        headers = {"Origin": origin, **bearer("Bearer first-key")}
        answer = await client.put("/v1/contexts/c", headers=headers)
        error_of(answer, 403, "forbidden")
        assert "access-control-allow-origin" not in answer.headers
        found = await client.get("/v1/contexts", headers=bearer("Bearer first-key"))
        assert found.json()["contexts"] == []


async def test_listed_pages_can_read_every_answer() -> None:
    """Errors too carry the headers that let a listed page read them; `Vary` is always there."""
    async with running(
        composed(api_keys=KEYS, cors_origins=(APP, "http://localhost:3000"))
    ) as client:
        key = bearer("Bearer first-key")
        for headers, path, status in (
            (key, "/v1/contexts", 200),
            (key, "/v1/contexts/none", 404),
            (key, "/nothing", 404),
            (key, "/v1/contexts?x=1", 400),
            ({}, "/v1/contexts", 401),
        ):
            answer = await client.get(path, headers={**headers, "Origin": APP.upper()})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == APP
            assert "ETag" in answer.headers["access-control-expose-headers"]
            assert answer.headers["vary"] == "Origin"
        without = await client.get("/v1/contexts", headers=key)
        assert without.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in without.headers


async def test_a_preflight_needs_no_key() -> None:
    """A browser asks without the key what it may send; other OPTIONS requests need it."""
    async with running(composed(api_keys=KEYS, cors_origins=(APP,))) as client:
        asks = {"Origin": APP, "Access-Control-Request-Method": "POST"}
        answer = await client.options("/v1/contexts/c/messages", headers=asks)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == APP
        for name in ("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match"):
            assert name in answer.headers["access-control-allow-headers"]
        for name in ("PUT", "PATCH", "DELETE"):
            assert name in answer.headers["access-control-allow-methods"]
        error_of(await client.options("/v1/contexts"), 401, "unauthorized")
        asks.pop("Origin")
        error_of(await client.options("/v1/contexts", headers=asks), 401, "unauthorized")


# --- hosts ------------------------------------------------------------------------------------

OWN_HOSTS = [
    "localhost",
    "LOCALHOST:4000",
    "localhost:",
    "127.0.0.1",
    "127.0.0.1:65535",
    "127.8.9.1:4000",
    "[::1]",
    "[::1]:4000",
]
FOREIGN_HOSTS = [
    "example.com",
    "localhost.example.com",
    "evil.localhost",
    "127.0.0.1.nip.io",
    "127.0.0.1.:4000",
    "192.168.0.1",
    "0.0.0.0",
    "[::]",
    "[::1",
    "::1",
    "2130706433",
    "0x7f.1",
    "localhost:4000:4000",
    "localhost@evil.com",
    "localhost evil",
    "",
    "x" * 300,
]


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_this_machine_is_served(client: httpx.AsyncClient, host: str) -> None:
    """Without a key on loopback, a request may name this machine in any usual way."""
    assert (await client.get("/v1/contexts", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_a_foreign_host_is_refused(client: httpx.AsyncClient, host: str) -> None:
    """Without a key on loopback, a name that a page of the web may own is 403 (DNS rebinding)."""
    answer = await client.put("/v1/contexts/c", headers={"Host": host})
    error_of(answer, 403, "forbidden")
    assert (await client.get("/v1/contexts")).json()["contexts"] == []


async def test_a_request_without_host_is_no_browser() -> None:
    """Browsers always name a host; what names none is let in."""
    node = composed()
    async with running(node) as client:
        await create(client)
        assert (await send(node.app, "GET", b"/v1/contexts/c")).status == 200


@pytest.mark.parametrize("settings", [{"api_keys": KEYS}, {"host": "0.0.0.0"}, {"host": "::"}])
async def test_the_host_does_not_matter_otherwise(settings: dict[str, Any]) -> None:
    """With a key, or on an address that others can reach, a node is served under any name."""
    async with running(composed(**settings)) as client:
        headers = {"Host": "api.example.com", **bearer("Bearer first-key")}
        assert (await client.get("/v1/contexts", headers=headers)).status_code == 200
