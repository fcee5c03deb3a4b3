"""
Whether what clients met fits one order of events. Pure.

A history is a list of `Call`s on one context: what was asked, what was answered, and when. It is
linearizable if each call can be given one moment between its start and its end, so that calls which
happen at these moments, one after another, are answered as they were.

Calls are put in order one by one. What may be next was started before anything that is left had
ended, and its answer fits the state. What changes nothing is taken as soon as it fits: that spoils
no other order. Where several changes fit, each is tried, and what was tried in vain is remembered.
Versions are exact, so that hardly ever more than one fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

NEVER: Final = float("inf")

Status = Literal["absent", "active", "tombstoned", "purged"]


class Message(NamedTuple):
    """A message of the log, by its name; *revises* is the place that it takes, if it does."""

    id: str
    seq: int
    version: int
    revises: int | None = None


class Placed(NamedTuple):
    """A message on the path: its place, its name, and the id that it can be put by, or none."""

    place: int
    id: str
    key: str | None


@dataclass(frozen=True, slots=True)
class State:
    """
    What a context is at one moment.

    Attributes:
        window: Names of what a model's caller reads; nothing is rewritten but by compact calls.
        marks: What PUT and PATCH have left in the metadata.
        path: The messages as people see them.
        pasts: Path and window after each version before this one.
    """

    status: Status = "absent"
    version: int = 0
    log: tuple[Message, ...] = ()
    window: tuple[str, ...] = ()
    marks: frozenset[str] = frozenset()
    path: tuple[Placed, ...] = ()
    pasts: tuple[tuple[tuple[Placed, ...], tuple[str, ...]], ...] = ()


# --- what is asked --------------------------------------------------------------------------------


class Put(NamedTuple):
    """Create the context, or replace its marks by one."""

    mark: str


class Patch(NamedTuple):
    """Add a mark."""

    mark: str


class Append(NamedTuple):
    """Append messages with these names."""

    ids: tuple[str, ...]
    if_version: int | None = None


class Compact(NamedTuple):
    """Make the window one summary with this name."""

    id: str
    if_version: int | None = None


class PutMessage(NamedTuple):
    """Make a message with a name the one of a key: append it, or revise the one that is there."""

    key: str
    id: str
    if_version: int | None = None


class Rewind(NamedTuple):
    """Go back to a version."""

    to_version: int
    if_version: int | None = None


class Fork(NamedTuple):
    """
    Create the context as another is after a version: its path, and its window; with one mark.

    *source* and *version* say which; what it holds is filled in when all is over.
    """

    source: str
    mark: str
    version: int | None = None
    path: tuple[Placed, ...] = ()
    window: tuple[str, ...] = ()


class Delete(NamedTuple):
    """Tombstone, or purge."""

    purge: bool = False


Write = Put | Patch | Append | PutMessage | Compact | Rewind | Fork | Delete


class Read(NamedTuple):
    """Read something; what it was is in the answer."""


# --- what is answered -----------------------------------------------------------------------------


class Refused(NamedTuple):
    """`not_found`, `conflict`, `tombstoned` or `purged`; *found* belongs to the second."""

    error: str
    found: int | None = None


class Found(NamedTuple):
    """The representation of a context, as PUT and PATCH and GET answer; *made* by this PUT."""

    status: str
    version: int
    last_seq: int
    marks: frozenset[str]
    made: bool = False


class Appended(NamedTuple):
    """Where messages came to be."""

    messages: tuple[Message, ...]


class Compacted(NamedTuple):
    """The version of a compact call."""

    version: int


class Rewound(NamedTuple):
    """The version of a rewind."""

    version: int


class Forked(NamedTuple):
    """The representation of a fork."""

    version: int
    last_seq: int


class AtVersion(NamedTuple):
    """That a context had a version: a fork was made of it."""

    version: int


class Deleted(NamedTuple):
    """204."""


class Log(NamedTuple):
    """The newest so many messages, and the version."""

    wanted: int
    messages: tuple[Message, ...]
    version: int


class Window(NamedTuple):
    """The LLM context: its version, and the names of what is in it."""

    version: int
    ids: tuple[str, ...]


class Path(NamedTuple):
    """The messages on the path, by their names, and the version."""

    version: int
    ids: tuple[str, ...]


Answer = (
    Refused
    | Found
    | Appended
    | Compacted
    | Rewound
    | Forked
    | AtVersion
    | Deleted
    | Log
    | Window
    | Path
)


@dataclass(frozen=True, slots=True)
class Call:
    """
    What one client asked, and what it met.

    Attributes:
        answer: None if there was none: then it may have happened at any later time, or never.
    """

    began: float
    ended: float
    asked: Write | Read
    answer: Answer | None


# --- what happens ---------------------------------------------------------------------------------


def outcomes(state: State, asked: Write) -> tuple[State, Answer]:
    """Do what was *asked*, and give the answer to it."""
    if isinstance(asked, Delete):
        return _deleted(state, asked)
    if isinstance(asked, Fork):
        return _forked(state, asked)
    if state.status == "absent" and not isinstance(asked, Put):
        return state, Refused("not_found")
    if state.status in {"tombstoned", "purged"}:
        return state, Refused(state.status)
    if isinstance(asked, Put):
        changed = replace(state, status="active", marks=frozenset({asked.mark}))
        return changed, _found(changed, made=state.status == "absent")
    if isinstance(asked, Patch):
        changed = replace(state, marks=state.marks | {asked.mark})
        return changed, _found(changed)
    if asked.if_version not in {None, state.version}:
        return state, Refused("conflict", state.version)
    if isinstance(asked, Compact):
        changed = _changed(state, window=(asked.id,))
        return changed, Compacted(changed.version)
    if isinstance(asked, Rewind):
        if asked.to_version == state.version:
            return state, Rewound(state.version)
        path, window = state.pasts[asked.to_version]
        changed = _changed(state, path=path, window=window)
        return changed, Rewound(changed.version)
    first = len(state.log)
    if isinstance(asked, PutMessage):
        changed = _put(state, asked)
    else:
        changed = state
        for name in asked.ids:
            changed = _appended(changed, name, None)
    return changed, Appended(changed.log[first:])


def _changed(state: State, **changes: Any) -> State:
    """Give the next version."""
    pasts = (*state.pasts, (state.path, state.window))
    return replace(state, version=state.version + 1, pasts=pasts, **changes)


def _appended(state: State, name: str, key: str | None) -> State:
    seq = len(state.log) + 1
    return _changed(
        state,
        log=(*state.log, Message(name, seq, state.version + 1)),
        path=(*state.path, Placed(seq, name, key)),
        window=(*state.window, name),
    )


def _put(state: State, asked: PutMessage) -> State:
    there = [placed for placed in state.path if placed.key == asked.key]
    if not there:
        return _appended(state, asked.id, asked.key)
    revised = there[-1]
    message = Message(asked.id, len(state.log) + 1, state.version + 1, revised.place)
    standing = revised._replace(id=asked.id)
    return _changed(
        state,
        log=(*state.log, message),
        path=tuple(standing if placed == revised else placed for placed in state.path),
        window=tuple(asked.id if name == revised.id else name for name in state.window),
    )


def _forked(state: State, asked: Fork) -> tuple[State, Answer]:
    if state.status != "absent":
        return state, Refused("already_exists")
    changed = replace(state, status="active", marks=frozenset({asked.mark}))
    for placed in asked.path:
        changed = _appended(changed, placed.id, placed.key)
    if changed.window != asked.window or not asked.path:  # what holds the window is a version
        changed = _changed(changed, window=asked.window)
    return changed, Forked(changed.version, len(changed.log))


def _deleted(state: State, asked: Delete) -> tuple[State, Answer]:
    if state.status == "absent":
        return state, Refused("not_found")
    if asked.purge and state.status != "purged":
        purged = replace(state, status="purged", marks=frozenset(), window=(), path=(), pasts=())
        return purged, Deleted()
    if state.status == "active":
        return replace(state, status="tombstoned"), Deleted()
    return state, Deleted()


def _found(state: State, *, made: bool = False) -> Found:
    return Found(state.status, state.version, len(state.log), state.marks, made)


def reads(state: State, answer: Answer) -> bool:
    """Tell whether a read can be answered so."""
    if isinstance(answer, Refused):
        return answer == Refused("not_found") and state.status in {"absent", "purged"}
    if state.status not in {"active", "tombstoned"}:
        return False
    if isinstance(answer, Log):
        messages = state.log[-answer.wanted :]
        return answer == Log(answer.wanted, messages, state.version)
    if isinstance(answer, Window):
        return answer == Window(state.version, state.window)
    if isinstance(answer, Path):
        return answer == Path(state.version, tuple(placed.id for placed in state.path))
    if isinstance(answer, AtVersion):
        return answer.version == state.version
    return answer == _found(state)


def after(state: State, call: Call) -> State | None:
    """Give the state after *call*, or None if it can't be answered as it was."""
    if isinstance(call.asked, Read):
        assert call.answer is not None
        return state if reads(state, call.answer) else None
    changed, answer = outcomes(state, call.asked)
    return changed if call.answer is None or answer == call.answer else None


