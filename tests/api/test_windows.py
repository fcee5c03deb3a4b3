"""The LLM context over HTTP: budgets, ETags, and views that are kept."""

from __future__ import annotations

import httpx
import pytest

from fastpaca.api.app import create_app
from fastpaca.api.request import Response
from fastpaca.api.views import VIEW_BYTES_MAX, Views
from fastpaca.context import ContextState, WindowView
from fastpaca.service import Service
from fastpaca.testing import ManualClock, SocketlessNode, composed, running
from fastpaca.tokens import counter_for
from tests.kit.app import append, create, error_of, run
from tests.kit.messages import user

WINDOW = "/v1/contexts/c/context"


async def etag(client: httpx.AsyncClient, **query: int | str) -> str:
    """The ETag of a view, which is that of the 304 as well."""
    response = await client.get(WINDOW, params=query)
    tag = response.headers["etag"]
    again = await client.get(WINDOW, params=query, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert "content-type" not in again.headers
    assert "content-length" not in again.headers
    return tag


async def test_the_etag_changes_whenever_the_answer_would() -> None:
    """Appends, compactions, budgets and policies each give a view a name of its own."""
    clock = ManualClock()
    async with running(composed(clock=clock)) as client:
        await create(client, token_budget=1000)
        tags = [await etag(client)]
        for fields in (
            {"token_budget": 900},
            {"trigger_ratio": 0.8},
            {"policy": {"strategy": "last_n", "config": {"target_ratio": 0.4}}},
            {"policy": {"strategy": "skip_parts", "config": {"target_ratio": 0.4}}},
            {"policy": {"strategy": "manual"}},
        ):
            await client.put("/v1/contexts/c", json=fields)
            tags.append(await etag(client))
        await append(client, user("One"))
        tags.append(await etag(client))
        await client.post("/v1/contexts/c/compact", json={"replacement": []})
        tags.append(await etag(client))
        tags.append(await etag(client, budget_tokens=899))
        tags.append(await etag(client, budget_tokens=900))  # fitted, which a manual window is not
        assert len(set(tags)) == len(tags)


async def test_the_etag_stays_when_the_answer_does(client: httpx.AsyncClient) -> None:
    """Metadata, a deletion, and naming the budget that applies anyway do not change a view."""
    await create(client, token_budget=1000)
    await append(client, user("One"))
    first = await client.get(WINDOW)
    tag = await etag(client)
    assert await etag(client, budget_tokens=1000) == tag
    assert await etag(client, if_version=1) == tag
    await client.patch("/v1/contexts/c/metadata", json={"metadata": {"a": 1}})
    assert await etag(client) == tag
    await client.delete("/v1/contexts/c")
    assert await etag(client) == tag
    assert (await client.get(WINDOW)).content == first.content


def test_contexts_of_the_same_shape_have_etags_of_their_own() -> None:
    """A context that took the place of another, as in a restored backup, is told from it."""
    clock = ManualClock()

    async def story(client: httpx.AsyncClient) -> str:
        clock.advance(1)
        await create(client)
        await append(client, user("One"))
        return await etag(client)

    assert run(story, composed(clock=clock)) != run(story, composed(clock=clock))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"a", {tag}', 304),
        ('"a" ,W/{tag},"b"', 304),
        ("*", 304),
        (" * ", 304),
        ('"a"', 200),
        ("", 200),
        ("{bare}", 200),
        ("w/{tag}", 200),
        ('"*"', 200),
        (",,,", 200),
    ],
)
async def test_if_none_match_is_compared_weakly(
    client: httpx.AsyncClient, header: str, status: int
) -> None:
    """Lists, weak tags and `*` are understood; what is no list of tags matches nothing."""
    await create(client)
    tag = await etag(client)
    sent = header.format(tag=tag, bare=tag.strip('"'))
    response = await client.get(WINDOW, headers={"If-None-Match": sent})
    assert response.status_code == status


async def test_several_if_none_match_headers_are_one_list(client: httpx.AsyncClient) -> None:
    """A header that may stand more than once is read as if it were one."""
    await create(client)
    tag = await etag(client)
    headers = [("If-None-Match", '"a"'), ("If-None-Match", tag)]
    assert (await client.get(WINDOW, headers=headers)).status_code == 304


async def test_the_version_is_checked_before_the_etag(client: httpx.AsyncClient) -> None:
    """A reader that guards the version is told of a change also if it names a tag."""
    await create(client)
    headers = {"If-None-Match": "*"}
    answer = await client.get(WINDOW, params={"if_version": 1}, headers=headers)
    error_of(answer, 409, "conflict")


class CountingService(Service):
    """Counts the views that it makes."""

    views = 0

    async def view(self, context: ContextState, budget_tokens: int | None) -> WindowView:
        self.views += 1
        return await super().view(context, budget_tokens)


def counting_node() -> tuple[SocketlessNode, CountingService]:
    node = composed()
    service = CountingService(node.engine, counter_for("chars"), node.metrics)
    app = create_app(service, node.engine, node.settings, node.metrics, backup=node.store.backup)
    node.app, node.service = app, service
    return node, service


