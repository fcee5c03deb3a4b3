"""
What policies keep, told from the rules by definition: every append looks at everything again.

Nothing here is shared with the core.
Where the rules leave a choice, the choice is written beside the line that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import NamedTuple

from tests.rules.groups import Cost, Groups, holds_summary
from tests.rules.meaning import ASKS, INSTRUCTIONS, USERS, Item, Said
from tests.rules.pairing import Call, Pairing, Spot
from tests.rules.stripping import Kept, Stripping


@dataclass(frozen=True)
class Settings:
    """The configuration of a context; *skip_kinds* is None for `last_n`."""

    token_budget: int
    trigger_ratio: float = 0.7
    limit: int = 200
    target_ratio: float = 0.5
    start_on_user: bool = True
    skip_kinds: tuple[str, ...] | None = None

    def threshold(self, pinned_tokens: int) -> int:
        """Return above how many tokens a window is trimmed."""
        trigger = self.trigger
        return max(trigger, min(self.token_budget, pinned_tokens + trigger // 2))

    @property
    def trigger(self) -> int:
        """Above how many tokens a window needs compaction."""
        return floor(self.token_budget * self.trigger_ratio)

    def target(self, pinned_tokens: int) -> int:
        """Return down to how many tokens a trim goes."""
        room = self.threshold(pinned_tokens) - pinned_tokens
        return pinned_tokens + floor(self.target_ratio * room)


class Base(NamedTuple):
    """
    What stays whatever the cut.

    Attributes:
        fixed: The places of the pinned.
        first: The first place where a cut may fall.
        tokens: What the pinned cost, a provider's summary included.
        summary: The message that is reduced to a provider's summary where a cut is after it.
    """

    fixed: Sequence[int]
    first: int
    tokens: int
    summary: Kept | None = None


class Cut(NamedTuple):
    """Where the newest messages begin that stay, and the places of the task that stays too."""

    start: int
    task: Sequence[int] = ()


class Look(NamedTuple):
    """
    What a cut is looked for in: the messages of the window before the place *end*.

    Attributes:
        base: What stays.
        places: Where a cut may fall.
        end: The end.
        settings: Of the context, or with the budget of a read.
    """

    base: Base
    places: Sequence[int]
    end: int
    settings: Settings


class Model(Groups):
    """
    A conversation under the rules.

    Args:
        settings: Its configuration.
        cost: What is left of a message costs.

    """

    def __init__(self, settings: Settings, cost: Cost) -> None:
        super().__init__(cost)
        self._settings = settings
        self._joins_pinned = True
        self._unseen: dict[int, Said] = {}

    def append(self, said: Said) -> None:
        """Take in a message, and trim the window if that asks for it."""
        self.admit(said)
        self.trim()

    def trim(self) -> None:
        """Trim the window if it asks for that."""
        before: Sequence[Kept] = ()
        # What a first trim has taken away may have held other things together.
        while self.window != before and self._is_due():
            before = self.window
            self._trim()

    def admit(self, said: Said) -> None:
        """Take in a message, or what is left of it: results that bind nothing stay out."""
        number = len(self.said)
        self.said.append(said)
        self.log.append(number)
        summary = number if holds_summary(said) else self._newest_summary(len(self.window))
        self.pairing.add(
            number,
            said,
            lambda call: call.spot.number != number and self._is_gone(call),
            lambda call: call.spot.number < summary,
        )
        gone = frozenset(at for at in range(len(said.items)) if self._has_lost_call(number, at))
        if said.is_emptied(gone):
            self._joins_pinned &= not self.window
            return
        # Choice: a window that a trim has emptied begins anew.
        joins = (self._joins_pinned or not self.window) and self.pinned == len(self.window)
        self._joins_pinned = joins and said.role in INSTRUCTIONS
        self.pinned += self._joins_pinned
        self._set([*self.window, Kept(number, gone, self._costs(number, gone))])

    def revise(self, number: int, said: Said) -> None:
        """Let *said* take the place of a message, and trim the window if that asks for it."""
        self.renew(number, said)
        self.trim()

    def renew(self, number: int, said: Said) -> None:
        """
        Let *said* take the place of a message; if that has left the window, nothing changes there.

        Choice: the window is read again as if the message had come like this. What is known of
        calls that have gone stays as it is.
        """
        self.log.append(number)
        if number not in self._there:
            self._unseen[number] = said
            return
        at = self._place(number)
        before, after = self.window[:at], self.window[at + 1 :]
        former = [call for call in self.pairing.made.get(number, ()) if self._is_gone(call)]
        self.said[number] = said
        self._set([*before, Kept(number, frozenset(), said.tokens), *after])
        self._pair_again(number, former)
        gone = frozenset(at for at in range(len(said.items)) if self._has_lost_call(number, at))
        if said.is_emptied(gone):
            self.pinned -= at < self.pinned
            self._set([*before, *after])
        else:
            self._set([*before, Kept(number, gone, self._costs(number, gone)), *after])
        self._let_go()

    def _pair_again(self, revised: int, former: Iterable[Call] = ()) -> None:
        """Read all messages again, where *revised* made the *former* calls that have gone."""
        before = self.pairing
        left = [call for call in former if not self._is_made_again(call)]
        for call in before.calls:
            call.is_former |= call in left
            call.answers = [spot for spot in call.answers if spot.number != revised]
            call.strays = [spot for spot in call.strays if spot.number != revised]
        known = {call.spot: call for call in before.calls if not call.is_former}
        self.pairing = Pairing()
        for number, said in enumerate(self.said):
            if said.is_synthetic:
                continue
            for call in before.made.get(number, ()):
                if call.is_former and (number != revised or call in left):
                    self.pairing.keep(call)
            kept = self._there.get(number)
            gone = range(len(said.items)) if kept is None else kept.gone
            self.pairing.add(number, said, *self._as_it_is(number), gone, known)

    def _as_it_is(self, number: int) -> tuple[Callable[[Call], bool], Callable[[Call], bool]]:
        """Return what tells of calls before a message whether they are gone, or replaced."""
        before = sum(kept.number < number for kept in self.window)
        is_summary = holds_summary(self.said[number])
        summary = number if is_summary else self._newest_summary(before)
        return (
            lambda call: call.spot.number != number and self._is_gone(call),
            lambda call: call.spot.number < summary,
        )

    def _is_made_again(self, call: Call) -> bool:
        """Tell whether a message makes a call again that it made before it was revised."""
        return any(_is_same(item, call.item) for item in self.said[call.spot.number].items)

    def add_synthetic(self, said: Said) -> None:
        """Let a message that stands for what it replaces be the newest of the window."""
        self.said.append(said)
        self._set([*self.window, Kept(len(self.said) - 1, frozenset(), said.tokens)])

    def replace(self, replacement: Sequence[int | Said]) -> None:
        """Make the window exactly *replacement*: seqs of the log, and synthetic messages."""
        window: list[Kept] = []
        back: list[int] = []
        for item in replacement:
            if isinstance(item, Said):
                self.said.append(item)
            number = self.log[item - 1] if isinstance(item, int) else len(self.said) - 1
            if number in self._unseen:
                self.said[number] = self._unseen.pop(number)
                back.append(number)
            window.append(Kept(number, frozenset(), self.said[number].tokens))
        self._set(window)
        for number in back:
            self._pair_again(number)
        self._task = frozenset()
        self.pinned = self._leading(0)
        if self.pinned < len(window) and self.said[window[self.pinned].number].is_synthetic:
            is_first = self.pinned == 0
            self.pinned = self._leading(1) if is_first else self.pinned + 1
        self._joins_pinned = self._may_lead_on()
        self._let_go()

    def _let_go(self) -> None:
        """A result that was put back without its call, or has lost it, is a message like others."""
        for kept in self.window:
            for at, owners in list(self.pairing.owners.get(kept.number, {}).items()):
                if all(map(self._is_gone, owners)):
                    self.pairing.let_go(Spot(kept.number, at))

    def _leading(self, start: int) -> int:
        """Return where the instructions end that begin at the place *start*."""
        while start < len(self.window) and self._role(start) in INSTRUCTIONS:
            start += 1
        return start

    def _may_lead_on(self) -> bool:
        """Tell whether instructions that come next are pinned too."""
        if not self.window:
            return True
        last = self.said[self.window[-1].number]
        is_newest = last.is_synthetic or self.window[-1].number == max(self.log)
        leads = last.role in INSTRUCTIONS or (last.is_synthetic and len(self.window) == 1)
        return is_newest and leads and self.pinned == len(self.window)

    @property
    def used(self) -> int:
        """What the window costs, in tokens."""
        return sum(kept.tokens for kept in self.window)

    # What stays

    def _base(self, end: int | None = None) -> Base:
        """Return what stays whatever the cut, of the messages before the place *end*."""
        pinned = self._pinned_end(self._all_spans())
        places = range(pinned, len(self.window) if end is None else end)
        summaries = [at for at in places if self._is_summary(at)]
        fixed = list(range(pinned))
        if not summaries:
            return Base(fixed, pinned, self._sum(fixed))
        # Choice: if a group reaches out of the pinned, a summary leaves all of them.
        if pinned == self.pinned:
            fixed = [at for at in fixed if self._role(at) in INSTRUCTIONS]
        at = summaries[-1]
        summary = self._reduced(at)
        return Base(fixed, at, self._sum(fixed) + summary.tokens, summary)

    def _reduced(self, at: int) -> Kept:
        """Return the message at a place as it is when all but its summary is cut."""
        number = self.window[at].number
        items = self.said[number].items
        last = max(one for one, item in enumerate(items) if item.kind == "compaction")
        gone = frozenset(
            one
            for one, item in enumerate(items)
            if one != last and not (item.kind == "reasoning" and item.is_in_keys)
        )
        return Kept(number, gone, self._costs(number, gone)) if gone else self.window[at]

    def _sum(self, places: Iterable[int]) -> int:
        return sum(self.window[at].tokens for at in places)

    def _tokens(self, base: Base, cut: Cut, end: int) -> int:
        """
        What a cut leaves of the messages before *end*, in tokens.

        Choice: results that go with their calls count as long as the cut is being looked for.
        """
        places = {*cut.task, *range(cut.start, end)}
        if base.summary is None:
            return base.tokens + self._sum(places)
        if cut.start <= base.first:
            return base.tokens - base.summary.tokens + self._sum(places)
        return base.tokens + self._sum(places - {base.first})

    # Turns and the task

    def _turn_of(self, at: int) -> int | None:
        """Return the place of the message that opened the turn in which *at* is."""
        opens = (place for place in range(at, self.pinned - 1, -1) if self._opens(place))
        return next(opens, None)

    def _opens(self, at: int) -> bool:
        return self.said[self.window[at].number].opens_turn

    def _task_of(self, look: Look, start: int, kept: Sequence[int]) -> Sequence[int]:
        """List the places that stay before a cut: the task and the user messages before it."""
        base, places, end, settings = look
        opener = self._turn_of(start) if start < len(self.window) else None
        if opener is None or opener == start or opener < places[0]:
            return ()
        if opener in kept:
            return sorted({*kept, *self._with_own_calls(opener, start, places)})
        turn_end = next((p for p in range(opener + 1, end) if self._opens(p)), end)
        marked = self.window[opener].number in self._task
        is_cut_by_summary = base.summary is not None and opener <= start == base.first
        holds = any(map(self._holds_call, range(opener, turn_end)))
        # Choice: a task that stayed once stays, as the calls may have gone with the cut before.
        if not (holds or turn_end == end or marked or is_cut_by_summary):
            return ()
        task = self._with_own_calls(opener, start, places)
        while task[0] - 1 >= places[0] and self._may_precede(task[0] - 1):
            block = list(range(max(p for p in places if p < task[0]), task[0]))
            is_task = self.window[block[-1]].number in self._task
            if len(block) > 1 and not is_task:
                break
            if 4 * self._sum([*block, *task]) > settings.token_budget:
                break
            task = [*block, *task]
        return task

    def _with_own_calls(self, opener: int, start: int, places: Sequence[int]) -> list[int]:
        """
        List the places of the message that opened a turn, with its block.

        Choice: one that makes calls stays with what answers them.
        """
        number = self.window[opener].number
        first = max(place for place in places if place <= opener)
        made = [call for call in self.pairing.made.get(number, ()) if not self._is_gone(call)]
        last = opener + 1
        if any(spot.number != number and self._is_there(spot) for c in made for spot in c.answers):
            whole = [place for place in places if last <= place and not self._is_reached(place)]
            last = min([*whole, start])
        return list(range(first, last))

    def _is_reached(self, at: int) -> bool:
        """Tell whether a cut at a place takes results out of the message there."""
        return any(span.first < at <= span.last for span in self._spans(len(self.window)))

    def _may_precede(self, at: int) -> bool:
        """Choice: a user message that has lost all its results answers nothing any more."""
        return self._role(at) in USERS and not any(
            item.kind in ("result", "response") for item in self._left(at)
        )

    # Trimming

    def _is_due(self) -> bool:
        settings = self._settings
        return self.used > settings.trigger and self.used > settings.threshold(self._base().tokens)

    def _trim(self) -> None:
        if len(self.window) == self.pinned:
            return
        if self._settings.skip_kinds is not None:
            self._strip(self._settings.skip_kinds)
        size = len(self.window)
        places = self._cut_places(size)
        if not places:
            return
        base = self._base()
        newest = max(places[-1], base.first)
        starts = [base.first, *(place for place in places if base.first < place <= newest)]
        allowed = [place for place in starts if place >= size - self._settings.limit]
        look = Look(base, places, size, self._settings)
        cut = self._cut_to_target(look, allowed or [newest])
        self._cut(base, self._moved(look, cut))

    def _strip(self, kinds: tuple[str, ...]) -> None:
        size, start = len(self.window), self._pinned_end(self._all_spans())
        opener = self._turn_of(size - 1) if size else None
        holds = any(map(self._holds_call, range(opener or 0, size)))
        holds = holds or (opener is not None and self.window[opener].number in self._task)
        opened = (number for number in self.log if self.said[number].opens_turn)
        newest = max(opened, default=0)
        holds = holds or any(
            call.spot.number >= newest and self._is_gone(call) for call in self.pairing.calls
        )
        end = max(opener or 0, start) if holds else size
        there = Stripping(self.said, self.window, self.pairing, range(start, end))
        gone = there.decided(kinds)
        left = [self._smaller(kept, gone[kept.number]) for kept in self.window]
        self._set([kept for kept in left if kept is not None])

    def _smaller(self, kept: Kept, gone: Collection[int]) -> Kept | None:
        """Return *kept* without the items at *gone*; None if nothing is left that says anything."""
        if kept.gone.issuperset(gone):
            return kept
        every = kept.gone.union(gone)
        if self.said[kept.number].is_emptied(every):
            return None
        return Kept(kept.number, every, self._costs(kept.number, every))

    def _cut_to_target(self, look: Look, starts: Sequence[int], task: Sequence[int] = ()) -> Cut:
        """Drop the oldest blocks if the limit has not dropped enough; *task* is what was kept."""
        base, settings = look.base, look.settings
        cut = Cut(starts[0], self._task_of(look, starts[0], task))
        if 10 * self._tokens(base, cut, look.end) <= 9 * settings.threshold(base.tokens):
            return cut
        for start in starts:
            cut = Cut(start, self._task_of(look, start, task))
            if self._tokens(base, cut, look.end) <= settings.target(base.tokens):
                break
        return cut

    def _moved(self, look: Look, cut: Cut) -> Cut:
        """Move a cut that falls inside a turn without a task on to the next user message."""
        if not look.settings.start_on_user or cut.task or cut.start == look.base.first:
            return cut
        turns = (place for place in range(cut.start, look.end) if self._opens(place))
        return Cut(next(turns, cut.start))

    def _cut(self, base: Base, cut: Cut) -> None:
        left = self._left_by(base, cut)
        if left == self.window:
            return
        fixed = {self.window[at].number for at in range(self.pinned)}
        self._task = frozenset(self.window[at].number for at in cut.task)
        self._set(left)
        self.pinned = sum(kept.number in fixed for kept in left)

    def _left_by(self, base: Base, cut: Cut) -> list[Kept]:
        """List what a cut leaves."""
        size = len(self.window)
        places = {*base.fixed, *cut.task, *range(cut.start, size)}
        reduced = {base.first} if base.summary is not None and base.first < cut.start else set()
        stay = {self.window[at].number for at in places - reduced}
        left: list[Kept | None] = []
        for at in sorted(places | ({base.first} if base.summary is not None else set())):
            kept = self.window[at]
            if base.summary is not None and at == base.first < cut.start:
                left.append(base.summary)
                continue
            lost = {
                at
                for at, owners in self.pairing.owners.get(kept.number, {}).items()
                for call in owners
                if not self._is_gone(call) and call.spot.number not in stay
                if self.said[kept.number].items[at].kind != "both"
            }
            left.append(self._smaller(kept, lost))
        return [kept for kept in left if kept is not None]

    # Fitting

    def fitted(self, budget: int) -> list[Kept]:
        """
        Return what a read under *budget* keeps, found by replaying the window.

        It may be above the budget: then the newest block is made smaller.
        """
        if self.used <= budget:
            return self.window
        settings = replace(self._settings, token_budget=budget)
        places = self._cut_places(len(self.window))
        pinned = places[0] if places else len(self.window)
        base = self._base(pinned)
        cut = Cut(base.first)
        for end in range(pinned + 1, len(self.window) + 1):
            now = self._base(end)
            if self._tokens(base, cut, end) <= settings.threshold(now.tokens):
                continue
            base, first = now, max(cut.start, now.first)
            then = (self._cut_places(end) or [first])[-1]  # the newest block as it was then
            newest = max([place for place in places if place <= then] + [first])
            starts = [first, *(place for place in places if first < place <= newest)]
            look = Look(base, places, end, settings)
            cut = self._moved(look, self._cut_to_target(look, starts, cut.task))
        return self._left_by(base, cut)


def _is_same(item: Item, call: Item) -> bool:
    """Tell whether an *item* of a revision is a *call* that its message made before."""
    is_like = (item.kind == "request") == (call.kind == "request")
    is_same = item.id == call.id if call.id else not item.id and item.name == call.name
    return item.kind in ASKS and is_like and is_same