# --- the search -----------------------------------------------------------------------------------


class Stuck(NamedTuple):
    """How far the best order came, and what could not be next."""

    ordered: int
    calls: int
    state: State
    next: list[Call]

    def __str__(self) -> str:
        lines = (f"  {call}" for call in self.next)
        found = f"{self.ordered} of {self.calls} calls are in order, and none of these fits behind"
        return "\n".join((found, f"  {self.state}", *lines))


def not_linearizable(calls: Sequence[Call]) -> Stuck | None:
    """Look for an order of *calls* in which all are answered as they were; None if there is one."""
    calls = sorted(calls, key=lambda call: call.began)
    needed = sum(1 << place for place, call in enumerate(calls) if call.answer is not None)
    best = Stuck(-1, len(calls), State(), [])
    tried: set[tuple[int, State]] = set()
    stack = [(0, State())]
    while stack:
        done, state = _with_reads(calls, *stack.pop())
        if done & needed == needed:
            return None
        if (done, state) in tried:
            continue
        tried.add((done, state))
        possible = [(place, calls[place]) for place in _next(calls, done)]
        if done.bit_count() > best.ordered:
            best = Stuck(done.bit_count(), len(calls), state, [call for _, call in possible])
        # The last of the stack is tried first: what was answered before what was not.
        possible.sort(key=lambda item: -item[1].ended)
        for place, call in possible:
            changed = after(state, call)
            if changed is not None and changed != state:
                stack.append((done | 1 << place, changed))
    return best


def _with_reads(calls: Sequence[Call], done: int, state: State) -> tuple[int, State]:
    """Take all that fits and changes nothing."""
    while True:
        before = done
        for place in _next(calls, done):
            call = calls[place]
            if call.answer is not None and after(state, call) == state:
                done |= 1 << place
        if done == before:
            return done, state


def _next(calls: Sequence[Call], done: int) -> Iterator[int]:
    """Name the calls that began before any that is left had ended."""
    place = (~done & (done + 1)).bit_length() - 1
    first_end = NEVER
    while place < len(calls) and calls[place].began <= first_end:
        if not done >> place & 1:
            first_end = min(first_end, calls[place].ended)
            yield place
        place += 1
