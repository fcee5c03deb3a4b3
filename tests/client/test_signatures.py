"""The two clients have the same verbs, arguments and words."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest

import fastpaca
from fastpaca import AsyncContext, AsyncFastpaca, Context, Fastpaca

PAIRS = [(Fastpaca, AsyncFastpaca), (Context, AsyncContext)]
OWN = {"close", "aclose", "opened"}


def verbs(kind: type) -> dict[str, Any]:
    """The public methods of a class."""
    return {
        name: method
        for name, method in vars(kind).items()
        if not name.startswith("_") and name not in OWN
    }


@pytest.mark.parametrize(("waiting", "other"), PAIRS)
def test_verbs_are_the_same(waiting: type, other: type) -> None:
    """
    No verb is missing from either, and each takes the same arguments with the same defaults.
    """
    ours, theirs = verbs(waiting), verbs(other)
    assert sorted(ours) == sorted(theirs)
    for name in ours:
        one, two = (inspect.signature(getattr(kind, name)) for kind in (waiting, other))
        assert list(one.parameters) == list(two.parameters), name
        for parameter in one.parameters:
            first, second = one.parameters[parameter], two.parameters[parameter]
            assert (first.kind, first.default) == (second.kind, second.default), name


@pytest.mark.parametrize(("waiting", "other"), PAIRS)
def test_words_are_the_same(waiting: type, other: type) -> None:
    """
    What a verb is said to do and to raise is the same, but for how the data of `local` is opened.
    """
    for name, method in verbs(waiting).items():
        one, two = inspect.getdoc(method), inspect.getdoc(verbs(other)[name])
        assert one, name
        if name == "context" and waiting is Fastpaca:
            continue  # one is awaited
        assert one == two or (name == "local" and two and two.startswith(one)), name


def test_names_are_imported_when_they_are_asked_for() -> None:
    """
    All names that the package lists are there, and no other.
    """
    for name, room in fastpaca._ROOM_OF.items():
        assert getattr(fastpaca, name) is getattr(import_module(room), name)
        assert name in dir(fastpaca)
    with pytest.raises(AttributeError, match="no attribute 'Fastpaka'"):
        _ = fastpaca.Fastpaka  # type: ignore[attr-defined]  # that is the point
