"""
A window that is not looked at again and again comes out as if it were.

What a window knows of its groups, and that it can't become smaller, only saves work: it must be
what looking would have found. So each story is told twice here, to a context, and to a window that
forgets at every step what it knew.
"""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from fastpaca.context import ContextState, LastN, Manual, Policy, SkipParts
from fastpaca.context.ops import Append, Put
from fastpaca.context.policies import compact, is_due
from fastpaca.context.window import Window
from tests.context.conversation import Conversation, image
from tests.kit.messages import Message, assistant, call, counted, result, system, tool, user

POLICIES: list[Policy] = [
    LastN(),
    LastN(limit=2),
    LastN(limit=1, target_ratio=1.0),
    LastN(start_on_user=False),
    SkipParts(),
    SkipParts(("reasoning",), limit=2),
]


def drawn(rng: Random) -> Message:
    """Draw a message such as steps are made of; ids are few, so that they repeat."""
    one, other = rng.choices("abc", k=2)
    thought = {"type": "reasoning", "text": "hm"}
    content = rng.choice(
        [
            user("x"),
            user("x", thought),
            assistant("x"),
            system("x"),
            assistant(call(one)),
            assistant(call(one), call(other)),
            assistant(thought, call(one)),
            tool(result(one)),
            tool(result(one)),
            tool(result(one), result(other)),
            user(result(one), "x"),
            user(result(one), thought),
            assistant(result(one), call(other)),
            assistant(call(one), result(other)),
            assistant({"type": "tool-x", "toolCallId": one}, call(other)),
            assistant({"type": "compaction", "content": "They met."}),
        ]
    )
    return {**content, "token_count": rng.choice([5, 10, 10, 40])}


CHOICES = [counted(drawn(Random(seed))) for seed in range(400)]


def looked_at(window: Window, talk: Conversation) -> Window:
    """Let the newest message in as the context did, with a window that knows nothing."""
    admitted = window.admit(talk.logged(talk.context.last_seq))
    forgetful = admitted.apart()
    return compact(forgetful, talk.config) if is_due(forgetful, talk.config) else forgetful


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("budget", [1, 30, 60, 120])
def test_what_is_known_is_what_looking_would_find(policy: Policy, budget: int) -> None:
    """
    After every append of every story both windows are the same.
    """
    for seed in range(20):
        rng = Random(seed)
        talk = Conversation(policy, token_budget=budget, trigger_ratio=rng.choice([0.5, 1.0]))
        window = talk.window
        for _ in range(14):
            talk.apply(Append((rng.choice(CHOICES),)))
            window = looked_at(window, talk)
            assert image(talk.window) == image(window), f"seed {seed}"
            for asked in (20, 45):
                assert talk.context.view(asked) == seen_afresh(talk).view(asked), f"seed {seed}"
            if rng.random() < 0.05:
                talk.apply(Put(token_budget=rng.choice([budget, 20, 90])))


def seen_afresh(talk: Conversation) -> ContextState:
    """Give the context with a window that knows nothing."""
    return msgspec.structs.replace(talk.context, window=talk.window.apart())


def test_reads_of_earlier_windows_come_out_the_same() -> None:
    """
    What readers know is shared by windows that grow from each other; each sees its own length.
    """
    talk = Conversation(Manual())
    earlier: list[ContextState] = []
    for number in range(60):
        talk.say(drawn(Random(number)))
        talk.context.view(40)
        earlier.append(talk.context)
    for context in earlier[::-7]:
        afresh = msgspec.structs.replace(context, window=context.window.apart())
        assert context.view(40) == afresh.view(40)


def test_a_limit_that_is_reached_is_noticed() -> None:
    """
    A window that tokens can't make smaller loses what stands before its task once the limit does.
    """
    talk = Conversation(LastN(limit=3, target_ratio=0.8), token_budget=1000, trigger_ratio=0.5)
    talk.say_one_by_one(user("a" * 86), user("b" * 36), assistant("c" * 396))
    assert talk.seqs == [1, 2, 3]
    talk.say(assistant(call("a"), token_count=10))
    assert talk.seqs == [2, 3, 4]


def test_a_block_that_begins_later_than_before_is_noticed() -> None:
    """
    A cut may take a late result with its call, so that more may go than when it was made.
    """
    talk = Conversation(LastN(), token_budget=700, trigger_ratio=0.5)
    talk.say_one_by_one(
        assistant("x", token_count=40),
        assistant(call("c"), token_count=80),
        user("x", token_count=20),
        system("x", token_count=60),
        assistant(result("c"), token_count=90),
        assistant(call("d"), call("e"), token_count=60),
        system("x", token_count=10),
    )
    assert talk.seqs == [3, 4, 6, 7]
    talk.say(tool(result("d"), token_count=400))
    assert talk.seqs == [3, 6, 7, 8]


def test_a_change_of_the_configuration_is_noticed() -> None:
    """
    What was known under one configuration is looked at again under another.
    """
    talk = Conversation(LastN(), token_budget=200)
    talk.say_one_by_one(user("x" * 76), assistant(call("a"), call("b"), token_count=80))
    talk.say(tool(result("a"), token_count=10))
    assert talk.seqs == [1, 2, 3]
    talk.say(tool(result("b"), token_count=5), assistant(call("c"), token_count=60))
    assert talk.seqs == [1, 5]
