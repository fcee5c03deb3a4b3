"""Messages by their ids: put, revise, read; and the path, which shows each message once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.kit.app import append, create, run

MESSAGES = "/v1/contexts/c/messages"


def reply(text: str, **keys: Any) -> dict[str, Any]:
    """Give a message of the assistant."""
    return {"role": "assistant", "parts": [{"type": "text", "text": text}], **keys}


def ask(text: str, **keys: Any) -> dict[str, Any]:
    """Give a message of the user."""
    return {"role": "user", "parts": [{"type": "text", "text": text}], **keys}


async def put(
    client: httpx.AsyncClient, message_id: str, message: dict[str, Any], **more: Any
) -> httpx.Response:
    """Put a message; `headers` and `params` go with the request, all else in its body."""
    headers, params = more.pop("headers", None), more.pop("params", None)
    return await client.put(
        f"{MESSAGES}/{message_id}",
        json={"message": message, **more},
        headers=headers,
        params=params,
    )


async def read(
    client: httpx.AsyncClient, where: str = MESSAGES, /, **params: Any
) -> dict[str, Any]:
    """Read something that there is."""
    response = await client.get(where, params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def texts(page: dict[str, Any]) -> list[str]:
    """Give the first text of each message of a page."""
    return [message["parts"][0]["text"] for message in page["messages"]]


def test_a_message_is_appended_then_revised() -> None:
    """
    The first put appends, the next one revises, and an equal one changes nothing.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await append(client, ask("What?"))
        first = await put(client, "m1", reply("Let me"))
        assert first.status_code == 201
        assert first.json() == {"seq": 2, "version": 2, "token_estimate": 8}
        await append(client, ask("Go on"))
        second = await put(client, "m1", reply("Let me see."))
        assert second.status_code == 200
        assert second.json() == {"seq": 4, "version": 4, "token_estimate": 9, "revises": 2}
        equal = {"parts": [{"text": "Let me see.", "type": "text"}], "role": "assistant"}
        third = await put(client, "m1", {**equal, "id": "m1"})
        assert (third.status_code, third.json()) == (200, second.json())
        log = await read(client)
        assert texts(log) == ["What?", "Let me", "Go on", "Let me see."]
        assert [message.get("revises") for message in log["messages"]] == [None, None, None, 2]
        assert log["messages"][1]["id"] == log["messages"][3]["id"] == "m1"
        path = await read(client, path="current")
        assert texts(path) == ["What?", "Let me see.", "Go on"]
        assert (path["version"], path["next"]) == (4, None)
        window = await read(client, "/v1/contexts/c/context")
        assert texts(window) == ["What?", "Let me see.", "Go on"]
        assert window["segments"] == [{"type": "live", "from_seq": 1, "to_seq": 3}]
        assert (await read(client, "/v1/contexts/c"))["path"] == [{"from_seq": 1, "to_seq": 4}]

    run(story)


def test_a_message_is_read_by_its_id() -> None:
    """
    Of several messages with one id the newest is read, with what it revises.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        odd = "a/b?c %é"
        await append(client, ask("one", id=odd), ask("two", id=odd), ask("other", id="x"))
        name = "a%2Fb%3Fc%20%25%C3%A9"
        path = f"{MESSAGES}/{name}"
        assert texts({"messages": [await read(client, path)]}) == ["two"]
        assert (await put(client, name, ask("three"))).json()["revises"] == 2
        found = await read(client, path)
        assert (found["seq"], found["revises"], found["id"]) == (4, 2, odd)
        missing = await client.get(f"{MESSAGES}/nothing")
        assert missing.status_code == 404
        assert missing.json() == {
            "error": "not_found",
            "message": "There is no message with this id in this context.",
            "field": "message_id",
        }

    run(story)


@pytest.mark.parametrize(
    ("message_id", "message", "status", "field"),
    [
        ("m", reply("x"), 400, "message.role"),
        ("m", ask("x", id="other"), 400, "message.id"),
        ("m", ask("x", id=7), 400, "message.id"),
        ("m" * 513, ask("x"), 400, "message_id"),
        ("%FF", ask("x"), 400, "message_id"),
        ("%2E%2E", ask("x"), 400, "message_id"),
        ("a%zz", ask("x"), 400, "message_id"),
        ("m", {"role": "user"}, 400, "message.parts"),
    ],
)
def test_what_cannot_be_put(message_id: str, message: Any, status: int, field: str) -> None:
    """
    It is refused with the name of the field, and nothing changes.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await append(client, ask("first", id="m"))
        refused = await put(client, message_id, message)
        assert (refused.status_code, refused.json().get("field")) == (status, field), refused.text
        assert (await read(client, "/v1/contexts/c"))["version"] == 1

    run(story)


