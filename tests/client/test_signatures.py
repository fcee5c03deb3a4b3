"""The two clients have the same verbs, arguments and words."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import msgspec
import pytest

import fastpaca
from fastpaca import (
    AsyncContext,
    AsyncFastpaca,
    Context,
    Fastpaca,
    InvalidRequest,
    Retries,
    Timeouts,
)
from tests.client.rules import rules, terms
from tests.kit.process import Process

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
    What a verb is said to do is the same; the details of a long one may stand in one place only.
    """
    for name, method in verbs(waiting).items():
        one, two = inspect.getdoc(method), inspect.getdoc(verbs(other)[name])
        assert one, name
        if name == "context" and waiting is Fastpaca:
            continue  # one is awaited
        assert two, name
        clause = re.split("[,;:.]", one)[0]
        refers = two.startswith(clause) and f"`{waiting.__name__}.{name}`" in two
        assert one == two or refers or (name == "local" and two.startswith(one)), name


def test_names_are_imported_when_they_are_asked_for() -> None:
    """
    All names that the package lists are there, and no other.
    """
    for name, room in fastpaca._ROOM_OF.items():
        assert getattr(fastpaca, name) is getattr(import_module(room), name)
        assert name in dir(fastpaca)
    with pytest.raises(AttributeError, match="no attribute 'Fastpaka'"):
        _ = fastpaca.Fastpaka  # type: ignore[attr-defined]  # that is the point


# --- the words of all clients ---

OPTIONS = rules("options")


def test_verbs_are_those_of_all_clients() -> None:
    """
    A verb that one language has, the others have too; a local node is Python's alone.
    """
    assert sorted({*verbs(Fastpaca)} - {"local"}) == sorted(OPTIONS["verbs"]["client"])
    assert sorted(verbs(Context)) == sorted(OPTIONS["verbs"]["context"])


@pytest.mark.parametrize(("kind", "name"), [(Timeouts, "timeouts"), (Retries, "retries")])
def test_options_are_those_of_all_clients(kind: type[Timeouts | Retries], name: str) -> None:
    """
    Names and defaults.
    """
    known = {field.name: field.default for field in msgspec.structs.fields(kind)}
    assert known == {option["name"]: option["default"] for option in OPTIONS[name]}
    assert inspect.signature(Fastpaca).parameters["base_url"].default == OPTIONS["base_url"]


@pytest.mark.parametrize("case", OPTIONS["refused"], ids=str)
def test_options_that_can_never_work_are_refused(case: Any) -> None:
    """
    The error names the option, before anything is sent.
    """
    (name,) = {**case.get("timeouts", {}), **case.get("retries", {})}
    with pytest.raises(InvalidRequest) as refused:
        terms(case)
    assert refused.value.field == name


@pytest.mark.parametrize("case", OPTIONS["endless"], ids=str)
def test_a_time_may_be_endless(case: Any, node: Process) -> None:
    """
    Infinity is for as long as it takes, with real connections.
    """
    timeouts, retries = terms(case)
    with Fastpaca(node.address, timeouts=timeouts, retries=retries) as client:
        context = client.context("endless", budget=100)
        with context.stream(cursor=0) as stream:
            assert next(stream).cursor == 0
