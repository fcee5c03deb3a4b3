"""The judge of histories: what it lets pass, and what not."""

from __future__ import annotations

import pytest

from tests.nodes.history import (
    NEVER,
    Answer,
    Append,
    Appended,
    Call,
    Compact,
    Compacted,
    Delete,
    Deleted,
    Found,
    Log,
    Message,
    Patch,
    Put,
    Read,
    Refused,
    Window,
    Write,
    not_linearizable,
)

MADE = Call(0, 1, Put("a"), Found("active", 0, 0, frozenset("a"), made=True))
M1, M2 = Message("m1", 1, 1), Message("m2", 2, 2)
FIRST = Call(2, 3, Append(("m1",)), Appended((M1,)))
KEPT = frozenset("a")


def lost(asked: Write, began: float) -> Call:
    """A call that was never answered."""
    return Call(began, NEVER, asked, None)


def read(answer: Answer, began: float, ended: float) -> Call:
    return Call(began, ended, Read(), answer)


@pytest.mark.parametrize(
    "calls",
    [
        [FIRST, read(Log(5, (M1,), 1), 4, 5), read(Window(1, ("m1",)), 4, 5)],
        [FIRST, Call(2, 9, Append(("m2",), 1), Appended((M2,))), read(Log(1, (M2,), 2), 5, 6)],
        [FIRST, read(Found("active", 0, 0, KEPT), 2.5, 4), read(Log(9, (), 0), 1, 2.5)],
        [FIRST, Call(4, 5, Append(("m2",), 0), Refused("conflict", 1))],
        [FIRST, Call(4, 5, Compact("s1", 1), Compacted(2)), read(Window(2, ("s1",)), 6, 7)],
        [FIRST, Call(4, 8, Delete(), Deleted()), Call(4, 8, Append(("m2",)), Appended((M2,)))],
        [FIRST, lost(Append(("m2",)), 4), read(Log(5, (M1, M2), 2), 5, 6)],
        [FIRST, lost(Append(("m2",)), 4), read(Log(5, (M1,), 1), 5, 6)],
        [FIRST, lost(Patch("b"), 4), read(Found("active", 1, 1, frozenset("ab")), 9, 10)],
        [Call(2, 3, Delete(purge=True), Deleted()), read(Refused("not_found"), 3, 4)],
        [Call(2, 3, Delete(), Deleted()), Call(4, 5, Patch("b"), Refused("tombstoned"))],
    ],
)
def test_what_fits_one_order(calls: list[Call]) -> None:
    """
    Calls at the same time may have happened in any order, and unanswered ones at any time or never.
    """
    assert not_linearizable([MADE, *calls]) is None


@pytest.mark.parametrize(
    "calls",
    [
        [FIRST, read(Log(5, (), 0), 4, 5)],  # a read that is late
        [FIRST, read(Found("active", 0, 0, KEPT), 4, 5)],
        [FIRST, read(Log(5, (M1,), 1), 2, 2.5), read(Log(5, (), 0), 2.6, 2.7)],
        [FIRST, read(Log(5, (M1, M2), 2), 4, 5)],  # a message that nobody sent
        [FIRST, read(Log(5, (M1, Message("m1", 2, 2)), 2), 4, 5)],  # one that is there twice
        [FIRST, Call(4, 5, Append(("m2",)), Appended((Message("m2", 3, 3),)))],  # a hole
        [FIRST, Call(4, 5, Append(("m2",)), Appended((Message("m2", 1, 1),)))],  # one overwritten
        [FIRST, Call(4, 5, Append(("m2",), 1), Refused("conflict", 1))],
        [FIRST, Call(4, 5, Append(("m2",), 1), Refused("conflict", 2))],  # nobody else wrote
        [FIRST, Call(4, 5, Append(("m2",), 0), Appended((M2,)))],  # a guard that does not hold
        [FIRST, Call(4, 5, Patch("b"), Refused("not_found"))],
        [FIRST, read(Refused("not_found"), 4, 5)],
        [FIRST, Call(4, 5, Append(("m2",)), Refused("tombstoned"))],
        [Call(2, 3, Delete(), Deleted()), Call(4, 5, Append(("m1",)), Appended((M1,)))],
        [FIRST, Call(4, 5, Compact("s1"), Compacted(2)), read(Window(2, ("m1",)), 6, 7)],
        [Call(2, 3, Patch("b"), Found("active", 0, 0, frozenset("b")))],  # marks that are lost
        [FIRST, read(Log(5, (M1, M2), 2), 4, 5), lost(Append(("m2",)), 6)],
        [FIRST, lost(Append(("m2",)), 4), read(Log(5, (M1, M2), 2), 5, 6),
         read(Log(5, (M1,), 1), 7, 8)],
    ],
)  # fmt: skip
def test_what_fits_no_order(calls: list[Call]) -> None:
    """
    Whatever no single order explains is found, and named.
    """
    found = not_linearizable([MADE, *calls])
    assert found is not None
    assert "none of these fits" in str(found)