def test_a_put_needs_a_context_that_can_be_written() -> None:
    """
    404 without one, 409 if it was deleted, and 409 if its version is another.
    """

    async def story(client: httpx.AsyncClient) -> None:
        assert (await put(client, "m", ask("x"))).status_code == 404
        assert (await client.get(f"{MESSAGES}/m")).status_code == 404
        await create(client)
        conflict = await put(client, "m", ask("x"), if_version=3)
        assert (conflict.status_code, conflict.json()["found"]) == (409, 0)
        assert (await put(client, "m", ask("x"), if_version=0)).status_code == 201
        assert (await put(client, "m", ask("y"), if_version=1)).status_code == 200
        assert (await put(client, "m", ask("z"), if_version=1)).status_code == 409
        assert (await put(client, "m", ask("z"), **{"if-version": 1})).status_code == 400
        await client.delete("/v1/contexts/c")
        assert (await put(client, "m", ask("z"))).json()["error"] == "tombstoned"
        assert (await read(client, f"{MESSAGES}/m"))["parts"][0]["text"] == "y"

    run(story)


def test_retries_of_a_put() -> None:
    """
    One that changed something is replayed, with its status; one that did not is judged anew.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        one, two = {"Idempotency-Key": "one"}, {"Idempotency-Key": "two"}
        first = await put(client, "m", reply("a"), headers=one)
        second = await put(client, "m", reply("b"), headers=two)
        for key, answer in ((one, first), (two, second)):
            text = "a" if key is one else "b"
            again = await put(client, "m", reply(text), headers=key)
            assert again.headers["Idempotent-Replayed"] == "true"
            assert (again.status_code, again.content) == (answer.status_code, answer.content)
        assert (first.status_code, second.status_code) == (201, 200)
        other = await put(client, "n", reply("b"), headers=two)
        assert other.json()["error"] == "idempotency_conflict"
        three = {"Idempotency-Key": "three"}
        equal = await put(client, "m", reply("b"), headers=three)
        assert (equal.status_code, equal.json()["version"]) == (200, 2)
        await put(client, "m", reply("c"))
        anew = await put(client, "m", reply("b"), headers=three)
        assert "Idempotent-Replayed" not in anew.headers
        assert (anew.status_code, anew.json()["version"]) == (200, 4)

    run(story)


def test_first_puts_at_once_make_one_message() -> None:
    """
    Of many puts of one id at the same time one appends, and the others revise it.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        puts = [put(client, "m", reply(f"{number}")) for number in range(12)]
        answers = await asyncio.gather(*puts)
        assert sorted(answer.status_code for answer in answers) == [*[200] * 11, 201]
        assert [answer.json().get("revises") for answer in answers].count(1) == 11
        assert len((await read(client))["messages"]) == 12
        assert len((await read(client, path="current"))["messages"]) == 1

    run(story)


