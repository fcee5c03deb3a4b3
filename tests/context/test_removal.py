"""What is left of a message that calls were taken out of."""

from __future__ import annotations

import json

from fastpaca.context.removal import taken_out
from fastpaca.shapes import CALLS_PLACE
from tests.context.conversation import Conversation
from tests.kit.messages import assistant


def test_calls_of_a_key_go_one_after_the_other_as_they_go_at_once() -> None:
    """
    A call that has gone keeps its place, so that the next one to go is the one that was named.
    """
    talk = Conversation()
    talk.say(assistant("so", tool_calls=[{"id": name, "function": {}} for name in "abcd"]))
    (whole,) = talk.window
    first = taken_out(whole, {CALLS_PLACE})
    assert first is not None
    both = taken_out(first, {CALLS_PLACE - 2})
    assert both is not None
    assert [one["id"] for one in json.loads(both.body)["tool_calls"]] == ["b", "d"]
    at_once = taken_out(whole, {CALLS_PLACE, CALLS_PLACE - 2})
    assert at_once is not None
    assert (at_once.reading, at_once.without) == (both.reading, both.without)
