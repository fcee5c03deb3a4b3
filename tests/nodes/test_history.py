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
    Fork,
    Forked,
    Found,
    Log,
    Message,
    Patch,
    Path,
    Placed,
    Put,
    PutMessage,
    Read,
    Refused,
    Rewind,
    Rewound,
    Window,
    Write,
    not_linearizable,
)

MADE = Call(0, 1, Put("a"), Found("active", 0, 0, frozenset("a"), made=True))
M1, M2 = Message("m1", 1, 1), Message("m2", 2, 2)
FIRST = Call(2, 3, Append(("m1",)), Appended((M1,)))
KEPT = frozenset("a")
U2, U3 = Message("u2", 2, 2), Message("u3", 3, 3, revises=2)
PUT = Call(4, 5, PutMessage("k", "u2"), Appended((U2,)))
REVISED = Call(6, 7, PutMessage("k", "u3"), Appended((U3,)))
BACK = Call(8, 9, Rewind(2), Rewound(4))
FORK = Fork("c", "f", 2, (Placed(1, "m1", None), Placed(2, "u3", "k")), ("m1", "u3"))


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
        [FIRST, PUT, REVISED, read(Path(3, ("m1", "u3")), 7, 8)],
        [FIRST, PUT, REVISED, read(Log(9, (M1, U2, U3), 3), 7, 8)],
        [FIRST, PUT, REVISED, BACK, read(Path(4, ("m1", "u2")), 9, 10)],
        [FIRST, PUT, REVISED, BACK, read(Window(4, ("m1", "u2")), 9, 10)],
        [FIRST, PUT, Call(6, 7, Rewind(2), Rewound(2)), read(Path(2, ("m1", "u2")), 8, 9)],
        [FIRST, PUT, lost(Rewind(1), 6), read(Path(3, ("m1",)), 8, 9)],
        [FIRST, PUT, lost(Rewind(1), 6), read(Path(2, ("m1", "u2")), 8, 9)],
    ],
)  # fmt: skip
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
        [FIRST, PUT, REVISED, read(Path(3, ("m1", "u2")), 8, 9)],  # a path that is late
        [FIRST, PUT, REVISED, read(Window(3, ("m1", "u2")), 8, 9)],
        [FIRST, PUT, Call(6, 7, PutMessage("k", "u3"), Appended((Message("u3", 3, 3),)))],  # twice
        [FIRST, PUT, REVISED, BACK, read(Path(4, ("m1", "u3")), 9, 10)],  # one not undone
        [FIRST, PUT, REVISED, BACK, read(Log(9, (M1, U2), 4), 9, 10)],  # a log that was cut
        [FIRST, PUT, REVISED, Call(8, 9, Rewind(2), Rewound(3))],
    ],
)  # fmt: skip
def test_what_fits_no_order(calls: list[Call]) -> None:
    """
    Whatever no single order explains is found, and named.
    """
    found = not_linearizable([MADE, *calls])
    assert found is not None
    assert "none of these fits" in str(found)


FORKED = Call(4, 5, FORK, Forked(2, 2))


@pytest.mark.parametrize(
    "calls",
    [
        [FORKED, read(Refused("not_found"), 1, 4.5), read(Path(2, ("m1", "u3")), 4.5, 6)],
        [FORKED, read(Found("active", 2, 2, frozenset("f")), 6, 7)],
        [FORKED, Call(6, 7, Rewind(1), Rewound(3)), read(Path(3, ("m1",)), 8, 9)],
        [FORKED, Call(6, 7, PutMessage("k", "u4"), Appended((Message("u4", 3, 3, 2),)))],
        [lost(FORK, 4), read(Refused("not_found"), 8, 9)],
        [lost(FORK, 4), read(Window(2, ("m1", "u3")), 8, 9)],
        [Call(4, 5, FORK._replace(window=("s1", "u3")), Forked(3, 2)), lost(FORK, 4)],
    ],
)
def test_forks_that_fit(calls: list[Call]) -> None:
    """
    A fork is there at one moment, with all that it holds.
    """
    assert not_linearizable(calls) is None


@pytest.mark.parametrize(
    "calls",
    [
        [FORKED, read(Refused("not_found"), 6, 7)],
        [FORKED, read(Path(1, ("m1",)), 4.5, 6)],  # half of it
        [FORKED, read(Log(9, (M1,), 1), 4.5, 6)],
        [FORKED, Call(6, 7, FORK, Forked(2, 2))],  # made twice
        [FORKED, read(Path(2, ("m1", "u2")), 6, 7)],  # what was revised
        [Call(4, 5, FORK._replace(window=("s1", "u3")), Forked(2, 2))],
        [lost(FORK, 4), read(Path(1, ("m1",)), 8, 9)],
    ],
)
def test_forks_that_do_not_fit(calls: list[Call]) -> None:
    """
    None is seen in part, or made twice, or gone again.
    """
    assert not_linearizable(calls) is not None
