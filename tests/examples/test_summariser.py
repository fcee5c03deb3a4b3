"""The worker that summarises, as a process: alone, as one of two, and after a while away."""

from __future__ import annotations

import pytest

from fastpaca import Context, Fastpaca
from tests.examples.browser import eventually
from tests.examples.world import Example, World, log_of, text_of
from tests.kit.messages import assistant, system, user

BUDGET = 200
KEEP_LAST = 2

INTRODUCTION = "Summary of the conversation so far: "


@pytest.fixture
def context(fastpaca: Fastpaca, request: pytest.FixtureRequest) -> Context:
    """A conversation that begins with a system prompt, and that waits to be summarised."""
    context = fastpaca.context(request.node.name, budget=BUDGET, policy="manual")
    context.append(system("Be brief."))
    return context


def talk(context: Context, first: int, last: int) -> None:
    """
    Append messages of a user and answers to them, 15 tokens each or a little more; all at once, so
    that a worker finds as many, however fast it is.
    """
    context.append(
        [
            (user if number % 2 else assistant)(f"Message number {number} of a long conversation.")
            for number in range(first, last + 1)
        ]
    )


def start(world: World, context: Context) -> Example:
    """Start a worker for a conversation."""
    return world.start("summariser/summariser.py", context.id, "--keep-last", str(KEEP_LAST))


def window_of(context: Context) -> list[tuple[str, str]]:
    """Give what the model would be sent, as role and text."""
    return [(message.role, text_of(message.parts)) for message in context.context().messages]


def test_window_is_summarised_while_the_conversation_goes_on(
    world: World, context: Context
) -> None:
    """
    Above the trigger the old messages become a summary, what is said meanwhile stays behind it, and
    the log stays whole. The next summary stands for the first one too.
    """
    start(world, context)
    talk(context, 1, 10)
    eventually(lambda: len(world.model.requests) == 1, "a request for a summary")
    talk(context, 11, 11)
    world.model.let_out(None)
    eventually(lambda: list(context.compactions()), "a compaction")

    instruction, *asked, request = world.model.prompts[0]
    assert instruction[0] == "system"
    assert request[0] == "user"
    log = log_of(context)
    assert asked == log[1:9]
    summary = (
        f"{INTRODUCTION}8 lines, from “user: Message number 1 of a …”"
        " to “assistant: Message number 8 of a …”."
    )
    assert window_of(context) == [log[0], ("user", summary), *log[9:]]
    assert [text for _, text in log[1:]] == [
        f"Message number {number} of a long conversation." for number in range(1, 12)
    ]

    talk(context, 12, 18)
    eventually(lambda: len(list(context.compactions())) == 2, "a second compaction")
    assert world.model.prompts[1][1] == ("user", summary)
    window = window_of(context)
    assert window[0] == log[0]
    assert [text for _, text in window].count(summary) == 0
    assert not context.context().needs_compaction
    assert len(log_of(context)) == 19


def test_two_workers_make_one_summary(world: World, context: Context) -> None:
    """
    If two workers summarise at the same time, one summary is kept and the other dropped.
    """
    start(world, context)
    start(world, context)
    for compactions in (1, 2):
        talk(context, 1, 10)
        eventually(lambda n=compactions: len(world.model.requests) == 2 * n, "two requests")  # type: ignore[misc]
        world.model.let_out(2)
        eventually(lambda n=compactions: len(list(context.compactions())) == n, "a compaction")  # type: ignore[misc]
    # Both have taken part in the second round, so both were done with the first.
    assert len(world.model.requests) == 4
    assert [text.startswith(INTRODUCTION) for _, text in window_of(context)].count(True) == 1


def test_worker_finds_what_there_is_to_do(world: World, context: Context) -> None:
    """
    A worker that starts after the window has grown too large summarises it at once; one that is
    interrupted ends without a word of complaint.
    """
    talk(context, 1, 12)
    world.model.let_out(None)
    worker = start(world, context)
    eventually(lambda: list(context.compactions()), "a compaction")
    assert not context.context().needs_compaction
    eventually(lambda: "compacted, version 14" in worker.log, "a line about it")
    assert worker.stop() == 0
    assert worker.log == f"{context.id}: compacted, version 14\n"


def test_worker_tries_again_when_the_model_fails(world: World, context: Context) -> None:
    """
    A model that fails delays the summary; the window stays as it is until there is one.
    """
    world.model.fail(status=400)
    world.model.let_out(None)
    talk(context, 1, 12)
    start(world, context)
    eventually(lambda: world.model.requests, "a request for a summary")
    assert window_of(context) == log_of(context)
    world.model.fail()
    eventually(lambda: list(context.compactions()), "a compaction")
