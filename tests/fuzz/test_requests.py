"""Whole requests: none is a 5xx, what is refused changes nothing, what is taken reads back."""

from __future__ import annotations

import json

import httpx
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.testing import composed
from tests.fuzz import texts
from tests.fuzz.effort import Effort
from tests.fuzz.readings import Members, Number, kept_of, read
from tests.fuzz.world import Attack, attacks, check_shape, check_views, prepared, state
from tests.kit.app import create, run
from tests.kit.requests import body_headers, send


def test_whatever_is_refused_changes_nothing(effort: Effort) -> None:
    """
    After any refusal every answer, every context in memory and every row of the store is as before.
    """

    @given(st.lists(attacks, min_size=1, max_size=4))
    def holds(sent: list[Attack]) -> None:
        node = composed()

        async def story(client: httpx.AsyncClient) -> None:
            await prepared(client)
            before = await state(node)
            for attack in sent:
                reply = await attack.reply(node)
                check_shape(attack, reply)
                after = await state(node)
                if reply.status >= 400:
                    assert after == before
                before = after
            check_views(before.answers)

        run(story, node)

    effort.attack(holds, few=150)


def test_attacks_on_a_guarded_node_change_nothing(effort: Effort) -> None:
    """
    Without its key, a node answers nothing but 401 and its health, and nothing changes.
    """

    @given(attacks)
    def holds(attack: Attack) -> None:
        node = composed(api_keys=("secret",), cors_origins=("https://a.example",))

        async def story(client: httpx.AsyncClient) -> None:
            client.headers["Authorization"] = "Bearer secret"
            await prepared(client)
            before = await state(node)
            reply = await attack.reply(node)
            check_shape(attack, reply)
            assert reply.status in {400, 401, 403} or attack.method == "OPTIONS"
            assert await state(node) == before

        run(story, node)

    effort.attack(holds, few=60)


good_bodies = st.lists(texts.good_messages, min_size=1, max_size=3).flatmap(
    lambda messages: texts.written({"messages": messages})
)
"""Appends that must be taken, in any spelling."""


def test_whatever_is_taken_reads_back(effort: Effort) -> None:
    """
    Every message that is one is taken, and comes back value for value, number by number.
    """

    @given(good_bodies)
    def holds(body: bytes) -> None:
        node = composed()

        async def story(client: httpx.AsyncClient) -> None:
            await create(client)
            path = b"/v1/contexts/c/messages"
            reply = await send(node.app, "POST", path, headers=body_headers(body), pieces=[body])
            assert reply.status == 201, reply
            results = json.loads(reply.body)["results"]
            answer = await client.get("/v1/contexts/c/messages?limit=10000")
            logged = read(answer.content).last("messages")
            sent = read(body).last("messages")
            for found, message, result in zip(logged, sent, results, strict=True):
                assert found.without("seq", "version", "token_count", "inserted_at") == kept_of(
                    message
                )
                check_added(found, message, result)

        run(story, node)

    effort.attack(holds, few=150)


def check_added(found: Members, message: Members, result: dict[str, int]) -> None:
    """Hold what the log adds to a *message* against the answer to its append."""
    assert found.last("seq") == Number(str(result["seq"]))
    assert found.last("version") == Number(str(result["version"]))
    assert found.last("token_count") == Number(str(result["token_estimate"]))
    assert dict(message).get("token_count", found.last("token_count")) == found.last("token_count")
