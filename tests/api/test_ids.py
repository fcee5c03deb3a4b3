"""Context ids on their way through the path: any text that can be an id arrives as it was meant."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.testing import composed, running
from tests.kit.app import append, create, error_of, run
from tests.kit.messages import user
from tests.kit.requests import send

IDS = [
    "a",
    "A",
    "a/b",
    "/",
    "//",
    "a b",
    " ",
    "a+b",
    "%",
    "%2F",
    "%252F",
    "a?b=c",
    "a#b",
    "a;b",
    "a:b@c",
    "~user",
    "...",
    ".a",
    "..a",
    "\\",
    "\"'<>{}|^`",
    "\x01\x1f\x7f",
    "line\nbreak\r\n",
    "a/../b",
    "a/./b",
    "../a",
    "a/..",
    "%2e%2e",
    "messages",
    "context",
    "contexts/x/messages",
    "ü",
    "ü",
    "你好",
    "مرحبا",
    "👩‍👩‍👧",
    "\ufeff",
    "\uffff",
    "x" * 512,
    "é" * 256,
]


@pytest.mark.parametrize("context_id", IDS, ids=range(len(IDS)))
async def test_any_text_is_an_id(client: httpx.AsyncClient, context_id: str) -> None:
    """What a client percent-encodes is the id, on every route, and comes back as it is."""
    path = quote(context_id, safe="")
    await create(client, path)
    assert (await client.get(f"/v1/contexts/{path}")).json()["id"] == context_id
    await append(client, user("Hi"), context_id=path)
    for place in ("tail", "messages", "context"):
        found = await client.get(f"/v1/contexts/{path}/{place}")
        assert len(found.json()["messages"]) == 1, place
    page = (await client.get("/v1/contexts", params={"prefix": context_id})).json()
    assert [one["id"] for one in page["contexts"]] == [context_id]
    after = (await client.get("/v1/contexts", params={"after": context_id})).json()
    assert after["contexts"] == []
    assert (await client.delete(f"/v1/contexts/{path}")).status_code == 204


@given(st.text(min_size=1, max_size=170).filter(lambda t: "\0" not in t and t not in (".", "..")))
def test_ids_round_trip(context_id: str) -> None:
    """There is no text between 1 and 512 bytes, NUL and dots aside, that is not an id."""

    async def story(client: httpx.AsyncClient) -> None:
        path = "/v1/contexts/" + quote(context_id, safe="")
        assert (await client.put(path)).json()["id"] == context_id
        assert (await client.get(path)).status_code == 200

    run(story)


async def test_ids_differ_by_their_bytes(client: httpx.AsyncClient) -> None:
    """Ids are case-sensitive, and two forms of one character are two ids."""
    for context_id in ("a", "A", "\u00fc", "u\u0308", "a%20", "a "):
        await create(client, quote(context_id, safe=""))


async def test_the_same_id_may_be_encoded_in_many_ways() -> None:
    """`%41` is `A`, hex digits have no case, and bytes of UTF-8 need not be encoded at all."""
    node = composed()
    async with running(node) as client:
        await create(client, "%C3%BCA")
        for path in (b"%c3%bc%41", b"\xc3\xbcA", b"%C3%BC%41"):
            reply = await send(node.app, "GET", b"/v1/contexts/" + path)
            assert reply.status == 200, path
            assert reply.json()["id"] == "üA"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b".", "'.'"),
        (b"..", "'.'"),
        (b"%2e", "'.'"),
        (b"%2E%2e", "'.'"),
        (b"%00", "NUL"),
        (b"a%00b", "NUL"),
        (b"%", "%25"),
        (b"%2", "%25"),
        (b"a%zz", "%25"),
        (b"100%", "%25"),
        (b"%u00fc", "%25"),
        (b"%ff", "UTF-8"),
        (b"\xff", "UTF-8"),
        (b"%c3", "UTF-8"),
        (b"%c0%af", "UTF-8"),
        (b"%ed%a0%80", "UTF-8"),
        (b"%f5%80%80%80", "UTF-8"),
        (b"x" * 513, "513 bytes"),
        (b"%61" * 513, "513 bytes"),
        (b"%c3%a9" * 257, "514 bytes"),
    ],
)
@pytest.mark.parametrize("place", [b"", b"/messages", b"/context"])
async def test_what_is_no_id_is_refused(raw: bytes, why: str, place: bytes) -> None:
    """An id that cannot be is 400, names the field `id`, and says what is wrong with it."""
    node = composed()
    async with running(node):
        reply = await send(node.app, "GET", b"/v1/contexts/" + raw + place)
        assert reply.status == 400, reply
        body = reply.json()
        assert body["error"] == "invalid_request"
        assert body["field"] == "id"
        assert why in body["message"]


async def test_a_decoded_slash_is_no_part_of_the_route(client: httpx.AsyncClient) -> None:
    """`a%2Fmessages` is an id, while `a/messages` is the log of another."""
    await create(client, "a%2Fmessages")
    error_of(await client.get("/v1/contexts/a/messages"), 404, "not_found")
    assert (await client.get("/v1/contexts/a%2Fmessages")).status_code == 200
    assert (await client.get("/v1/contexts/a%2Fmessages/messages")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        b"/v1/contexts/plain/../victim",
        b"/v1/contexts/plain/%2e%2e/victim",
        b"/v1/contexts/plain/%2E./victim/messages",
        b"/v1/contexts/plain/./messages",
        b"/v1/contexts/plain/..",
        b"/v1/contexts/../contexts/victim",
        b"/v1/../v1/contexts/victim",
        b"/./v1/contexts",
        b"/..",
        b"/health/../metrics",
        b"/docs/%2e",
    ],
)
async def test_steps_in_a_path_are_refused(path: bytes, method: str) -> None:
    """
    A path with `.` or `..` between its slashes, encoded or not, leads nowhere: no context is found
    by it, and none is changed. In an id that is encoded as a whole they are text like any other.
    """
    node = composed()
    async with running(node) as client:
        for context_id in ("plain", "victim", "plain%2F..%2Fvictim"):
            await create(client, context_id)
        reply = await send(node.app, method, path, query=b"purge=true")
        assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
        purged = await client.delete("/v1/contexts/plain%2F..%2Fvictim?purge=true")
        assert purged.status_code == 204
        for context_id in ("plain", "victim"):
            found = await client.get(f"/v1/contexts/{context_id}")
            assert (found.status_code, found.json()["status"]) == (200, "active")


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/v1/contexts/a/",
        b"/v1/contexts/a/messages/",
        b"/v1/contexts/a/b",
        b"/v1/contexts/a//messages",
        b"//v1/contexts",
        b"/V1/contexts",
        b"/v1/context%73",
        b"/v1/contexts/a/message%73",
        b"/health",
        b"/health/live/",
        b"/metrics/",
        b"/\xff",
        b"/%00",
    ],
)
async def test_paths_are_taken_literally(path: bytes) -> None:
    """A trailing slash, another case or an encoded letter of a route makes it another path."""
    node = composed()
    async with running(node) as client:
        await create(client, "a")
        reply = await send(node.app, "GET", path)
        assert (reply.status, reply.json()["error"]) == (404, "not_found")
