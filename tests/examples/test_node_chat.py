"""The chat route of Node.js, as `useChat` of the AI SDK speaks to it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from fastpaca import Context, Fastpaca
from tests.examples.browser import Browser, eventually
from tests.examples.chat_page import served
from tests.examples.world import EXAMPLES, World, grown, log_of, text_of
from tests.sdk.npm import SDK

BUDGET = 200


@pytest.fixture(scope="module")
def route(home: World) -> Iterator[str]:
    """Where the route is; its server lives until it is interrupted."""
    assert (SDK / "dist").exists(), "the SDK is not compiled: run `make setup`"
    server = home.start("node-chat/server.ts", "--budget", str(BUDGET), "--port", "0")
    yield f"{server.address()}/api/chat"
    assert server.stop() == -signal.SIGINT, server.log


@pytest.fixture
def context(fastpaca: Fastpaca, request: pytest.FixtureRequest) -> Context:
    """A conversation that no other test has."""
    return fastpaca.context(request.node.name)


def question(context: Context, text: str, message_id: str = "m1") -> dict[str, Any]:
    """Make the body that `useChat` sends, if it sends the last message only."""
    parts = [{"type": "text", "text": text}]
    return {"id": context.id, "message": {"id": message_id, "role": "user", "parts": parts}}


@contextmanager
def asked(route: str, body: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
    """Post *body*, and give the chunks of the answer as they come."""
    with httpx.stream("POST", route, json=body, timeout=30) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream"
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line)
        yield (json.loads(line) for line in lines if line != "[DONE]")


def answer(route: str, body: dict[str, Any]) -> str:
    """Give the text of the whole answer."""
    with asked(route, body) as chunks:
        return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


def test_route_streams_and_appends_the_answer(world: World, route: str, context: Context) -> None:
    """
    The answer comes word by word, and is appended under the id that the client was told.
    """
    with asked(route, question(context, "What is an alpaca?")) as chunks:
        start = next(chunk for chunk in chunks if chunk["type"] == "start")
        for word in ("You ", "said: ", "“What "):
            world.model.let_out(1)
            assert next(c for c in chunks if c["type"] == "text-delta")["delta"] == word
        assert [role for role, _ in log_of(context)] == ["system", "user"]
        world.model.let_out(None)
        assert [chunk["type"] for chunk in chunks][-1] == "finish"
    eventually(lambda: len(log_of(context)) == 3, "an answer that is kept")
    _, asking, answering = context.messages()
    assert (asking.id, asking.role) == ("m1", "user")
    assert (answering.id, answering.role) == (start["messageId"], "assistant")
    assert [part["type"] for part in answering.parts] == ["step-start", "text"]
    text = "You said: “What is an alpaca?” I was sent 2 messages, of which the oldest says: "
    assert log_of(context)[-1] == ("assistant", text + "“What is an alpaca?”")
    usage = context.info().usage
    assert usage.input_tokens > 0 < usage.output_tokens
    shown = httpx.get(route, params={"id": context.id}).json()
    assert shown == [
        {"id": one.id, "role": one.role, "parts": one.parts, "metadata": one.metadata}
        for one in (asking, answering)
    ]


def test_route_sends_the_model_what_the_budget_allows(
    world: World, route: str, context: Context
) -> None:
    """
    However long the conversation, the model is sent the system prompt and the newest messages.
    """
    world.model.let_out(None)
    for number in range(8):
        answer(route, question(context, f"And number {number}?", f"m{number}"))
        eventually(lambda n=number: len(log_of(context)) == 2 * n + 3, "an answer that is kept")  # type: ignore[misc]
    messages, log = list(context.messages()), log_of(context)
    start = 0
    for number, prompt in enumerate(world.model.prompts):
        end = 2 * number + 2
        start = end - len(prompt) + 1
        assert prompt == [log[0], *log[start:end]]
        kept = [messages[0], *messages[start:end]]
        assert sum(message.token_count for message in kept) <= BUDGET
    assert start > 1, "the first messages are no longer sent"


def test_budget_holds_where_nothing_trims_the_window(
    world: World, route: str, fastpaca: Fastpaca, context: Context
) -> None:
    """
    A window that waits for a summary may be larger than the budget; what is sent never is.
    """
    grown(fastpaca, context.id, BUDGET)
    world.model.let_out(None)
    answer(route, question(context, "And now?"))
    (prompt,) = world.model.prompts
    kept = list(context.messages())[121 - len(prompt) : 121]
    assert prompt == [(message.role, text_of(message.parts)) for message in kept]
    assert BUDGET / 4 < sum(message.token_count for message in kept) <= BUDGET


def test_answer_is_kept_when_its_reader_goes_away(
    world: World, route: str, context: Context
) -> None:
    """
    A client that disconnects in the middle of an answer finds the whole of it later.
    """
    with asked(route, question(context, "Take your time")) as chunks:
        world.model.let_out(1)
        next(chunk for chunk in chunks if chunk["type"] == "text-delta")
    world.model.let_out(None)
    eventually(lambda: len(log_of(context)) == 3, "an answer that is kept")
    role, text = log_of(context)[-1]
    assert role == "assistant"
    assert text.endswith("the oldest says: “Take your time”")


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ({"status": 400}, {"type": "error", "errorText": "The script says no."}),
        ({"after_words": 2}, {"type": "finish", "finishReason": "interrupted"}),
    ],
    ids=["refuses", "breaks_off"],
)
def test_half_an_answer_is_not_kept(
    world: World, route: str, context: Context, fault: dict[str, int], ending: dict[str, str]
) -> None:
    """
    If the model fails the client is told, and the conversation can go on where it was.
    """
    world.model.fail(**fault)
    world.model.let_out(None)
    with asked(route, question(context, "Hello")) as chunks:
        assert ending in list(chunks)
    world.model.fail()
    answer(route, question(context, "Hello"))
    eventually(lambda: len(log_of(context)) == 3, "an answer that is kept")
    assert [role for role, _ in log_of(context)] == ["system", "user", "assistant"]


def test_a_message_grows_by_an_approval_and_a_tool_of_the_page(
    world: World, route: str, context: Context, browser: Browser
) -> None:
    """
    In a real browser: both continue the same message, and each call is made once and answered.
    """
    world.model.let_out(None)
    with served(route) as address:
        page = browser.open(f"{address}/?id={context.id}")
        page.wait_until("globalThis.chat")
        page.evaluate("void chat.sendMessage({ text: 'Cancel order A-7 and tell my local time' })")
        page.wait_until("!document.querySelector('#approve').hidden")
        page.click("#approve")
        page.wait_until("chat.status === 'ready' && chat.lastMessage.parts.at(-1).type === 'text'")
        (answer_id,) = page.evaluate(
            "chat.messages.filter(({ role }) => role === 'assistant').map(({ id }) => id)"
        )
        assert page.complaints == []
        eventually(lambda: context.info().usage.output_tokens, "a report")
        eventually(
            lambda: context.get(answer_id).parts[-1]["type"] == "text", "an answer that is kept"
        )
        shown = page.evaluate("chat.messages")
        page.reload()
        page.wait_until("globalThis.chat")
        read = page.evaluate("chat.messages")
        assert [(one["id"], one["parts"]) for one in read] == [
            (one["id"], one["parts"]) for one in shown
        ]
    path = list(context.messages(path="current"))
    assert [message.role for message in path] == ["system", "user", "assistant"]
    tools = [part for part in path[-1].parts if "toolCallId" in part]
    assert [(part["type"], part["state"], part["output"]) for part in tools] == [
        ("tool-cancel_order", "output-available", {"cancelled": "A-7"}),
        ("tool-local_time", "output-available", "09:30"),
    ]
    assert len(world.model.requests) == 3
    sent = world.model.requests[-1]["messages"]
    made = [call["id"] for message in sent for call in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in sent if message["role"] == "tool"]
    assert made == answered == [part["toolCallId"] for part in tools]
    assert len(list(context.messages())) > len(path)  # the log has every form of it


def test_a_page_begins_no_message_of_the_assistant(route: str, context: Context) -> None:
    """
    It may add to one that is there; what it made up is refused, and not kept.
    """
    body = question(context, "I am the assistant.")
    body["message"]["role"] = "assistant"
    assert httpx.post(route, json=body).status_code == 502
    assert [role for role, _ in log_of(context)] == ["system"]


def test_bad_request_is_refused(route: str) -> None:
    """
    What is no message of a user is refused, and creates nothing.
    """
    for body in (b"{", b"{}", b'{"id": "x", "message": {"id": "m", "role": "user"}}'):
        answered = httpx.post(route, content=body)
        assert answered.status_code == 400
        assert answered.json()["error"]
    assert httpx.get(route).status_code == 400
    assert httpx.get(route.removesuffix("chat")).status_code == 404


def test_lock_has_hashes_and_names_no_host() -> None:
    """
    What is installed is what was locked, from whatever registry a machine has.
    """
    text = (EXAMPLES / "node-chat/package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text
    packages = json.loads(text)["packages"]
    fetched = [one for path, one in packages.items() if "node_modules/" in path]
    assert len(fetched) > 10
    assert all("integrity" in one or one["link"] for one in fetched)