def test_puts_and_other_writes_keep_their_order() -> None:
    """
    Writes that are sent one after another, without waiting, are done in that order.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        writes = []
        for number in range(10):
            writes.append(asyncio.create_task(put(client, "m", reply(f"p{number}"))))
            body = {"message": ask(f"a{number}")}
            writes.append(asyncio.create_task(client.post(MESSAGES, json=body)))
        answers = await asyncio.gather(*writes)
        assert [answer.json()["version"] for answer in answers] == list(range(1, 21))
        assert texts(await read(client, path="current"))[:3] == ["p9", "a0", "a1"]

    run(story)


def test_pages_of_the_path() -> None:
    """
    With `path=current` all numbers count messages on the path, and `next` leads on.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        for number in range(6):
            await put(client, f"m{number}", ask(f"{number}"))
            await put(client, f"m{number}", ask(f"{number}!"))
        assert (await read(client, path="current", from_seq=-2))["messages"][0]["revises"] == 9
        whole: list[str] = []
        place: int | None = 1
        while place is not None:
            page = await read(client, path="current", from_seq=place, limit=2)
            whole += texts(page)
            place = page["next"]
        assert whole == [f"{number}!" for number in range(6)]
        tail = await read(client, "/v1/contexts/c/tail", path="current", offset=1, limit=2)
        assert (texts(tail), tail["next"], tail["version"]) == (["3!", "4!"], 6, 12)
        assert texts(await read(client, path="current", to_seq=tail["next"])) == ["0!", "1!", "2!"]
        beginning = await read(client, "/v1/contexts/c/tail", path="current", offset=4, limit=9)
        assert (texts(beginning), beginning["next"]) == (["0!", "1!"], None)
        assert (await read(client, path="current", from_seq=99))["messages"] == []
        assert texts(await read(client, path="current", from_seq=-99))[0] == "0!"
        odd = await client.get(MESSAGES, params={"path": "past"})
        assert (odd.status_code, odd.json()["field"]) == (400, "path")

    run(story)


def test_a_compact_call_refers_to_the_path() -> None:
    """
    What equals a message on the path stays a reference to it, by place; an old form does not.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client, policy={"strategy": "manual"})
        await append(client, ask("one"), reply("old", id="m"), ask("two"))
        await put(client, "m", reply("new"))
        log = (await read(client))["messages"]
        new, two, old = log[3], log[2], log[1]
        body = {"replacement": [new, two]}
        assert (await client.post("/v1/contexts/c/compact", json=body)).status_code == 200
        window = await read(client, "/v1/contexts/c/context")
        assert [message["seq"] for message in window["messages"]] == [4, 3]
        assert window["segments"] == [{"type": "live", "from_seq": 2, "to_seq": 3}]
        body = {"replacement": [old, two]}
        await client.post("/v1/contexts/c/compact", json=body)
        window = await read(client, "/v1/contexts/c/context")
        assert [message["seq"] for message in window["messages"]] == [None, 3]
        body = {"replacement": [log[0], new]}  # one that is in no window any more
        await client.post("/v1/contexts/c/compact", json=body)
        window = await read(client, "/v1/contexts/c/context")
        assert [message["seq"] for message in window["messages"]] == [1, 4]

    run(story)


def test_a_put_in_a_format() -> None:
    """
    A message of the AI SDK grows with its tool part: one message, whose call is answered.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await append(client, ask("What is the weather?"))
        call = {"type": "tool-weather", "toolCallId": "c1", "input": {"city": "Oslo"}}
        asked = {"id": "m", "role": "assistant", "parts": [{**call, "state": "input-available"}]}
        done = {**asked, "parts": [{**call, "state": "output-available", "output": {"t": 3}}]}
        params = {"format": "ai-sdk"}
        assert (await put(client, "m", asked, params=params)).status_code == 201
        assert (await put(client, "m", done, params=params)).status_code == 200
        view = await read(client, "/v1/contexts/c/context", format="ai-sdk")
        assert view["messages"][1] == done
        assert view["repairs"] == []
        chat = await read(client, "/v1/contexts/c/context", format="openai-chat")
        assert [message["role"] for message in chat["messages"]] == ["user", "assistant", "tool"]

    run(story)


