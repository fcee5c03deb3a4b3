"""What all clients go by, held against the node that they talk to: `tests/wire/rules`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from fastpaca import errors, settings
from fastpaca.api import errors as api_errors
from fastpaca.api.frames import text
from fastpaca.api.routes import decode_id
from fastpaca.errors import FastpacaError, InvalidRequest
from fastpaca.ids import ID_BYTES_MAX
from fastpaca.stream import subscription
from fastpaca.stream.subscription import (
    CompactionFrame,
    ContextFrame,
    Frame,
    GapFrame,
    MessageFrame,
    ResetFrame,
    RewindFrame,
    TombstonedFrame,
)
from tests.client.rules import repeated, rules
from tests.kit.app import create, error_of
from tests.kit.messages import HELLO

LIMITS = rules("limits")


# --- errors ---


def test_every_error_of_the_node_is_one_that_clients_know() -> None:
    """
    The codes that a node answers with, and the status of each, are those that the clients list.
    """
    answered = {
        error["code"]: error["status"] for error in rules("errors")["errors"] if "status" in error
    }
    assert {kind.code: status for kind, status in api_errors.STATUS.items()} == answered
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, FastpacaError) and kind is not FastpacaError
    ]
    assert {kind.code for kind in kinds} == set(answered)


def test_the_node_says_how_long_to_wait_where_clients_try_again() -> None:
    """
    429 and 503 come with `Retry-After`, and clients try after both; what is final has none.
    """
    again = rules("retries")["statuses"]
    for kind, status in api_errors.STATUS.items():
        if kind.__init__ is FastpacaError.__init__ or kind is errors.RateLimited:
            headers = dict(api_errors.response(kind()).headers)
            assert (b"retry-after" in headers) == (status in {429, 503}), kind
            assert (status in again) == (status in {408, 429, 503}), kind


# --- ids, keys ---


def test_an_id_that_clients_send_is_taken() -> None:
    """
    The path that a client makes is read back as the id.
    """
    assert LIMITS["id_bytes_max"] == ID_BYTES_MAX
    for case in LIMITS["ids"]:
        name = repeated(case, "id")
        path = case.get("path", "/v1/contexts/" + quote(name, safe=""))
        assert decode_id(path.removeprefix("/v1/contexts/").encode()) == name


def test_an_id_that_clients_refuse_is_refused() -> None:
    """
    What a client never sends is no id, whoever sends it.
    """
    for case in LIMITS["ids_refused"]:
        name = repeated(case, "id")
        if isinstance(name, str):
            with pytest.raises(InvalidRequest):
                decode_id(quote(name, safe="", errors="surrogatepass").encode())


async def test_idempotency_keys_are_those_of_the_clients(client: httpx.AsyncClient) -> None:
    """
    The node takes every key that a client sends, and refuses what is none; spaces around a key are
    no part of it in HTTP, so clients refuse them before two keys become one.
    """
    await create(client)
    for case in LIMITS["idempotency_keys"]:
        response = await keyed(client, repeated(case, "key").encode())
        assert response.status_code == 201, case
    for case in LIMITS["idempotency_keys_refused"]:
        key = repeated(case, "key")
        if isinstance(key, str) and key == key.strip(" "):
            error_of(await keyed(client, key.encode()), 400, "invalid_request")


async def keyed(client: httpx.AsyncClient, key: bytes) -> httpx.Response:
    headers = [(b"Idempotency-Key", key)]
    return await client.post("/v1/contexts/c/messages", json={"message": HELLO}, headers=headers)


def test_api_keys_are_those_of_the_clients() -> None:
    """
    A node can have every key that a client sends, and no other.
    """
    for key in LIMITS["api_keys"]:
        assert settings.parse_api_keys(key, "FASTPACA_API_KEY") == (key,)
    for key in LIMITS["api_keys_refused"]:
        try:
            taken = settings.parse_api_keys(key, "FASTPACA_API_KEY")
        except settings.SettingsError:
            continue
        assert key not in taken, key


# --- frames ---

FRAMES: list[Frame] = [
    MessageFrame(version=2, seq=2, body=b"{}", cursor=2, revises=1),
    CompactionFrame(
        version=1,
        from_seq=1,
        to_seq=1,
        strategy="manual",
        tokens_before=2,
        tokens_after=1,
        cursor=1,
    ),
    RewindFrame(version=2, to_version=1, cursor=2),
    ContextFrame(version=1, needs_compaction=False, used_tokens=1, token_budget=2, cursor=1),
    TombstonedFrame(version=1, cursor=1),
    GapFrame(expected=1, actual=2, cursor=1),
    ResetFrame(version=1, cursor=1),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_frames_have_the_fields_that_clients_read(frame: Frame) -> None:
    """
    Each frame of a subscription is written with the fields that the clients list, in their order.
    """
    written: dict[str, Any] = httpx.Response(200, content=text(frame)).json()
    kind = written.pop("type")
    (listed,) = [entry for entry in rules("frames")["frames"] if entry["type"] == kind]
    assert list(written) == listed["fields"]


def test_all_frames_are_listed() -> None:
    """
    A new kind of frame has its entry, or clients would pass it over.
    """
    assert {type(frame) for frame in FRAMES} == set(subscription.Frame.__args__)
    assert len(rules("frames")["frames"]) == len(FRAMES)
