"""
One conversation, replayed message by message against a running server, with every answer held
against the contract.

A replay knows what it appended and nothing of how the server works. It stops at the first broken
rule.
What it does besides appending and reading (refused writes, repeated keys, other budgets) is drawn
from a seed, so that a failure can be repeated.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from random import Random
from typing import Any

import httpx

from tests.acceptance.case import MANUAL, Case, Expected
from tests.acceptance.difference import canonical, compare
from tests.acceptance.log import Log, Slot
from tests.acceptance.opener import is_opener_promised, missing_opener, was_opener_always_promised
from tests.acceptance.oracle import Violation, check
from tests.acceptance.outcome import Finding, Outcome, Tally
from tests.acceptance.owner import Cuts, Replacement, emptying, is_due, replacement
from tests.acceptance.plan import Run
from tests.acceptance.steps import Step, check_step
from tests.acceptance.traffic import Broken, Traffic, as_object, broken, encode, expect_numbers
from tests.acceptance.view import Malformed, View, ViewReader, check_message

RARELY = 0.04
THINNED_EVERY = 12
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SUMS = re.compile(rb'"(used_tokens|window_tokens)" ?: ?(\d+)')


class Replay:
    """One conversation under one configuration, on one context."""

    def __init__(self, http: httpx.AsyncClient, run: Run, seed: int, prefix: str) -> None:
        conversation, configuration = run.conversation, run.configuration
        name = f"{prefix}/{conversation.id}/{conversation.shape}/{configuration.name}"
        self._run = run
        self._seed = seed
        self._random = Random(f"{seed} {name.removeprefix(prefix)}")
        self._traffic = Traffic(http, name)
        self._twin = Traffic(http, f"{name}/in batches")
        self._log = Log()
        self._version = 0
        self._cuts = Cuts(conversation.messages)
        self._own_reader, self._reader = ViewReader(), ViewReader()
        self._window: tuple[Slot, ...] | None = None
        self._seen: Case | None = None
        self._seen_last_seq = 0
        self._tokens: int | None = None
        self._tag = ""
        self._excused: set[int] = set()
        self._index = 0
        self._tally = Tally()
        if configuration.strategy == MANUAL:
            self._window = ()

    async def run(self) -> Outcome:
        """Replay everything, and return what was seen; a broken rule is part of the outcome."""
        context_id = self._traffic.context_id
        try:
            views = await self._replay()
        except Broken as error:
            return Outcome(self._run, context_id, self._tally, self._findings(error.violations))
        except Malformed as error:
            findings = self._findings((Violation("answer", str(error)),))
            return Outcome(self._run, context_id, self._tally, findings)
        return Outcome(self._run, context_id, self._tally, views=views)

    def _findings(self, violations: tuple[Violation, ...]) -> tuple[Finding, ...]:
        return tuple(Finding(self._run, self._index, self._seed, one) for one in violations)

    async def _replay(self) -> dict[int | None, bytes]:
        await self._create()
        for index, message in enumerate(self._run.conversation.messages):
            self._index = index
            await self._refused_append(message)
            await self._append(message)
            case = await self._read()
            if case is not None:
                await self._elsewise(case)
                await self._compact(case)
        await self._read_whole_log()
        await self._read_representation()
        await self._compare_with_batches()
        return await self._final_views()

    def _rarely(self, chance: float = RARELY) -> bool:
        return self._random.random() < chance

    # Writing

    async def _create(self) -> None:
        configuration = self._run.configuration
        answer = await self._traffic.create(configuration.body())
        expect_numbers(
            "PUT", answer, version=0, last_seq=0, token_budget=configuration.token_budget
        )
        await self._read()

    async def _append(self, message: Any) -> None:
        content: dict[str, Any] = {"message": message}
        if self._rarely(0.15):
            content["if_version"] = self._version
        body, headers = encode(content), {}
        if self._rarely():
            headers["Idempotency-Key"] = self._traffic.key(f"append {self._index}")
        response = await self._traffic.append(body, headers)
        answer = as_object(response)
        estimate = message.get("token_count", answer.get("token_estimate"))
        if type(estimate) is not int or estimate < 0:
            raise broken("answer", f"token_estimate is {estimate!r}")
        self._version += 1
        seq = self._log.append(message, estimate, self._version)
        numbers = {"seq": seq, "version": self._version, "token_estimate": estimate}
        expect_numbers("append", answer, **numbers)
        self._tally.messages += 1
        if self._window is not None:
            self._window = (*self._window, self._log.slots[-1])
        if headers:
            await self._repeat(body, headers, response)

    async def _repeat(self, body: bytes, headers: dict[str, str], first: httpx.Response) -> None:
        """Send the same append with the same key again: the same answer, and nothing appended."""
        _expect_replayed(first, await self._traffic.append(body, headers))

    async def _refused_append(self, message: Any) -> None:
        """Now and then append against a version that is not the current one: nothing changes."""
        if not self._rarely():
            return
        wrong = self._version + self._random.choice((1, 5, 10**6))
        content = encode({"message": message, "if_version": wrong})
        answer = await self._traffic.call("POST", "/messages", 409, content=content)
        body = as_object(answer)
        if body.get("error") != "conflict":
            raise broken("answer", f"the error of a stale if_version is {body.get('error')!r}")
        expect_numbers("409", body, expected=wrong, found=self._version)

    async def _compact(self, case: Case) -> None:
        """Summarise, if this context's owner does so and would now."""
        if self._window is None or not is_due(case, self._run.configuration):
            return
        forgetful = self._run.configuration.habit == "late" and self._tally.compactions % 3 == 2
        made = (emptying if forgetful else self._summarised)(case, self._cuts)
        if made is None:
            return
        await self._replace_window(made)
        after = await self._read()
        if after is not None:
            # The server counted the summary; from now on the count stands.
            self._window = tuple(
                slot._replace(token_count=returned["token_count"])
                for slot, returned in zip(made.window, after.view.messages, strict=True)
            )

    def _summarised(self, case: Case, cuts: Cuts) -> Replacement | None:
        return replacement(case, cuts, self._random)

    async def _replace_window(self, made: Replacement) -> None:
        entries = list(made.entries)
        stale = encode({"replacement": entries, "if_version": self._version - 1})
        await self._traffic.call("POST", "/compact", 409, content=stale)
        content = encode({"replacement": entries, "if_version": self._version})
        headers = {"Idempotency-Key": self._traffic.key(f"compact {self._version}")}
        first = await self._traffic.call("POST", "/compact", 200, content=content, headers=headers)
        if self._rarely(0.3):
            again = await self._traffic.call(
                "POST", "/compact", 200, content=content, headers=headers
            )
            _expect_replayed(first, again)
        answer = as_object(first)
        self._version += 1
        expect_numbers("compact", answer, version=self._version)
        self._tally.compactions += 1
        self._window = made.window
        self._seen = None
        self._tokens = None

    # Reading

    async def _read(self) -> Case | None:
        """
        Read the LLM context and hold it against everything; None when only sums were looked at.
        """
        response = await self._traffic.context()
        self._tally.reads += 1
        if self._tag and self._rarely():
            await self._traffic.expect_changed(self._tag)
        self._tag = response.headers["etag"]
        last = self._index == len(self._run.conversation.messages) - 1
        if self._run.is_thinned and self._index % THINNED_EVERY and not last:
            self._check_sums(response.content)
            return None
        case = self._judge(response, self._expected())
        violations = check(case)
        violations += self._check_opener(case)
        if self._seen is not None:
            step = Step(self._seen, self._seen_last_seq, case)
            violations += check_step(step)
        if violations:
            raise Broken(violations)
        self._observe(case)
        return case

    def _expected(self) -> Expected:
        configuration = self._run.configuration
        return Expected(
            configuration.strategy,
            self._version,
            configuration.token_budget,
            configuration.trigger_ratio,
            configuration.config,
            window=self._window,
        )

    def _judge(self, response: httpx.Response, expected: Expected) -> Case:
        self._tally.checks += 1
        reader = self._reader if expected.overridden else self._own_reader
        return Case(self._log, reader.read(response.content), expected)

    def _check_sums(self, content: bytes) -> None:
        """
        Hold the sums of an answer against the budget and the sums of the last, without parsing it.
        """
        sums = {name.decode(): int(digits) for name, digits in SUMS.findall(content)}
        if set(sums) != {"used_tokens", "window_tokens"}:
            raise broken("answer", "used_tokens or window_tokens is missing")
        expected = self._expected()
        if expected.is_budget_promised and sums["used_tokens"] > expected.token_budget:
            raise broken("budget", f"used_tokens is {sums['used_tokens']}")
        found = sums["window_tokens"]
        if self._tokens is not None:
            untrimmed = self._tokens + self._log[self._log.last_seq].token_count
            quiet = self._window is not None or untrimmed <= expected.triggers[0]
            if found > untrimmed or (quiet and found != untrimmed):
                raise broken("arithmetic", f"window_tokens is {found}, not {untrimmed}")
            self._tally.compactions += found < untrimmed
        self._tokens = found

    def _check_opener(self, case: Case) -> list[Violation]:
        """
        Hold the loss of a turn's opening message against the promise to keep it when it fits.

        It is judged when it is lost: what was not promised then does not come back when it would
        be.
        """
        opener = missing_opener(case)
        if opener is None or opener in self._excused:
            return []
        if self._run.is_thinned or not is_opener_promised(case, opener):
            self._excused.add(opener)
            return []
        detail = f"seq {opener} opens the turn that was cut, would have fitted, and is missing"
        return [Violation("opener", detail)]

    def _observe(self, case: Case) -> None:
        found = case.view.window_tokens
        if self._seen is None or _is_moved(self._seen.view, case.view):
            self._tally.window_starts += 1
        if self._tokens is not None and self._window is None and self._log.entries:
            untrimmed = self._tokens + self._log[self._log.last_seq].token_count
            self._tally.compactions += found < untrimmed
        self._tokens = found
        self._tally.kept_tokens = case.view.used_tokens
        self._tally.history_tokens = self._log.total_tokens
        self._seen, self._seen_last_seq = case, self._log.last_seq

    async def _elsewise(self, case: Case) -> None:
        """Now and then read the same window in the other ways there are."""
        if self._rarely():
            await self._traffic.expect_unchanged(await self._traffic.context())
        if self._rarely(3 * RARELY):
            await self._read_with_budget(case, self._other_budget())
        if self._rarely():
            await self._read_tail()

    def _other_budget(self) -> int:
        budget = self._run.configuration.token_budget
        choices = (1, 120, 300, budget // 3, budget // 2, budget * 2 // 3, 2 * budget, 10**9)
        return max(1, self._random.choice(choices))

    async def _read_with_budget(self, own: Case, budget: int) -> None:
        response = await self._traffic.context(budget)
        self._tally.reads += 1
        known = own.window() if own.view.fit == "whole" and self._window is None else self._window
        expected = replace(
            own.expected, token_budget=budget, overridden=True, window=known, version=self._version
        )
        case = self._judge(response, expected)
        violations = check(case)
        if case.view.window_tokens != own.view.window_tokens:
            detail = f"window_tokens is {case.view.window_tokens}, and {own.view.window_tokens}"
            violations.append(Violation("arithmetic", f"{detail} without an own budget"))
        opener = None if known is None else missing_opener(case)
        if opener is not None and was_opener_always_promised(case, opener):
            detail = f"seq {opener} opens the turn that was cut, would have fitted, and is missing"
            violations.append(Violation("opener", detail))
        if violations:
            asked = f"with budget_tokens={budget}: "
            raise Broken([Violation(rule, asked + detail) for rule, detail in violations])

    async def _read_tail(self) -> None:
        offset, limit = self._random.randrange(4), self._random.randrange(1, 9)
        answer = await self._traffic.messages("tail", offset=offset, limit=limit)
        end = max(0, self._log.last_seq - offset)
        self._check_page(answer.get("messages"), range(max(0, end - limit) + 1, end + 1))

    # The end

    async def _read_whole_log(self) -> None:
        """Read the log page by page: it equals the source value for value, without a hole."""
        limit, seq, last_time = self._random.choice((37, 100, 1000)), 1, ""
        while seq <= self._log.last_seq:
            answer = await self._traffic.messages("messages", from_seq=seq, limit=limit)
            until = min(seq + limit - 1, self._log.last_seq)
            page = self._check_page(answer.get("messages"), range(seq, until + 1))
            is_end = until == self._log.last_seq
            version = self._version if is_end else self._log[until].version
            expect_numbers("a page", answer, version=version)
            for message in page:
                last_time = _check_time(message.get("inserted_at"), last_time)
            seq = until + 1
        answer = await self._traffic.messages("messages", from_seq=-3)
        newest = range(max(1, self._log.last_seq - 2), self._log.last_seq + 1)
        self._check_page(answer.get("messages"), newest)

    def _check_page(self, page: Any, seqs: range) -> list[Any]:
        if not isinstance(page, list) or len(page) != len(seqs):
            size = len(page) if isinstance(page, list) else page
            raise broken("log", f"a page over {seqs} holds {size!r} messages")
        for seq, returned in zip(seqs, page, strict=True):
            check_message(returned, f"seq {seq}")
            source = self._log[seq]
            numbers = {"seq": seq, "version": source.version, "token_count": source.token_count}
            expect_numbers("a message of the log", returned, **numbers)
            difference = compare(source.message, returned)
            if not difference.is_whole:
                raise broken("log", f"seq {seq} is not what was appended: {difference}")
        return page

    async def _read_representation(self) -> None:
        answer = await self._traffic.representation()
        expect_numbers("GET", answer, version=self._version, last_seq=self._log.last_seq)
        if answer.get("status") != "active":
            raise broken("answer", f"status is {answer.get('status')!r}")

    async def _compare_with_batches(self) -> None:
        """Append the same in batches to a twin: a batch of N messages equals N single appends."""
        if self._window is not None:
            return
        await self._twin.create(self._run.configuration.body())
        waiting = list(self._run.conversation.messages)
        while waiting:
            size = self._random.choice((1, 2, 3, 8, 40))
            batch, waiting = waiting[:size], waiting[size:]
            answer = as_object(await self._twin.append(encode({"messages": batch})))
            results = answer.get("results")
            if not isinstance(results, list) or len(results) != len(batch):
                raise broken("batch", f"{len(batch)} messages were answered by {results!r}")
            version = self._log.last_seq - len(waiting)
            expect_numbers("batch", results[-1], seq=version, version=version)
        one_by_one, in_batches = await self._traffic.context(), await self._twin.context()
        if _timeless(one_by_one.content) != _timeless(in_batches.content):
            raise broken("batch", "the window of a twin that was appended to in batches differs")

    async def _final_views(self) -> dict[int | None, bytes]:
        budget = self._run.configuration.token_budget
        asked = (None, max(1, budget // 2), 777, 3 * budget)
        return {one: (await self._traffic.context(one)).content for one in asked}


def _expect_replayed(first: httpx.Response, again: httpx.Response) -> None:
    if again.content != first.content:
        raise broken("idempotency", "the answer to a repeated key differs from the first")
    if again.headers.get("idempotent-replayed") != "true":
        raise broken("idempotency", "the answer to a repeated key is not marked as such")


def _is_moved(before: View, after: View) -> bool:
    """Tell whether a prompt made of the later view does not begin with the earlier one."""
    known = [(one["seq"], one["token_count"]) for one in before.messages]
    return [(one["seq"], one["token_count"]) for one in after.messages[: len(known)]] != known


def _check_time(time: Any, earlier: str) -> str:
    if not isinstance(time, str) or not TIME.fullmatch(time):
        raise broken("log", f"inserted_at is {time!r}")
    if time.rstrip("Z") < earlier.rstrip("Z"):
        raise broken("log", f"inserted_at falls from {earlier} to {time}")
    return time


def _timeless(content: bytes) -> str:
    """Write an answer without the times at which its messages came."""
    body = json.loads(content)
    for message in body["messages"]:
        message.pop("inserted_at", None)
    return canonical(body)