def test_a_message_that_is_put_can_be_cut() -> None:
    """
    One whose id is only in the path is cut like any other, with every key in place.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        sent = reply("word " * 900, metadata={"a": 1}, name="Ada")
        given = {key: value for key, value in sent.items() if key != "role"}
        for name, message in (("a", sent), ("b", {**given, "role": "assistant", "id": "b"})):
            await put(client, name, message)
            view = await read(client, "/v1/contexts/c/context", budget_tokens=300)
            assert view["used_tokens"] <= 300
            assert view["messages"][0]["id"] == name
            await rewind(client, to_seq=0)

    run(story)


def test_usage_of_a_put() -> None:
    """
    What a put cost is summed, once.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        usage = {"input_tokens": 100, "output_tokens": 7}
        await put(client, "m", reply("a"), usage=usage)
        await put(client, "m", reply("ab"), usage=usage)
        await put(client, "m", reply("ab"), usage=usage)
        context = await read(client, "/v1/contexts/c")
        assert context["usage"]["input_tokens"] == 200

    run(story)


async def rewind(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    """Go back."""
    return await client.post("/v1/contexts/c/rewind", json=body)


def test_regenerate_and_return() -> None:
    """
    Back before an answer, another answer, and back to the first one: the log has all of it.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await append(client, ask("Q"), reply("A1"))
        first = await read(client, "/v1/contexts/c/context")
        assert (await rewind(client, to_seq=1)).json() == {"version": 3}
        await append(client, reply("A2"))
        assert texts(await read(client, path="current")) == ["Q", "A2"]
        assert texts(await read(client)) == ["Q", "A1", "A2"]
        context = await read(client, "/v1/contexts/c")
        ranges = [{"from_seq": 1, "to_seq": 1}, {"from_seq": 3, "to_seq": 3}]
        assert (context["path"], context["version"], context["last_seq"]) == (ranges, 4, 3)
        back = await rewind(client, to_version=2, if_version=4)
        assert (back.status_code, back.json()) == (200, {"version": 5})
        again = await read(client, "/v1/contexts/c/context")
        assert again["messages"] == first["messages"]
        assert texts(await read(client, path="current")) == ["Q", "A1"]
        history = await read(client, "/v1/contexts/c/compactions")
        told = [(row["strategy"], row["to_version"]) for row in history["compactions"]]
        assert told == [("rewind", 1), ("rewind", 2)]
        await append(client, ask("next"))
        assert texts(await read(client, path="current")) == ["Q", "A1", "next"]
        past = await read(client, "/v1/contexts/c/context", at_version=4)
        assert texts(past) == ["Q", "A2"]
        explained = await read(client, "/v1/contexts/c/context", explain="true")
        fates = [(r["from_seq"], r["to_seq"], r["state"]) for r in explained["explained"]]
        assert fates == [(1, 4, "kept")]

    run(story)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "to_version"),
        ({"to_version": 9}, "to_version"),
        ({"to_version": -1}, "to_version"),
        ({"to_version": "1"}, "to_version"),
        ({"to_version": 1, "to_seq": 1}, "to_seq"),
        ({"to_seq": 9}, "to_seq"),
        ({"to_seq": 3}, "to_seq"),
        ({"to_seq": 4}, "to_seq"),
        ({"to_seq": None}, "to_seq"),
        ({"to_place": 1}, "to_place"),
    ],
)
def test_where_nothing_can_go_back_to(body: dict[str, Any], field: str) -> None:
    """
    It is refused with the name of the field, and nothing changes.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await append(client, ask("Q"), reply("A", id="m"), ask("off"))
        await put(client, "m", reply("A!"))
        await rewind(client, to_seq=2)  # the revision 4 is undone with the message 3
        await put(client, "m", reply("A?"))
        await append(client, ask("on"))
        before = await read(client, "/v1/contexts/c")
        refused = await rewind(client, **body)
        assert (refused.status_code, refused.json()["field"]) == (400, field), refused.text
        assert await read(client, "/v1/contexts/c") == before

    run(story)


def test_a_revision_is_not_a_place() -> None:
    """
    The seq of a revision is refused with the place that it takes, even after the last place.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await append(client, ask("Q"))
        await put(client, "m", reply("A"))
        await put(client, "m", reply("A!"))
        for _ in range(2):
            refused = await rewind(client, to_seq=3)
            message = "The row 3 revises the message at place 2: name that place."
            assert (refused.status_code, refused.json()["message"]) == (400, message)
            await append(client, ask("R"))

    run(story)


def test_a_rewind_that_changes_nothing() -> None:
    """
    To the last place or the current version: nothing is written.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        assert (await rewind(client, to_seq=0)).json() == {"version": 0}
        await append(client, ask("Q"))
        for body in ({"to_seq": 1}, {"to_version": 1}):
            assert (await rewind(client, **body)).json() == {"version": 1}
        assert (await rewind(client, to_version=1, if_version=0)).status_code == 409
        assert (await rewind(client, to_seq=0)).json() == {"version": 2}
        assert (await read(client, path="current"))["messages"] == []
        assert (await read(client, "/v1/contexts/c"))["path"] == []
        await append(client, ask("R"))
        assert texts(await read(client, path="current")) == ["R"]

    run(story)


def test_revisions_made_later_are_undone() -> None:
    """
    A message is what it was at the version that a rewind goes back to.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        await put(client, "m", ask("one"))
        await put(client, "m", ask("two"))
        await append(client, reply("A"))
        await put(client, "m", ask("three"))
        await rewind(client, to_seq=1)
        assert texts(await read(client, path="current")) == ["two"]
        assert texts(await read(client, "/v1/contexts/c/context")) == ["two"]
        assert (await read(client, f"{MESSAGES}/m"))["seq"] == 2
        assert (await put(client, "m", ask("two"))).json()["seq"] == 2
        answer = (await put(client, "m", ask("four"))).json()
        assert (answer["seq"], answer["revises"]) == (5, 1)
        await rewind(client, to_version=0)
        assert (await read(client, f"{MESSAGES}/m"))["seq"] == 5  # the newest of the log
        assert (await put(client, "m", ask("five"))).status_code == 201

    run(story)


async def fork(client: httpx.AsyncClient, source: str = "c", **body: Any) -> httpx.Response:
    """Fork a context."""
    headers = body.pop("headers", None)
    return await client.post(f"/v1/contexts/{source}/fork", json=body, headers=headers)


def test_a_fork_has_the_path_of_its_source() -> None:
    """
    Renumbered, without revisions; both go on by themselves.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client, metadata={"title": "x"}, token_budget=500)
        await append(client, ask("Q"), reply("A1"))
        await rewind(client, to_seq=1)
        await put(client, "m", reply("A2"))
        await put(client, "m", reply("A3"))
        made = await fork(client, id="d")
        assert made.status_code == 201, made.text
        context = made.json()
        assert context == await read(client, "/v1/contexts/d")
        assert context["forked_from"] == {"id": "c", "version": 5}
        assert (context["version"], context["last_seq"]) == (2, 2)
        assert context["path"] == [{"from_seq": 1, "to_seq": 2}]
        assert (context["metadata"], context["token_budget"]) == ({"title": "x"}, 500)
        log = await read(client, "/v1/contexts/d/messages")
        assert texts(log) == ["Q", "A3"]
        assert ["revises" in message for message in log["messages"]] == [False, False]
        assert texts(await read(client, "/v1/contexts/d/context")) == ["Q", "A3"]
        assert (await read(client, "/v1/contexts/d/messages/m"))["seq"] == 2
        await append(client, ask("only here"), context_id="d")
        assert texts(await read(client, path="current")) == ["Q", "A3"]
        earlier = await fork(client, id="e", at_version=2, metadata={})
        assert earlier.json()["metadata"] == {}
        assert texts(await read(client, "/v1/contexts/e/messages")) == ["Q", "A1"]

    run(story)


