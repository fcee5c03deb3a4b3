"""The alarm of a connection: it rings when it was last told to, and not before."""

import asyncio
from functools import partial

from fastpaca.api.alarm import Alarm


async def test_alarm_rings_when_it_was_last_told_to() -> None:
    """
    A later time replaces an earlier one and an earlier one a later, though the timer may run on.
    """
    loop = asyncio.get_running_loop()
    for times in ((0.01, 0.1), (10.0, 0.1)):
        alarm = Alarm(loop)
        rung: asyncio.Future[None] = loop.create_future()
        began = loop.time()
        for seconds in times:
            alarm.set(seconds, partial(rung.set_result, None))
        assert alarm.is_set
        await asyncio.wait_for(rung, 5)
        assert loop.time() >= began + 0.1
        assert not alarm.is_set


async def test_alarm_that_was_cleared_does_not_ring() -> None:
    """
    Nothing is called after `clear`, nor after `stop`; and after `clear` it can be set again.
    """
    calls: list[str] = []
    alarm = Alarm(asyncio.get_running_loop())
    alarm.set(0.01, lambda: calls.append("cleared"))
    alarm.clear()
    await asyncio.sleep(0.03)
    alarm.set(0.01, lambda: calls.append("set again"))
    await asyncio.sleep(0.05)
    alarm.set(0.01, lambda: calls.append("stopped"))
    alarm.stop()
    await asyncio.sleep(0.03)
    assert calls == ["set again"]
