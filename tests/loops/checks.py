"""What must be true of every request that a scripted model was sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastpaca.context.draft import parse
from fastpaca.formats import read
from fastpaca.tokens import count_message, counter_for
from tests.formats.official import problem
from tests.formats.samples import VALIDATORS
from tests.formats.test_official import OFFICIAL
from tests.kit.messages import encoded
from tests.loops.protocols.anthropic import AnthropicWire, unmarked
from tests.loops.provider import Sent
from tests.providers.anthropic import system_violations


def faults_of(sent: Sequence[Sent], budget: int) -> list[str]:
    """Return what is wrong with the requests, one line each."""
    return [*_refused(sent), *_above(sent, budget), *_rewritten(sent)]


def _refused(sent: Sequence[Sent]) -> Iterator[str]:
    for at, request in enumerate(sent):
        wire = request.wire
        for found in VALIDATORS[wire.format](wire.messages(request.body)):
            yield f"request {at}: {found}"
        if text := problem(wire.messages(request.body), OFFICIAL[wire.format]):
            yield f"request {at}: {text}"
        if isinstance(wire, AnthropicWire):
            if "system" in request.body:
                for found in system_violations(request.body["system"]):
                    yield f"request {at}: {found}"
            for signature in wire.moved(request.body):
                yield f"request {at}: thinking {signature} is bound to another prefix"


def _above(sent: Sequence[Sent], budget: int) -> Iterator[str]:
    for at, request in enumerate(sent):
        if (tokens := tokens_of(request)) > budget:
            yield f"request {at}: {tokens} tokens"


def tokens_of(request: Sent) -> int:
    """Count the messages of a request, each as fastpaca counts it."""
    messages = request.wire.messages(request.body)
    if system := request.wire.system(request.body):
        messages = [{"role": "system", "content": system}, *messages]
    wire = request.wire.format
    read_ones = [
        read(message, None if message.get("role") == "system" else wire).message
        for message in messages
    ]
    counter = counter_for("tiktoken:gpt-4o")
    drafts = [parse(encoded(message), "message") for message in read_ones]
    return sum(count_message(counter, draft).total for draft in drafts)


def _rewritten(sent: Sequence[Sent]) -> Iterator[str]:
    """
    Find requests that begin otherwise than the one before, although nothing was cut between.

    The last message of a request may still be answered, or merged with what follows.
    """
    for at in range(1, len(sent)):
        before, after = sent[at - 1], sent[at]
        if before.cuts != after.cuts or before.wire.format != after.wire.format:
            continue
        kept = [unmarked(one) for one in before.wire.messages(before.body)][:-1]
        now = [unmarked(one) for one in after.wire.messages(after.body)]
        if now[: len(kept)] != kept or before.wire.system(before.body) != after.wire.system(
            after.body
        ):
            yield f"request {at}: the prefix has moved"