def test_a_fork_has_the_window_of_its_source() -> None:
    """
    What a policy cut, stripped or a caller replaced is so in the fork too.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client, policy={"strategy": "manual"})
        await append(client, *[ask(f"{number}") for number in range(6)])
        await rewind(client, to_seq=4)
        await append(client, reply("A"), ask("end"))
        log = (await read(client))["messages"]
        body = {"replacement": [reply("summary"), log[3], log[6], log[7]]}
        assert (await client.post("/v1/contexts/c/compact", json=body)).status_code == 200
        made = await fork(client, id="d")
        assert (made.json()["version"], made.json()["last_seq"]) == (7, 6)
        ours = await read(client, "/v1/contexts/c/context")
        theirs = await read(client, "/v1/contexts/d/context")
        assert texts(theirs) == texts(ours) == ["summary", "3", "A", "end"]
        assert [message["seq"] for message in theirs["messages"]] == [None, 4, 5, 6]
        assert theirs["segments"] == [
            {"type": "summary", "from_seq": 1, "to_seq": 3},
            {"type": "live", "from_seq": 4, "to_seq": 6},
        ]
        history = (await read(client, "/v1/contexts/d/compactions"))["compactions"]
        assert [row["strategy"] for row in history] == ["fork"]

    run(story)


def test_forks_that_are_refused() -> None:
    """
    An id that is taken, or cannot be one; a version that there is not; a key used otherwise.
    """

    async def story(client: httpx.AsyncClient) -> None:
        assert (await fork(client, id="d")).status_code == 404
        await create(client)
        await create(client, "taken")
        await create(client, "gone")
        await client.delete("/v1/contexts/gone", params={"purge": "true"})
        await append(client, ask("Q"))
        for name, status, code in (
            ("taken", 409, "already_exists"),
            ("c", 409, "already_exists"),
            ("gone", 409, "purged"),
            ("", 400, "invalid_request"),
            ("..", 400, "invalid_request"),
        ):
            refused = await fork(client, id=name)
            assert (refused.status_code, refused.json()["error"]) == (status, code)
        ahead = await fork(client, id="d", at_version=9)
        assert (ahead.status_code, ahead.json()["field"]) == (400, "at_version")
        key = {"Idempotency-Key": "k"}
        made = await fork(client, id="d", headers=key)
        again = await fork(client, id="d", headers=key)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (again.status_code, again.content) == (201, made.content)
        other = await fork(client, id="e", headers=key)
        assert other.json()["error"] == "idempotency_conflict"
        await client.delete("/v1/contexts/c")
        assert (await fork(client, id="e")).status_code == 201
        empty = await fork(client, id="f", at_version=0)
        assert (empty.json()["last_seq"], empty.json()["path"]) == (0, [])
        listing = await read(client, "/v1/contexts")
        assert [one["id"] for one in listing["contexts"]] == ["c", "d", "e", "f", "taken"]

    run(story)


def test_what_a_fork_keeps_of_its_source() -> None:
    """
    The metadata unless there are others, no usage, and its copy when the source is purged.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client, metadata={"title": "x"})
        message = {"message": ask("Q"), "usage": {"input_tokens": 9, "output_tokens": 1}}
        assert (await client.post(MESSAGES, json=message)).status_code == 201
        await fork(client, id="whole")
        await fork(client, id="bare", metadata={})
        empty = (await fork(client, id="empty", at_version=0)).json()
        assert (empty["version"], empty["last_seq"], empty["metadata"]) == (1, 0, {"title": "x"})
        history = await read(client, "/v1/contexts/empty/compactions")
        assert [row["strategy"] for row in history["compactions"]] == ["fork"]
        await client.delete("/v1/contexts/c", params={"purge": "true"})
        forks = {one["id"]: one for one in (await read(client, "/v1/contexts"))["contexts"]}
        assert [one["forked_from"]["id"] for one in forks.values()] == ["c", "c", "c"]
        assert [one["usage"]["input_tokens"] for one in forks.values()] == [0, 0, 0]
        assert (forks["bare"]["metadata"], forks["whole"]["metadata"]) == ({}, {"title": "x"})
        assert texts(await read(client, "/v1/contexts/whole/messages")) == ["Q"]

    run(story)


