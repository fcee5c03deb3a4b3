"""A node behind nginx, set up as the documentation says: every id arrives as it was meant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import unix_connect

from tests.api.test_ids import IDS
from tests.deploy.nginx import running_nginx
from tests.docs.pages import DOCS, Page
from tests.kit.http import PATIENCE_SECONDS
from tests.kit.messages import user
from tests.kit.process import started

KEY = {"Authorization": "Bearer key"}
MESSAGE = {"message": user("Hi")}


def documented() -> tuple[str, str]:
    """Give the configurations of the page: of a node at the root, and of one under a path."""
    blocks = [block.text for block in Page(DOCS / "deployment.md").blocks]
    root, below = (text for text in blocks if "proxy_pass" in text)
    # The second one goes on from the first, of which it takes the place of the server.
    return root, root.partition("server {\n    listen")[0] + below


@asynccontextmanager
async def behind_nginx(
    directory: Path, config: str, prefix: str = ""
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient, Path]]:
    """Run both; give a client through nginx, one beside it, and the socket of nginx."""
    with (
        started(directory, FASTPACA_API_KEY="key") as process,
        running_nginx(config, process.port) as listener,
    ):
        through = httpx.AsyncHTTPTransport(uds=str(listener))
        async with (
            httpx.AsyncClient(
                base_url=f"http://fastpaca.example{prefix}", transport=through, headers=KEY
            ) as proxied,
            httpx.AsyncClient(base_url=process.address, headers=KEY) as direct,
        ):
            yield proxied, direct, listener


@pytest.mark.parametrize("prefix", ["", "/fastpaca"])
async def test_ids_arrive_as_they_were_sent(tmp_path: Path, prefix: str) -> None:
    """
    Through both documented configurations each id is the one that the client encoded, steps and
    slashes included, and so are a query, a WebSocket and an event stream.
    """
    config = documented()[bool(prefix)]
    async with behind_nginx(tmp_path, config, prefix) as (proxied, direct, listener):
        for context_id in dict.fromkeys((*IDS, "plain/../victim", "victim")):
            path = "/v1/contexts/" + quote(context_id, safe="")
            created = await proxied.put(path)
            assert (created.status_code, created.json()["id"]) == (201, context_id)
        await proxied.delete("/v1/contexts/plain%2F..%2Fvictim", params={"purge": True})
        assert (await direct.get("/v1/contexts/victim")).status_code == 200
        assert (await direct.get("/v1/contexts/plain%2F..%2Fvictim")).status_code == 404

        path = "/v1/contexts/a%2Fb"
        assert (await proxied.post(f"{path}/messages", json=MESSAGE)).status_code == 201
        address = f"ws://fastpaca.example{prefix}{path}/stream?cursor=0"
        async with unix_connect(str(listener), address, additional_headers=KEY) as socket:
            assert json.loads(await socket.recv())["type"] == "message"
        async with proxied.stream(
            "GET", f"{path}/events?cursor=0", timeout=PATIENCE_SECONDS
        ) as answer:
            lines = answer.aiter_lines()
            assert any([line.startswith("data: ") async for line in _first(lines, 3)])


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        count -= 1
        if not count:
            return


@pytest.mark.parametrize("prefix", ["", "/fastpaca"])
async def test_raw_steps_come_to_nothing(tmp_path: Path, prefix: str) -> None:
    """
    A path with steps that nobody encoded is handed on as it is, and refused.
    """
    config = documented()[bool(prefix)]
    async with behind_nginx(tmp_path, config, prefix) as (_, direct, listener):
        await direct.put("/v1/contexts/victim")
        for steps in (
            "plain/../victim",
            "plain/%2e%2e/victim",
            f"../../..{prefix}/v1/contexts/victim",
        ):
            status = await _raw_status(listener, f"DELETE {prefix}/v1/contexts/{steps}?purge=true")
            assert status == 400, steps
        assert (await direct.get("/v1/contexts/victim")).status_code == 200


async def test_a_path_in_proxy_pass_leads_elsewhere(tmp_path: Path) -> None:
    """
    What the page warns of is so: a slash behind the name, and an id becomes that of another.
    """
    config = documented()[0]
    wrong = config.replace("http://fastpaca;", "http://fastpaca/;")
    assert wrong != config
    async with behind_nginx(tmp_path, wrong) as (proxied, _, _):
        created = await proxied.put("/v1/contexts/plain%2F..%2Fvictim")
        assert created.json()["id"] == "victim"
        read = await proxied.get("/v1/contexts/victim%2Fmessages")
        assert "messages" in read.json()
        lost = await proxied.get("/v1/contexts/a%2Fb")
        assert lost.status_code == 404
        assert "let proxies pass the path on unchanged" in lost.json()["message"]


async def _raw_status(listener: Path, line: str) -> int:
    """Send a request line as it is, which a client would tidy, and give the status."""
    reader, writer = await asyncio.open_unix_connection(str(listener))
    head = f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer key\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])
