"""What calls cost: reported with an append, summed, and compared with what is counted."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fastpaca.context.usage import PAIRS_MIN
from fastpaca.store.memory import MemoryStore
from fastpaca.testing import composed, running
from tests.kit.app import create, error_of, everything
from tests.kit.messages import assistant, user

LOG = "/v1/contexts/c/messages"
NOTHING = {
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "cache_write_tokens": 0,
    "output_tokens": 0,
    "counted_ratio": None,
}


async def reported(
    client: httpx.AsyncClient, usage: Any, *messages: dict[str, Any], key: str | None = None
) -> httpx.Response:
    """Append messages with a report."""
    body: dict[str, Any] = {"usage": usage, "messages": list(messages) or [assistant("Hello")]}
    headers = {} if key is None else {"Idempotency-Key": key}
    return await client.post(LOG, json=body, headers=headers)


async def totals(client: httpx.AsyncClient) -> dict[str, Any]:
    """Read what a context shows of its reports."""
    shown: dict[str, Any] = (await client.get("/v1/contexts/c")).json()["usage"]
    return shown


async def test_a_context_shows_the_sums_of_what_was_reported(client: httpx.AsyncClient) -> None:
    """With one message or several; a list of contexts shows them too, and messages show none."""
    await create(client)
    assert await totals(client) == NOTHING
    one = {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 3, "model": "m"}
    answer = await client.post(LOG, json={"message": assistant("Hello"), "usage": one})
    assert answer.status_code == 201
    two = {"input_tokens": 20, "cache_write_tokens": 5, "output_tokens": 0}
    assert (await reported(client, two, user("Hi"), assistant("Hello"))).status_code == 201
    sums = {
        "input_tokens": 30,
        "cached_input_tokens": 4,
        "cache_write_tokens": 5,
        "output_tokens": 3,
        "counted_ratio": None,
    }
    assert await totals(client) == sums
    (listed,) = (await client.get("/v1/contexts")).json()["contexts"]
    assert listed["usage"] == sums
    for message in (await client.get(LOG)).json()["messages"]:
        assert "usage" not in message


@pytest.mark.parametrize("format_", ["openai-chat", "openai-responses", "anthropic", "gemini"])
async def test_a_report_comes_with_messages_of_any_format(
    client: httpx.AsyncClient, format_: str
) -> None:
    """It stands beside the messages, whatever they are."""
    await create(client)
    message = (
        {"role": "model", "parts": [{"text": "Hi"}]}
        if format_ == "gemini"
        else {"role": "assistant", "content": "Hi"}
    )
    body = {"message": message, "usage": {"input_tokens": 8, "output_tokens": 1}}
    answer = await client.post(LOG, params={"format": format_}, json=body)
    assert answer.status_code == 201, answer.text
    assert (await totals(client))["input_tokens"] == 8


async def test_a_bad_report_changes_nothing(client: httpx.AsyncClient) -> None:
    """It is refused with the path of its field."""
    await create(client)
    before = await everything(client)
    for usage, field in (
        (None, "usage"),
        ([], "usage"),
        ({}, "usage.input_tokens"),
        ({"input_tokens": 1, "output_tokens": -1}, "usage.output_tokens"),
        ({"input_tokens": 1, "output_tokens": 1, "models": "m"}, "usage.models"),
    ):
        error = error_of(await reported(client, usage), 400, "invalid_request")
        assert error["field"] == field
    assert await everything(client) == before


async def test_a_report_is_for_an_append_only(client: httpx.AsyncClient) -> None:
    """A context that is sent back has its sums ignored; a compact call takes no report."""
    await create(client)
    await reported(client, {"input_tokens": 1, "output_tokens": 1})
    shown = (await client.get("/v1/contexts/c")).json()
    echo = await client.put("/v1/contexts/c", json={**shown, "usage": {"input_tokens": 99}})
    assert echo.json() == shown
    body = {"replacement": [], "usage": {"input_tokens": 1, "output_tokens": 1}}
    answer = await client.post("/v1/contexts/c/compact", json=body)
    assert error_of(answer, 400, "invalid_request")["field"] == "usage"


async def test_a_key_stands_for_the_report_too(client: httpx.AsyncClient) -> None:
    """A retry counts nothing twice, and another report under the same key is a conflict."""
    await create(client)
    usage = {"input_tokens": 7, "output_tokens": 1}
    first = await reported(client, usage, key="k")
    again = await reported(client, usage, key="k")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    other = await reported(client, {**usage, "output_tokens": 2}, key="k")
    error_of(other, 409, "idempotency_conflict")
    assert (await totals(client))["input_tokens"] == 7
    text = (await client.get("/metrics")).text
    assert 'fastpaca_reported_tokens_total{kind="input"} 7.0' in text


async def test_metrics_sum_all_reports(client: httpx.AsyncClient) -> None:
    """Each kind has a series from the start."""
    await create(client)
    await reported(client, {"input_tokens": 9, "cached_input_tokens": 4, "output_tokens": 2})
    await reported(client, {"input_tokens": 8, "cache_write_tokens": 3, "output_tokens": 0})
    text = (await client.get("/metrics")).text
    shown = {"input": 17, "cached_input": 4, "cache_write": 3, "output": 2}
    for kind, tokens in shown.items():
        assert f'fastpaca_reported_tokens_total{{kind="{kind}"}} {tokens}.0' in text


async def test_the_ratio_sets_the_factor_and_outlives_a_restart() -> None:
    """Twenty-one calls tell what a counted token is worth; the next node knows it too."""
    store = MemoryStore()
    tokens = 100
    for number in range(PAIRS_MIN + 1):
        async with running(composed(store)) as client:  # a node of its own for each call
            if not number:
                await create(client)
            usage = {"input_tokens": tokens, "output_tokens": 5, "model": "m"}
            question = [user("Hello there")] if number else []
            # The question counts 7 and the answer 8; together they are billed as 20.
            await reported(client, usage, *question, assistant("Good day"))
            tokens += 20
            shown = (await totals(client))["counted_ratio"]
            assert shown == (None if number < PAIRS_MIN else 0.75)
            if shown is not None:
                info = (await client.get("/v1/contexts/c")).json()
                factor = info["token_factor"] / shown
                await client.put("/v1/contexts/c", json={"token_factor": factor})
                assert (await totals(client))["counted_ratio"] is None
