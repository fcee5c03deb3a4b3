"""Conversations keep their meaning in every shape in which they are sent."""

from __future__ import annotations

import pytest

from tests.acceptance.data import (
    COUNTED,
    NORMALISED,
    SHAPES,
    UI_MESSAGE,
    Conversation,
    Message,
    conversations,
)
from tests.rules.judge import pairing_of
from tests.rules.reading import read

pytestmark = pytest.mark.usefixtures("real_conversations")

SHAPED = [
    (source, shape) for source, shapes in SHAPES.items() for shape in shapes if shape != NORMALISED
]


@pytest.mark.parametrize(("source", "shape"), SHAPED)
def test_shape_keeps_the_turns(source: str, shape: str) -> None:
    """
    In another shape there are the same conversations, with turns that begin at the same messages.
    """
    for plain, shaped in zip(conversations(source), conversations(source, shape), strict=True):
        assert shaped.id == plain.id
        assert [read(one).opens_turn for one in shaped.messages] == [
            read(one).opens_turn for one in plain.messages
        ]


@pytest.mark.parametrize(("source", "shape"), SHAPED)
def test_shape_keeps_the_pairs(source: str, shape: str) -> None:
    """In another shape the same messages answer each other; an AI SDK part answers itself."""
    for plain, shaped in zip(conversations(source), conversations(source, shape), strict=True):
        assert spans(shaped) == ([] if shape == UI_MESSAGE else spans(plain))


def spans(conversation: Conversation) -> list[tuple[int, int]]:
    """List which message answers which, of the calls that another message answers."""
    calls = pairing_of([read(one) for one in conversation.messages]).calls
    pairs = [(call.spot.number, answer.number) for call in calls for answer in call.answers]
    return sorted(pair for pair in pairs if pair[0] != pair[1])


@pytest.mark.parametrize(("source", "shape"), SHAPED)
def test_shape_is_another(source: str, shape: str) -> None:
    """The shapes are not all the same thing under other names."""
    kinds = {
        name: {(part["type"], *part) for one in conversations(source, name) for part in _parts(one)}
        for name in (NORMALISED, shape)
    }
    assert (kinds[NORMALISED] == kinds[shape]) == (shape == COUNTED)


def _parts(conversation: Conversation) -> list[Message]:
    return [part for one in conversation.messages for part in one["parts"]]
