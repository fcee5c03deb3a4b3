"""
The stories of the SDKs: against a node that answers as they tell, and against the real application.

That the application answers each single request as told is proved in `tests/api/test_golden.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from fastpaca import AsyncFastpaca, Fastpaca, FastpacaError, Retries
from fastpaca.testing import AppTransport, composed
from tests.client.stories import Script, Scripted, Told, stories, told

AT_ONCE = Retries(wait_seconds=0.0, wait_seconds_max=0.0)

ALL = pytest.mark.parametrize("story", stories())


@ALL
def test_story_of_the_waiting_client(story: dict[str, Any]) -> None:
    """
    The client sends what the story tells, over all faults, and gives what it tells.
    """
    script = Script()
    with Fastpaca("http://node", transport=lambda: Scripted(script), retries=AT_ONCE) as client:
        for call in told(story):
            script.expect(call)
            play(client, call)
    script.done()


@ALL
async def test_story_of_the_async_client(story: dict[str, Any]) -> None:
    """
    The client of asyncio sends and gives the same.
    """
    script = Script()
    make = partial(Scripted, script)
    async with AsyncFastpaca("http://node", transport=make, retries=AT_ONCE) as client:
        for call in told(story):
            script.expect(call)
            await play_async(client, call)
    script.done()


@ALL
async def test_story_on_the_application(story: dict[str, Any]) -> None:
    """
    Without the faults, the client comes to the same with the real application.
    """
    settings: dict[str, Any] = {name: tuple(v) for name, v in story.get("settings", {}).items()}
    node = composed(**settings)
    await node.engine.start()
    try:
        async with AsyncFastpaca(
            "http://localhost", transport=lambda: AppTransport(node.app)
        ) as client:
            for call in told(story):
                if not call.is_made_of_faults:
                    await play_async(client, call)
    finally:
        await node.engine.stop()


def play(client: Fastpaca, call: Told) -> None:
    try:
        given = call.made_on(client)
        if isinstance(given, Iterator):
            call.check_values(list(given))
        else:
            call.check_value(given)
    except FastpacaError as error:
        call.check_error(error)


async def play_async(client: AsyncFastpaca, call: Told) -> None:
    try:
        given = call.made_on(client)
        if isinstance(given, AsyncIterator):
            call.check_values([value async for value in given])
        else:
            call.check_value(await given)
    except FastpacaError as error:
        call.check_error(error)