async def test_a_304_computes_no_view() -> None:
    """Who has the view already costs nothing, even if nobody has asked for it since a start."""
    node, service = counting_node()
    async with running(node) as client:
        await create(client)
        await append(client, user("One"))
        tag = (await client.get(WINDOW)).headers["etag"]
        await append(client, user("Two"), context_id="c")
        assert (await client.get(WINDOW, headers={"If-None-Match": "*"})).status_code == 304
        assert service.views == 1
        assert (await client.get(WINDOW, headers={"If-None-Match": tag})).status_code == 200
        assert service.views == 2


async def test_a_view_is_made_once_for_a_state() -> None:
    """Reads between two changes are the same bytes, made once; a change makes the next."""
    node, service = counting_node()
    async with running(node) as client:
        await create(client)
        await append(client, user("One"))
        answers = [(await client.get(WINDOW)).content for _ in range(5)]
        assert len(set(answers)) == 1
        assert service.views == 1
        for change, count in ((user("Two"), 2), (user("Three"), 3)):
            await append(client, change)
            view = (await client.get(WINDOW)).json()
            assert len(view["messages"]) == count
        await client.put("/v1/contexts/c", json={"token_budget": 5})
        assert (await client.get(WINDOW)).json()["token_budget"] == 5
        assert (await client.get(WINDOW, params={"budget_tokens": 7})).json()["token_budget"] == 7
        assert service.views == 5


async def test_kept_views_are_bounded() -> None:
    """Views are kept up to a number of bytes, the least recently used go, large ones never stay."""
    node = composed()
    async with running(node) as client:
        views = Views(bytes_max=5_000)
        contexts = []
        for name in ("a", "b", "c"):
            await create(client, name)
            contexts.append(await node.service.get(name))
        answer = Response(200, b"kept")
        a, b, c = contexts
        views.put(a, None, None, answer, 1000)
        views.put(b, None, None, answer, 1000)
        assert views.get(a, None, None) == answer
        views.put(c, None, None, answer, 1000)
        assert views.get(b, None, None) is None
        assert views.get(a, None, None) == views.get(c, None, None) == answer
        assert views.get(a, 5, None) is None
        views.put(a, None, None, answer, VIEW_BYTES_MAX + 1)
        assert views.get(a, None, None) is None


async def test_large_windows_are_answered_whole(client: httpx.AsyncClient) -> None:
    """A window of thousands of messages is one answer, whole and under its budget."""
    await create(client, token_budget=10**9, policy={"strategy": "manual"})
    for _ in range(3):
        await append(client, *(user(f"m{n}") for n in range(1000)))
    view = (await client.get(WINDOW)).json()
    assert [message["seq"] for message in view["messages"]] == list(range(1, 3001))
    assert view["used_tokens"] == sum(message["token_count"] for message in view["messages"])
    cut = (await client.get(WINDOW, params={"budget_tokens": 5000})).json()
    assert cut["used_tokens"] <= 5000
    assert cut["fit"] == "dropped"
    assert cut["window_tokens"] == view["window_tokens"]


async def test_a_replacement_has_at_most_10000_messages(client: httpx.AsyncClient) -> None:
    """As many messages as one page of the log may be a replacement, and no more."""
    await create(client)
    path = "/v1/contexts/c/compact"
    answer = await client.post(path, json={"replacement": [user("x")] * 10_001})
    assert error_of(answer, 400, "invalid_request")["field"] == "replacement"
    answer = await client.post(path, json={"replacement": [user("x")] * 10_000})
    assert answer.json() == {"version": 1}


async def test_an_explained_view_has_an_etag_of_its_own(client: httpx.AsyncClient) -> None:
    """What is asked for more is part of the answer, so neither stands for the other."""
    await create(client)
    await append(client, user("Hello"))
    plain, explained = await etag(client), await etag(client, explain="true")
    assert plain != explained
    assert await etag(client, explain="false") == plain
    assert plain == await etag(client), "a view that is kept has no explanation"
    for tag, query, status in (
        (plain, {"explain": "true"}, 200),
        (explained, {}, 200),
        (explained, {"explain": "true"}, 304),
    ):
        answer = await client.get(
            "/v1/contexts/c/context", params=query, headers={"If-None-Match": tag}
        )
        assert answer.status_code == status
        assert ("explained" in (answer.json() if answer.content else {})) == (
            status == 200 and bool(query)
        )


@pytest.mark.parametrize("value", ["1", "yes", "True", ""])
async def test_explain_is_true_or_false(client: httpx.AsyncClient, value: str) -> None:
    """Any other value is refused, naming the parameter."""
    await create(client)
    answer = await client.get("/v1/contexts/c/context", params={"explain": value})
    assert (answer.status_code, answer.json()["field"]) == (400, "explain")


async def test_a_long_history_is_read_in_pages(client: httpx.AsyncClient) -> None:
    """What became of the oldest message is found however many rewrites came after it."""
    await create(client, token_budget=100, policy={"strategy": "manual"})
    await append(client, user("one"), user("two"))
    kept = (await client.get("/v1/contexts/c/context")).json()["messages"][1:]
    for _ in range(250):
        await client.post("/v1/contexts/c/compact", json={"replacement": kept})
    answer = await client.get("/v1/contexts/c/context", params={"explain": "true"})
    assert answer.json()["explained"] == [
        {"from_seq": 1, "to_seq": 1, "state": "dropped", "by": 3},
        {"from_seq": 2, "to_seq": 2, "state": "kept", "by": None},
    ]