def test_the_stored_response_of_a_fork_that_was_purged() -> None:
    """
    A retry does not tell of it again; its id is used up, and the source stays as it was.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        key = {"Idempotency-Key": "k"}
        assert (await fork(client, id="d", metadata={"a": 1}, headers=key)).status_code == 201
        await client.delete("/v1/contexts/d", params={"purge": "true"})
        again = await fork(client, id="d", metadata={"a": 1}, headers=key)
        assert (again.status_code, again.json()) == (
            409,
            {
                "error": "purged",
                "message": "A context with this id was purged; choose another id.",
                "field": "id",
            },
        )
        assert (await client.get("/v1/contexts/c")).status_code == 200

    run(story)


def test_a_long_fork() -> None:
    """
    10,000 messages in one request, while others write.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client, token_budget=300)
        for start in range(0, 10_000, 1000):
            await append(client, *[ask(f"{start + number}") for number in range(1000)])
        await create(client, "other")
        made, *_ = await asyncio.gather(
            fork(client, id="d"),
            *[append(client, ask("x"), context_id="other") for _ in range(20)],
        )
        assert made.json()["last_seq"] == 10_000
        ours = await read(client, "/v1/contexts/c/context")
        theirs = await read(client, "/v1/contexts/d/context")
        assert texts(ours) == texts(theirs)
        assert ours["segments"] == theirs["segments"]

    run(story)


