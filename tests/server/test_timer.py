"""The timer of a connection: it fires at the deadline that was set last, and not before."""

import asyncio
from functools import partial

from fastpaca.api.timer import DeadlineTimer


async def test_timer_fires_at_the_deadline_that_was_set_last() -> None:
    """
    A later time replaces an earlier one and an earlier one a later, though the timer may run on.
    """
    loop = asyncio.get_running_loop()
    for times in ((0.01, 0.1), (10.0, 0.1)):
        timer = DeadlineTimer(loop)
        fired: asyncio.Future[None] = loop.create_future()
        began = loop.time()
        for seconds in times:
            timer.set(seconds, partial(fired.set_result, None))
        assert timer.is_set
        await asyncio.wait_for(fired, 5)
        assert loop.time() >= began + 0.1
        assert not timer.is_set


async def test_timer_that_was_cleared_does_not_fire() -> None:
    """
    Nothing is called after `clear`, nor after `stop`; and after `clear` it can be set again.
    """
    calls: list[str] = []
    timer = DeadlineTimer(asyncio.get_running_loop())
    timer.set(0.01, lambda: calls.append("cleared"))
    timer.clear()
    await asyncio.sleep(0.03)
    timer.set(0.01, lambda: calls.append("set again"))
    await asyncio.sleep(0.05)
    timer.set(0.01, lambda: calls.append("stopped"))
    timer.stop()
    await asyncio.sleep(0.03)
    assert calls == ["set again"]
