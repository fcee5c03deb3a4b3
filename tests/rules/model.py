"""
What policies keep, told from the rules by definition: every append looks at everything again.

Nothing here is shared with the core.
Where the rules leave a choice, the choice is written beside the line that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import floor

from tests.rules.history import Item, Said

INSTRUCTIONS = frozenset({"system", "developer"})

MAKES = frozenset({"call", "request"})
"""A request for approval is a call of its own, besides being bound to the call it is about."""

ANSWERS = frozenset({"result", "response"})


@dataclass(frozen=True)
class Settings:
    """
    The configuration of a context; *skip_kinds* is None for `last_n`.

    *has_items* says that reasoning is an item of its own, which is bound to what it led to.
    """

    token_budget: int
    trigger_ratio: float = 0.7
    limit: int = 200
    target_ratio: float = 0.5
    start_on_user: bool = True
    skip_kinds: tuple[str, ...] | None = None
    has_items: bool = False


@dataclass
class Call:
    """
    A call of the log.

    Attributes:
        seq: The message that makes it.
        item: The item.
        step: The number of its step.
        runs: Whether its result would still be bound.
        result_seq: The message with its result, once it has one.
        held_seqs: Messages with its approvals.
    """

    seq: int
    item: Item
    step: int
    runs: bool = True
    result_seq: int | None = None
    held_seqs: list[int] = field(default_factory=list)


@dataclass
class Kept:
    """
    A message in the window.

    Attributes:
        seq: Its place in the log.
        gone: The items that were taken out of it.
        tokens: What it costs as it stands here.
    """

    seq: int
    gone: frozenset[int]
    tokens: int


Cost = Callable[[Said, frozenset[int]], int]
"""What is left of a message costs so many tokens when some of its items have gone."""


class Model:
    """
    A conversation under the rules.

    Attributes:
        window: What the policy keeps.
    """

    def __init__(self, settings: Settings, cost: Cost) -> None:
        self.window: list[Kept] = []
        self._settings = settings
        self._cost = cost
        self._log: list[Said] = []
        self._calls: list[Call] = []
        self._answer_of: dict[tuple[int, int], Call] = {}
        self._late: dict[tuple[int, int], Call] = {}
        self._step = 0
        self._result_since_call = False
        self._pinned = 0
        self._tasks: list[frozenset[int]] = []
        self._cut_calls: set[int] = set()

    def append(self, said: Said) -> None:
        """Take in a message, and trim the window if that asks for it."""
        self._log.append(said)
        seq = len(self._log)
        self._pair(seq, said)
        gone = frozenset(at for at in range(len(said.items)) if self._has_lost_its_call(seq, at))
        if len(gone) == len(said.items) and gone:
            return
        is_pinned = self._pinned == len(self.window) and said.role in INSTRUCTIONS
        self._pinned += is_pinned and self._pinned == seq - 1
        self.window.append(Kept(seq, gone, self._cost(said, gone)))
        if self._used() > self._threshold():
            self._trim()

    # Pairing

    def _pair(self, seq: int, said: Said) -> None:
        if opens_turn(said):
            for call in self._calls:
                call.runs = False
        for at, item in enumerate(said.items):
            if item.kind in MAKES:
                if self._result_since_call:
                    self._step += 1
                    self._result_since_call = False
                self._calls.append(Call(seq, item, self._step))
            elif item.kind in ANSWERS:
                self._bind(seq, at, item)
            if item.kind in ("request", "response"):
                for call in self._calls:
                    if call.item.kind == "call" and call.item.id == item.id:
                        call.held_seqs.append(seq)

    def _bind(self, seq: int, at: int, item: Item) -> None:
        call = self._called(item)
        if call is not None:
            call.result_seq, call.runs = seq, False
            self._answer_of[seq, at] = call
            self._result_since_call = True
            for earlier in self._calls:
                earlier.runs = earlier.runs and earlier.step >= call.step
            return
        alike = [one for one in self._calls if _is_alike(one.item, item)]
        if alike:
            self._late[seq, at] = alike[-1]

    def _called(self, item: Item) -> Call | None:
        """
        Find the call that *item* answers: of its id the nearest, of its name the oldest.

        Choice: without an id, the newest step counts that has a call of the name.
        """
        running = [call for call in self._calls if call.runs and _is_alike(call.item, item)]
        if item.id or not running:
            return running[-1] if running else None
        newest = max(call.step for call in running)
        return next(call for call in running if call.step == newest)

    def _has_lost_its_call(self, seq: int, at: int) -> bool:
        call = self._answer_of.get((seq, at)) or self._late.get((seq, at))
        return call is not None and id(call) in self._cut_calls

    # Groups

    def _spans(self) -> Iterator[tuple[int, int, bool]]:
        """Yield what holds together, by place in the window, and whether it ends in a result."""
        place = {kept.seq: at for at, kept in enumerate(self.window)}
        last = len(self.window) - 1
        for call in self._calls:
            if id(call) in self._cut_calls or call.seq not in place:
                continue
            if call.runs:
                yield place[call.seq], last, False
            if call.result_seq in place:
                yield place[call.seq], place[call.result_seq], True
            for seq in call.held_seqs:
                yield place[call.seq], place[seq], False
        yield from self._neighbours()
        for at, kept in enumerate(self.window):
            if at and self._is_late_alone(kept):
                yield at - 1, at, False
        for task in self._tasks:
            places = [place[seq] for seq in task if seq in place]
            if places:
                yield min(places), max(places), False

    def _neighbours(self) -> Iterator[tuple[int, int, bool]]:
        before: int | None = None
        for at, kept in enumerate(self.window):
            said = self._log[kept.seq - 1]
            if said.role in INSTRUCTIONS:
                continue
            if said.role != "assistant":
                before = None
                continue
            if before is not None and self._hold_together(self.window[before], kept):
                yield before, at, False
            before = at
        # Choice: what the newest reasoning led to may still come.
        if before is not None and self._ends_in_reasoning(self.window[before]):
            yield before, len(self.window) - 1, False

    def _hold_together(self, first: Kept, second: Kept) -> bool:
        if any(
            seq == second.seq and call.seq != seq and at not in second.gone
            for (seq, at), call in self._answer_of.items()
        ):
            return False
        if self._ends_in_reasoning(first):
            return True
        return any(
            call.seq == second.seq and (call.runs or call.result_seq not in (None, second.seq))
            for call in self._calls
            if id(call) not in self._cut_calls
        )

    def _ends_in_reasoning(self, kept: Kept) -> bool:
        items = [i for at, i in enumerate(self._log[kept.seq - 1].items) if at not in kept.gone]
        return bool(items) and items[-1].kind == "reasoning"

    def _makes_call(self, kept: Kept) -> bool:
        items = self._log[kept.seq - 1].items
        return any(item.kind in MAKES for at, item in enumerate(items) if at not in kept.gone)

    def _is_late_alone(self, kept: Kept) -> bool:
        items = self._log[kept.seq - 1].items
        left = [at for at in range(len(items)) if at not in kept.gone]
        return bool(left) and all((kept.seq, at) in self._late for at in left)

    def _cut_places(self) -> list[int]:
        """List where the window may be cut: before these places; the first is after the pinned."""
        spans = list(self._spans())
        start = self._pinned
        while any(first < start <= last for first, last, _ in spans):
            start += 1
        places = [start] if start < len(self.window) else []
        for at in range(start + 1, len(self.window)):
            over = [span for span in spans if span[0] < at <= span[1]]
            makes_call = self._makes_call(self.window[at])
            if not over or (makes_call and all(s[1] == at and s[2] for s in over)):
                places.append(at)
        return places

    # Turns and the task

    def _turn_of(self, at: int) -> int | None:
        """Return the place of the message that opened the turn in which *at* is."""
        for place in range(at, self._pinned - 1, -1):
            if self._opens(place):
                return place
        return None

    def _opens(self, place: int) -> bool:
        return opens_turn(self._log[self.window[place].seq - 1])

    def _task(self, cut: int) -> list[int]:
        """List the places that stay before a cut: the task and the user messages before it."""
        opener = self._turn_of(cut)
        if opener is None or opener == cut:
            return []
        end = next((p for p in range(cut, len(self.window)) if self._opens(p)), None)
        marked = next((t for t in self._tasks if self.window[opener].seq in t), None)
        holds_calls = any(map(self._makes_call, self.window[opener:end]))
        # Choice: a task that stayed once stays, as the calls may have gone with the cut before.
        if end is not None and not holds_calls and marked is None:
            return []
        if marked is not None:
            return [p for p, kept in enumerate(self.window) if kept.seq in marked]
        places = [opener]
        while places[0] - 1 >= self._pinned and self._may_precede(places[0] - 1):
            together = [places[0] - 1, *places]
            if 4 * sum(self.window[p].tokens for p in together) > self._settings.token_budget:
                break
            places = together
        return places

    def _may_precede(self, place: int) -> bool:
        """Choice: a user message that has lost all its results answers nothing any more."""
        kept = self.window[place]
        said = self._log[kept.seq - 1]
        left = [item for at, item in enumerate(said.items) if at not in kept.gone]
        return said.role == "user" and not any(item.kind in ANSWERS for item in left)

    # Trimming

    def _used(self) -> int:
        return sum(kept.tokens for kept in self.window)

    def _pinned_tokens(self) -> int:
        return sum(kept.tokens for kept in self.window[: self._pinned])

    def _threshold(self) -> int:
        settings = self._settings
        trigger = floor(settings.token_budget * settings.trigger_ratio)
        room = self._pinned_tokens() + trigger // 2
        above: int = max(trigger, min(settings.token_budget, room))
        return above

    def _strip(self, kinds: tuple[str, ...]) -> None:
        """Take out parts of *kinds*, but for the last turn if it holds a call."""
        end = self._turn_of(len(self.window) - 1)
        start = self._pinned if end is None else end
        if not any(map(self._makes_call, self.window[start:])):
            start = len(self.window)
        gone: dict[int, set[int]] = {kept.seq: set(kept.gone) for kept in self.window}
        for kept in self.window[self._pinned : start]:
            for at, item in enumerate(self._log[kept.seq - 1].items):
                if _is_skipped(item, kinds):
                    gone[kept.seq].add(at)
        stripped = [c for c in self._calls if (c.seq, c.item) in self._taken(gone)]
        self._cut_calls |= {id(call) for call in stripped}
        for where in (self._answer_of, self._late):
            for (seq, at), call in where.items():
                if seq in gone and id(call) in self._cut_calls:
                    gone[seq].add(at)
        if self._settings.has_items:
            self._strip_items(gone, start)
        left = [self._smaller(kept, frozenset(gone[kept.seq])) for kept in self.window]
        self.window = [kept for kept in left if kept is not None]

    def _taken(self, gone: dict[int, set[int]]) -> set[tuple[int, Item]]:
        return {
            (seq, self._log[seq - 1].items[at])
            for seq, places in gone.items()
            for at in places
            if self._log[seq - 1].items[at].kind in MAKES
        }

    def _strip_items(self, gone: dict[int, set[int]], end: int) -> None:
        """Let reasoning go exactly if what it led to goes."""
        run: list[tuple[int, int]] = []
        for kept in self.window[self._pinned : end]:
            said = self._log[kept.seq - 1]
            if said.role in INSTRUCTIONS:
                continue
            if said.role != "assistant":
                run.clear()
                continue
            for at, item in enumerate(said.items):
                if at in kept.gone:
                    continue
                if item.kind == "reasoning":
                    run.append((kept.seq, at))
                    continue
                for seq, place in run:
                    (gone[seq].add if at in gone[kept.seq] else gone[seq].discard)(place)
                run.clear()
        for seq, place in run:  # Choice: what it led to may still come
            gone[seq].discard(place)

    def _smaller(self, kept: Kept, gone: frozenset[int]) -> Kept | None:
        """Return *kept* without the items at *gone*; None if nothing is left that says anything."""
        if gone == kept.gone:
            return kept
        said = self._log[kept.seq - 1]
        left = {item.kind for at, item in enumerate(said.items) if at not in gone}
        if left <= {"reasoning"}:
            return None
        return Kept(kept.seq, gone, self._cost(said, gone))

    def _trim(self) -> None:
        if self._settings.skip_kinds is not None:
            self._strip(self._settings.skip_kinds)
        settings, places = self._settings, self._cut_places()
        if not places:
            return
        fixed, above = self._pinned_tokens(), self._threshold()
        target = fixed + floor(settings.target_ratio * (above - fixed))
        at_least = max(self._pinned, len(self.window) - settings.limit)
        start = next((place for place in places if place >= at_least), places[-1])
        if 10 * self._left(start) > 9 * above:
            while start != places[-1] and self._left(start) > target:
                start = next(place for place in places if place > start)
        task = self._task(start)
        if start == places[0]:
            return
        if settings.start_on_user and not task and not self._opens(start):
            start = next((p for p in range(start, len(self.window)) if self._opens(p)), start)
        self._cut(start, task)

    def _left(self, start: int) -> int:
        """
        What a cut before *start* leaves, in tokens.

        Choice: results that go with their calls count as long as the cut is being looked for.
        """
        kept = {*range(self._pinned), *self._task(start), *range(start, len(self.window))}
        total: int = sum(self.window[place].tokens for place in kept)
        return total

    def _after(self, kept: Kept, lost: set[int]) -> Kept:
        """Return *kept* without the results whose calls stand in *lost*; 0 tokens if it goes."""
        said = self._log[kept.seq - 1]
        gone = set(kept.gone)
        for at in range(len(said.items)):
            call = self._answer_of.get((kept.seq, at)) or self._late.get((kept.seq, at))
            if call is not None and call.seq in lost:
                gone.add(at)
        if gone == set(kept.gone):
            return kept
        if len(gone) == len(said.items):
            return Kept(kept.seq, frozenset(gone), 0)
        return Kept(kept.seq, frozenset(gone), self._cost(said, frozenset(gone)))

    def _cut(self, start: int, task: Sequence[int]) -> None:
        kept = {*range(self._pinned), *task}
        lost = {self.window[p].seq for p in range(start) if p not in kept}
        if task:
            marked = frozenset(self.window[p].seq for p in task)
            self._tasks = [t for t in self._tasks if not t & marked] + [marked]
        self._cut_calls |= {id(call) for call in self._calls if call.seq in lost}
        before = [self.window[p] for p in sorted(kept) if p < start]
        after = [self._after(one, lost) for one in self.window[start:]]
        sized = [one for one in after if len(one.gone) < len(self._log[one.seq - 1].items)]
        self.window = [*before, *sized]


def opens_turn(said: Said) -> bool:
    """Tell whether *said* is a user message that a model sees and that answers nothing."""
    if said.role != "user":
        return False
    kinds = {item.kind for item in said.items}
    return bool(kinds & {"text", "call"}) and not kinds & {"result", "response"}


def _is_skipped(item: Item, kinds: tuple[str, ...]) -> bool:
    if item.kind == "reasoning":
        return "reasoning" in kinds
    return item.kind in ("call", "result", "request", "response") and "tool" in kinds


def _is_alike(call: Item, result: Item) -> bool:
    """Tell whether *result* could answer *call*: by id if it has one, else by name."""
    if (call.kind == "request") != (result.kind == "response"):
        return False
    if call.kind == "request":
        return call.approval == result.approval
    return call.id == result.id if result.id else call.name == result.name
