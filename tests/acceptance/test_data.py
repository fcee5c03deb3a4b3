"""Conversations keep their meaning in every shape in which they are sent."""

from __future__ import annotations

import pytest

from tests.acceptance.data import (
    COUNTED,
    NORMALISED,
    SHAPES,
    UI_MESSAGE,
    Conversation,
    conversations,
)
from tests.acceptance.pairing import Part, opens_turn, pairs_of

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
        assert [opens_turn(one) for one in shaped.messages] == [
            opens_turn(one) for one in plain.messages
        ]


@pytest.mark.parametrize(("source", "shape"), SHAPED)
def test_shape_keeps_the_pairs(source: str, shape: str) -> None:
    """In another shape the same messages answer each other; an AI SDK part answers itself."""
    for plain, shaped in zip(conversations(source), conversations(source, shape), strict=True):
        spans = sorted(pair.span for pair in pairs_of(shaped.messages))
        expected = sorted(pair.span for pair in pairs_of(plain.messages))
        assert spans == ([] if shape == UI_MESSAGE else expected)


@pytest.mark.parametrize(("source", "shape"), SHAPED)
def test_shape_is_another(source: str, shape: str) -> None:
    """The shapes are not all the same thing under other names."""
    kinds = {
        name: {(part["type"], *part) for one in conversations(source, name) for part in _parts(one)}
        for name in (NORMALISED, shape)
    }
    assert (kinds[NORMALISED] == kinds[shape]) == (shape == COUNTED)


def _parts(conversation: Conversation) -> list[Part]:
    return [part for one in conversation.messages for part in one["parts"]]
