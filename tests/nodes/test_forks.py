"""Forks on several nodes: what one of them leaves behind, another erases, and makes again."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fastpaca.context.context import FORMING_US
from tests.kit.http import GONE, Client, Reply, connected
from tests.kit.messages import user
from tests.kit.postgres import run_sql
from tests.kit.process import running, serving
from tests.nodes.cluster import POOL_SIZE, cluster
from tests.server.test_forks import COMMITS, all_of, fill, fork

TABLES = ("messages", "synthetics", "compactions", "answers")


async def left(dsn: str, name: str) -> dict[str, int]:
    """Count the rows of the fork *name*, and those of no context that there is."""
    there = "SELECT context_id FROM fastpaca.contexts WHERE id IS DISTINCT FROM $1"
    counts = {}
    for table in (*TABLES, "contexts"):
        sql = f"SELECT count(*) FROM fastpaca.{table} WHERE context_id NOT IN ({there})"
        counts[table] = (await run_sql(dsn, sql, name))[0][0]
    return {table: count for table, count in counts.items() if count}


async def age(dsn: str, name: str, by_us: int) -> None:
    """Let a fork have been touched longer ago."""
    sql = "UPDATE fastpaca.contexts SET updated_at_us = updated_at_us - $1 WHERE id = $2"
    await run_sql(dsn, sql, by_us, name)


def code(reply: Reply) -> tuple[int, str]:
    """Tell what was refused, and why."""
    return reply.status, reply.json["error"]


async def check_forming(http: Client, name: str) -> None:
    """While it forms it is there for nobody, and its id is taken."""
    path = f"/v1/contexts/{name}"
    message = {"message": user("hello")}
    for method, where, body in (
        ("GET", path, None),
        ("GET", f"{path}/messages", None),
        ("GET", f"{path}/context", None),
        ("POST", f"{path}/messages", message),
        ("PUT", f"{path}/messages/m1", message),
        ("POST", f"{path}/compact", {"replacement": []}),
        ("POST", f"{path}/rewind", {"to_version": 0}),
        ("POST", f"{path}/fork", {"id": "other"}),
        ("PATCH", f"{path}/metadata", {"metadata": {"a": 1}}),
        ("DELETE", path, None),
        ("DELETE", f"{path}?purge=true", None),
    ):
        assert code(await http.ask(method, where, body)) == (404, "not_found"), (method, where)
    assert code(await http.ask("PUT", path, {})) == (409, "already_exists")
    assert code(await fork(http, name)) == (409, "already_exists")
    listing = (await http.ask("GET", "/v1/contexts")).json
    assert name not in [one["id"] for one in listing["contexts"]]


@pytest.mark.slow
async def test_killed_at_every_piece(dsn: str, tmp_path: Path) -> None:
    """
    A node that dies before or after any commit of a fork: for a minute its id is taken and nothing
    can be read; then another node makes it, and no row is left of the first attempt.
    """
    async with cluster(dsn, tmp_path, 1) as nodes, nodes.client() as http:
        await fill(http)
        source = await all_of(http, "source")
        dying = tmp_path / "dying"
        dying.mkdir()
        flags = ("--store", dsn, "--db-pool-size", str(POOL_SIZE))
        for number, when in itertools.product(range(1, COMMITS + 1), ("before", "after")):
            name = f"{when}-{number}"
            program = ("tests.server.mortal", when, str(number))
            with running(serving(dying, *flags, program=program), dying) as process:
                async with connected(process.port) as mortal:
                    with pytest.raises(GONE):
                        await fork(mortal, name, key=name)
            made = {
                "messages": 3000,
                "compactions": 1,
                "synthetics": 1,
                "answers": 1,
                "contexts": 1,
            }
            if name == f"after-{COMMITS}":
                replayed = await fork(http, name, key=name)
                assert replayed.headers["idempotent-replayed"] == "true"
            elif name == "before-1":
                assert await left(dsn, name) == {}
                assert (await http.ask("GET", f"/v1/contexts/{name}")).status == 404
                continue
            else:
                await check_forming(http, name)
                await age(dsn, name, FORMING_US - 20_000_000)
                await check_forming(http, name)
                await age(dsn, name, 20_000_000)
                assert (await http.ask("GET", f"/v1/contexts/{name}")).status == 404
                put = await http.ask("PUT", f"/v1/contexts/{name}", {})
                assert code(put) == (409, "already_exists")
                reply = await fork(http, name, key=name)
                assert (reply.status, "idempotent-replayed" in reply.headers) == (201, False)
            assert await all_of(http, name) == source
            assert await left(dsn, name) == made


async def test_two_nodes_fork_to_one_id(dsn: str, tmp_path: Path) -> None:
    """Whichever is first makes it, also of what was abandoned, and the other is told so."""
    async with cluster(dsn, tmp_path, 2) as nodes, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(nodes.client(n)) for n in (0, 1)]
        await fill(clients[0], messages=1_000)
        for name in (f"fork{number}" for number in range(6)):
            replies = await asyncio.gather(*[fork(client, name) for client in clients])
            assert sorted(reply.status for reply in replies) == [201, 409], replies
            assert {reply.json.get("error") for reply in replies} == {None, "already_exists"}
            for client in clients:
                assert await all_of(client, name) == await all_of(client, "source")


async def test_a_node_reads_what_another_has_just_made(dsn: str, tmp_path: Path) -> None:
    """One that is asked for it all the time says 404 until it is whole, and then has all of it."""
    async with cluster(dsn, tmp_path, 2) as nodes, nodes.client(0) as one, nodes.client(1) as two:
        await fill(one)
        asked = asyncio.create_task(fork(one))
        refused = 0
        while (reply := await two.ask("GET", "/v1/contexts/fork/context")).status != 200:
            assert code(reply) == (404, "not_found")
            refused += 1
        assert refused
        assert await all_of(two, "fork") == await all_of(one, "source")
        assert (await asked).status == 201
        appended = await two.ask("POST", "/v1/contexts/fork/messages", {"message": user("on")})
        assert appended.json["seq"] == 3001