def test_thinking_is_kept_where_its_beginning_is() -> None:
    """
    Going back changes nothing before what stays, and a fork has it too: signed thinking goes out.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        thinking = {"type": "thinking", "thinking": "Look it up.", "signature": "c2lnbmVk"}
        call = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "t1", "content": "blue"}
        messages = [
            {"role": "user", "content": "What colour?"},
            {"role": "assistant", "content": [thinking, call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": "Blue."},
        ]
        for message in messages:
            usage = {"input_tokens": 100, "output_tokens": 9}
            answer = await client.post(
                MESSAGES, params={"format": "anthropic"}, json={"message": message, "usage": usage}
            )
            assert answer.status_code == 201, answer.text
        await rewind(client, to_seq=3)
        await fork(client, id="d")
        for name in ("c", "d"):
            view = await read(client, f"/v1/contexts/{name}/context", format="anthropic")
            assert view["messages"] == messages[:3]
            assert view["repairs"] == []

    run(story)


def test_a_path_of_many_ranges() -> None:
    """
    A rewind that would need more than 1,000 is refused; a fork has one, and goes back as it likes.
    """

    async def story(client: httpx.AsyncClient) -> None:
        await create(client)
        for _ in range(999):
            kept, _ = await append(client, reply("kept"), ask("off"))
            assert (await rewind(client, to_seq=kept["seq"])).status_code == 200
        context = await read(client, "/v1/contexts/c")
        assert len(context["path"]) == 999
        kept, _ = await append(client, reply("kept"), ask("off"))
        before = await read(client, "/v1/contexts/c")
        assert len(before["path"]) == 1000
        for body in ({"to_seq": kept["seq"]}, {"to_version": before["version"] - 1}):
            refused = await rewind(client, **body)
            assert (refused.status_code, refused.json()["field"]) == (400, next(iter(body)))
            assert "fork instead" in refused.json()["message"]
        assert await read(client, "/v1/contexts/c") == before
        assert (await rewind(client, to_version=5)).status_code == 200
        assert (await rewind(client, to_version=before["version"])).status_code == 200
        made = (await fork(client, id="d")).json()
        assert (len(made["path"]), made["last_seq"]) == (1, 1001)
        body = {"to_seq": 1000}
        assert (await client.post("/v1/contexts/d/rewind", json=body)).status_code == 200
        theirs = await read(client, "/v1/contexts/d/messages", path="current", limit=2000)
        ours = await read(client, path="current", limit=2000)
        assert texts(theirs) == texts(ours)[:-1]

    run(story)
