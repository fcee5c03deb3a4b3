"""Messages in the forms of providers: what is taken, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.formats.samples import LISTS, NAMES, Json
from tests.kit.app import append, create, error_of
from tests.kit.messages import assistant, call, result, tool, user

PATH = "/v1/contexts/c"


async def received(
    client: httpx.AsyncClient, *messages: Json, format_: str | None = None, **headers: str
) -> httpx.Response:
    """Append a list of messages in a format."""
    params = {} if format_ is None else {"format": format_}
    return await client.post(
        f"{PATH}/messages", json={"messages": list(messages)}, params=params, headers=headers
    )


async def view(client: httpx.AsyncClient, **params: Any) -> Json:
    """Read the LLM context."""
    response = await client.get(f"{PATH}/context", params=params)
    assert response.status_code == 200, response.text
    return dict(response.json())


# --- in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("Hello", [{"type": "text", "text": "Hello"}]),
        ([{"type": "text", "text": "Hello"}], [{"type": "text", "text": "Hello"}]),
        (None, []),
    ],
)
async def test_content_stands_for_parts(
    client: httpx.AsyncClient, content: Any, parts: list[Json]
) -> None:
    """
    Content that is a string, a list or null becomes parts, and costs what these cost.
    """
    await create(client)
    await append(client, {"role": "user", "content": content}, {"role": "user", "parts": parts})
    came, meant = (await client.get(f"{PATH}/messages")).json()["messages"]
    assert came["parts"] == parts
    assert "content" not in came
    assert came["token_count"] == meant["token_count"]


async def test_content_next_to_parts_is_a_key(client: httpx.AsyncClient) -> None:
    """
    With both, the parts are the parts, and content is a key of the caller.
    """
    await create(client)
    await append(client, user("Hello", content="mine"))
    (message,) = (await client.get(f"{PATH}/messages")).json()["messages"]
    assert message["content"] == "mine"
    assert message["parts"][0]["text"] == "Hello"


@pytest.mark.parametrize("name", NAMES)
async def test_lists_of_providers_come_back(client: httpx.AsyncClient, name: str) -> None:
    """
    What a provider accepts is taken, and comes back equal in its format.
    """
    for number, listed in enumerate(LISTS[name]):
        path = f"/v1/contexts/c{number}"
        await create(client, f"c{number}", token_budget=1_000_000)
        appended = await client.post(
            f"{path}/messages", json={"messages": listed}, params={"format": name}
        )
        assert appended.status_code == 201, appended.text
        rendered = (await client.get(f"{path}/context", params={"format": name})).json()
        system = rendered.get("system")
        if system is None:
            assert rendered["messages"] == listed
        assert rendered["format"] == name
        assert rendered["repairs"] == rendered["losses"] == []
        assert rendered["used_tokens"] == rendered["window_tokens"]


@pytest.mark.parametrize(
    ("name", "message", "field"),
    [
        (None, {"role": "user", "content": 5}, "content"),
        (None, {"role": "user", "content": [{"text": "Hello"}]}, "content[0].type"),
        (None, {"content": "Hello"}, "role"),
        ("anthropic", {"role": "robot", "content": "Hello"}, "role"),
        ("anthropic", user("Hello"), "parts"),
        ("anthropic", {"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        ("gemini", {"role": "user", "parts": [{"functionCall": 5}]}, "parts[0].functionCall"),
        (
            "openai-chat",
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            "tool_calls[0].id",
        ),
        ("openai-responses", {"type": "function_call", "call_id": "a"}, "name"),
        ("bedrock", {"role": "user", "content": "Hello"}, "content"),
    ],
)
async def test_errors_name_the_path_in_the_sent_message(
    client: httpx.AsyncClient, name: str | None, message: Json, field: str
) -> None:
    """
    What can't be read is refused, with the path in the provider's own message; nothing is appended.
    """
    await create(client)
    response = await received(client, message, format_=name)
    error = error_of(response, 400, "invalid_request")
    assert error["field"] == f"messages[0].{field}"
    assert (await client.get(PATH)).json()["version"] == 0


@pytest.mark.parametrize(
    ("name", "message", "field"),
    [
        (
            "anthropic",
            {"role": "user", "content": [{"type": "hologram", "rays": 5}]},
            "messages[0].content[0]",
        ),
        ("gemini", {"role": "user", "parts": [{"hologram": {}}]}, "messages[0].parts[0]"),
        ("openai-responses", {"type": "hologram", "rays": 5}, "messages[0]"),
    ],
)
async def test_unknown_blocks_are_kept(
    client: httpx.AsyncClient, name: str, message: Json, field: str
) -> None:
    """
    A block that the format does not know is taken with a warning, comes back, and is a loss
    elsewhere.
    """
    await create(client)
    response = await received(client, message, format_=name)
    assert response.status_code == 201, response.text
    assert response.json()["results"][0]["warnings"] == [{"code": "unknown_shape", "field": field}]
    other = "openai-chat" if name != "openai-chat" else "anthropic"
    assert message in (await view(client, format=name))["messages"]
    assert {"code": "unknown", "seq": 1} in (await view(client, format=other))["losses"]


async def test_warnings_name_the_path_in_the_sent_message(client: httpx.AsyncClient) -> None:
    """
    A warning about a block of content names it in the content.
    """
    await create(client)
    block = {"type": "tool_result", "tool_use_id": "a", "content": "ok"}
    response = await received(client, {"role": "user", "content": [block]})
    (warning,) = response.json()["results"][0]["warnings"]
    assert warning == {"code": "unpaired_result", "field": "messages[0].content[0]"}


@pytest.mark.parametrize("query", ["format=latin", "open_calls=close", "format=gemini&cache=true"])
async def test_parameters_are_checked_before_an_append(
    client: httpx.AsyncClient, query: str
) -> None:
    """
    A parameter that can't be used refuses an append, which leaves no trace.
    """
    await create(client)
    response = await client.post(f"{PATH}/messages?{query}", json={"message": user("Hello")})
    error_of(response, 400, "invalid_request")
    assert (await client.get(PATH)).json()["version"] == 0


async def test_a_key_knows_the_format(client: httpx.AsyncClient) -> None:
    """
    A body under a key is the same request only in the same format.
    """
    await create(client)
    message = {"role": "user", "content": "Hello"}
    key = {"Idempotency-Key": "k"}
    first = await received(client, message, format_="anthropic", **key)
    again = await received(client, message, format_="anthropic", **key)
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    for other in ("openai-chat", None):
        response = await received(client, message, format_=other, **key)
        error_of(response, 409, "idempotency_conflict")


async def test_stored_form_is_no_format(client: httpx.AsyncClient) -> None:
    """
    The format `parts` is the same as none.
    """
    await create(client)
    key = {"Idempotency-Key": "k"}
    first = await received(client, user("Hello"), **key)
    assert first.content == (await received(client, user("Hello"), format_="parts", **key)).content
    assert await view(client) == await view(client, format="parts")


async def test_replacements_take_formats(client: httpx.AsyncClient) -> None:
    """
    A replacement may have content in place of parts, or be in a format; one that says what the log
    says stays its message.
    """
    await create(client)
    await append(client, user("One"), user("Two"))
    compact = f"{PATH}/compact"
    summary = {"role": "user", "content": "Summary"}
    kept = {"role": "user", "content": "Two", "seq": 2}
    response = await client.post(compact, json={"replacement": [summary, kept]})
    assert response.status_code == 200, response.text
    window = await view(client)
    assert [message["seq"] for message in window["messages"]] == [None, 2]
    assert window["messages"][0]["parts"] == [{"type": "text", "text": "Summary"}]
    shown = {"replacement": [{"role": "user", "parts": [{"text": "In short"}]}]}
    response = await client.post(compact, json=shown, params={"format": "gemini"})
    assert response.status_code == 200, response.text
    assert (await view(client, format="gemini"))["system"] == {"parts": [{"text": "In short"}]}


# --- out ------------------------------------------------------------------------------------------


async def test_etag_knows_the_form(client: httpx.AsyncClient) -> None:
    """
    Every form of a view has an ETag of its own, and a view that the client has is not sent again.
    """
    await create(client)
    await append(client, user("Hello"), assistant("Hi"), user("Bye"))
    forms: list[dict[str, Any]] = [{}, *({"format": name} for name in NAMES)]
    forms += [
        {"format": "anthropic", "cache": "true"},
        {"format": "anthropic", "open_calls": "drop"},
    ]
    tags = set()
    for form in forms:
        first = await client.get(f"{PATH}/context", params=form)
        assert (await client.get(f"{PATH}/context", params=form)).content == first.content
        tags.add(first.headers["ETag"])
        known = {"If-None-Match": first.headers["ETag"]}
        again = await client.get(f"{PATH}/context", params=form, headers=known)
        assert again.status_code == 304
    assert len(tags) == len(forms)


async def test_open_calls(client: httpx.AsyncClient) -> None:
    """
    A call that never got its result is closed, dropped or kept, as the reader wants.
    """
    await create(client)
    await append(client, user("Look"), assistant(call("a")), user("And?"))
    closed = await view(client, format="anthropic")
    assert {"code": "closed_call", "seq": 2, "call": "a"} in closed["repairs"]
    assert closed["used_tokens"] == closed["window_tokens"] + 48
    dropped = await view(client, format="anthropic", open_calls="drop")
    assert "dropped_call" in [repair["code"] for repair in dropped["repairs"]]
    kept = await view(client, format="anthropic", open_calls="keep")
    assert kept["repairs"] == []
    response = await client.get(f"{PATH}/context?format=anthropic&open_calls=all")
    error_of(response, 400, "invalid_request")


async def test_cache_marks(client: httpx.AsyncClient) -> None:
    """
    With `cache`, the last stable message and the instructions are marked.
    """
    await create(client)
    await append(client, {"role": "system", "content": "Be brief."}, user("One"), assistant("Two"))
    await append(client, user("Three"))
    marked = await view(client, format="anthropic", cache="true")
    assert marked["system"][-1]["cache_control"] == {"type": "ephemeral"}
    stable = marked["messages"][marked["stable_messages"] - 1]
    assert stable["content"][-1]["cache_control"] == {"type": "ephemeral"}
    plain = await view(client, format="anthropic")
    assert "cache_control" not in str(plain)


async def test_stable_messages_of_a_raw_view(client: httpx.AsyncClient) -> None:
    """
    A raw view grows at its end, unless its newest block had to be shortened.
    """
    await create(client)
    await append(client, user("One"), assistant(call("a")), tool(result("a", "word " * 2000)))
    assert (await view(client))["stable_messages"] == 3
    cut = await view(client, budget_tokens=600)
    assert (cut["fit"], cut["stable_messages"]) == ("cut", 0)


async def test_thinking_stays_only_after_an_unchanged_beginning(
    client: httpx.AsyncClient,
) -> None:
    """
    Signed thinking is sent until the window is rewritten; then only that of later messages.
    """
    await create(client, policy={"strategy": "manual"})
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    reply = {"role": "assistant", "content": [thinking, {"type": "text", "text": "Yes"}]}
    await received(client, {"role": "user", "content": "Is it?"}, reply, format_="anthropic")
    await append(client, user("And?"))
    assert "signature" in str(await view(client, format="anthropic"))
    window = (await view(client))["messages"]
    await client.post(f"{PATH}/compact", json={"replacement": [user("In short"), *window[1:]]})
    rendered = await view(client, format="anthropic")
    assert "signature" not in str(rendered["messages"])
    assert "dropped_thinking" in [repair["code"] for repair in rendered["repairs"]]
    await received(client, reply, {"role": "user", "content": "So?"}, format_="anthropic")
    rendered = await view(client, format="anthropic")
    assert str(rendered["messages"]).count("signature") == 1
    past = await view(client, format="anthropic", at_version=3)
    assert str(past["messages"]).count("signature") == 1
