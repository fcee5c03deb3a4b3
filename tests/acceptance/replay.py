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
from random import Random
from typing import Any

import httpx

from tests.acceptance.connection import Connection
from tests.acceptance.judge import Judge, unlike
from tests.acceptance.outcome import Finding, Outcome, Tally
from tests.acceptance.owner import Replacement, emptying, is_due, replacement
from tests.acceptance.plan import Run
from tests.acceptance.traffic import (
    Broken,
    Traffic,
    Violation,
    as_object,
    broken,
    encode,
    expect_numbers,
)
from tests.acceptance.view import Malformed, View, ViewReader, check_message
from tests.kit.messages import encoded

RARELY = 0.04
THINNED_EVERY = 12
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SUMS = re.compile(rb'"(used_tokens|window_tokens)" ?: ?(\d+)')


class Replay:
    """One conversation under one configuration, on one context."""

    def __init__(self, http: Connection, run: Run, seed: int, prefix: str) -> None:
        conversation, configuration = run.conversation, run.configuration
        name = f"{prefix}/{conversation.id}/{conversation.shape}/{configuration.name}"
        self._run = run
        self._seed = seed
        self._random = Random(f"{seed} {name.removeprefix(prefix)}")
        self._traffic = Traffic(http, name)
        self._twin = Traffic(http, f"{name}/in batches")
        self._judge = Judge(configuration)
        self._own_reader, self._reader = ViewReader(), ViewReader()
        self._seen: View | None = None
        self._tag = ""
        self._index = 0
        self._tally = Tally()

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
            view = await self._read()
            if view is not None:
                await self._elsewise()
                await self._compact(view)
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
            content["if_version"] = self._judge.version
        body, headers = encode(content), {}
        if self._rarely():
            headers["Idempotency-Key"] = self._traffic.key(f"append {self._index}")
        response = await self._traffic.append(body, headers)
        answer = as_object(response)
        estimate = message.get("token_count", answer.get("token_estimate"))
        if type(estimate) is not int or estimate < 0:
            raise broken("answer", f"token_estimate is {estimate!r}")
        before = self._judge.model.used
        seq = self._judge.append(message, estimate)
        numbers = {"seq": seq, "version": self._judge.version, "token_estimate": estimate}
        expect_numbers("append", answer, **numbers)
        self._tally.messages += 1
        self._tally.history_tokens += estimate
        self._tally.compactions += self._judge.model.used < before + estimate
        if headers:
            await self._repeat(body, headers, response)

    async def _repeat(self, body: bytes, headers: dict[str, str], first: httpx.Response) -> None:
        """Send the same append with the same key again: the same answer, and nothing appended."""
        _expect_replayed(first, await self._traffic.append(body, headers))

    async def _refused_append(self, message: Any) -> None:
        """Now and then append against a version that is not the current one: nothing changes."""
        if not self._rarely():
            return
        wrong = self._judge.version + self._random.choice((1, 5, 10**6))
        content = encode({"message": message, "if_version": wrong})
        answer = await self._traffic.call("POST", "/messages", 409, content=content)
        body = as_object(answer)
        if body.get("error") != "conflict":
            raise broken("answer", f"the error of a stale if_version is {body.get('error')!r}")
        expect_numbers("409", body, expected=wrong, found=self._judge.version)

    async def _compact(self, view: View) -> None:
        """Summarise, if this context's owner does so and would now."""
        configuration = self._run.configuration
        if not self._judge.is_manual or not is_due(view, configuration):
            return
        if configuration.habit == "late" and self._tally.compactions % 3 == 2:
            made = emptying(self._judge)
        else:
            made = replacement(self._judge, configuration.token_budget, self._random)
        if made is not None:
            await self._replace_window(made, view)
            await self._read()

    async def _replace_window(self, made: Replacement, view: View) -> None:
        entries, version = made.body(view), self._judge.version
        stale = encode({"replacement": entries, "if_version": version - 1})
        await self._traffic.call("POST", "/compact", 409, content=stale)
        content = encode({"replacement": entries, "if_version": version})
        headers = {"Idempotency-Key": self._traffic.key(f"compact {version}")}
        first = await self._traffic.call("POST", "/compact", 200, content=content, headers=headers)
        if self._rarely(0.3):
            again = await self._traffic.call(
                "POST", "/compact", 200, content=content, headers=headers
            )
            _expect_replayed(first, again)
        self._judge.replace(made.pinned, made.summary, made.rest)
        expect_numbers("compact", as_object(first), version=self._judge.version)
        self._tally.compactions += 1

    # Reading

    async def _read(self) -> View | None:
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
        view = self._own_reader.read(response.content)
        self._hold(view)
        if self._seen is None or _is_moved(self._seen, view):
            self._tally.window_starts += 1
        self._tally.kept_tokens = view.used_tokens
        self._seen = view
        return view

    def _hold(self, view: View, asked: int | None = None) -> None:
        """Hold an answer against what it must be."""
        self._tally.checks += 1
        rule = "window" if asked is None else f"window with budget_tokens={asked}"
        found = [Violation(rule, detail) for detail in self._judge.complaints(view, asked)]
        if found:
            raise Broken(found)

    def _check_sums(self, content: bytes) -> None:
        """Hold the sums of an answer against what they must be, without parsing it."""
        sums = {name.decode(): int(digits) for name, digits in SUMS.findall(content)}
        total = self._judge.model.used
        if sums.get("window_tokens") != total:
            raise broken("window", f"the sums are {sums}, and {total} tokens are in the window")
        budget = total if self._judge.is_manual else self._run.configuration.token_budget
        if sums.get("used_tokens", total + 1) > min(total, budget):
            raise broken("window", f"the sums are {sums} under a budget of {budget}")

    async def _elsewise(self) -> None:
        """Now and then read the same window in the other ways there are."""
        if self._rarely():
            await self._traffic.expect_unchanged(await self._traffic.context())
        if self._rarely(3 * RARELY):
            await self._read_with_budget(self._other_budget())
        if self._rarely():
            await self._read_tail()

    def _other_budget(self) -> int:
        budget = self._run.configuration.token_budget
        choices = (1, 120, 300, budget // 3, budget // 2, budget * 2 // 3, 2 * budget, 10**9)
        return max(1, self._random.choice(choices))

    async def _read_with_budget(self, budget: int) -> None:
        response = await self._traffic.context(budget)
        self._tally.reads += 1
        self._hold(self._reader.read(response.content), budget)

    async def _read_tail(self) -> None:
        offset, limit = self._random.randrange(4), self._random.randrange(1, 9)
        answer = await self._traffic.messages("tail", offset=offset, limit=limit)
        end = max(0, self._judge.last_seq - offset)
        self._check_page(answer.get("messages"), range(max(0, end - limit) + 1, end + 1))

    # The end

    async def _read_whole_log(self) -> None:
        """Read the log page by page: it equals the source value for value, without a hole."""
        limit, seq, last_time = self._random.choice((37, 100, 1000)), 1, ""
        while seq <= self._judge.last_seq:
            answer = await self._traffic.messages("messages", from_seq=seq, limit=limit)
            until = min(seq + limit - 1, self._judge.last_seq)
            page = self._check_page(answer.get("messages"), range(seq, until + 1))
            is_end = until == self._judge.last_seq
            last = self._judge.logged(until)["version"]
            version = self._judge.version if is_end else last
            expect_numbers("a page", answer, version=version)
            for message in page:
                last_time = _check_time(message.get("inserted_at"), last_time)
            seq = until + 1
        answer = await self._traffic.messages("messages", from_seq=-3)
        newest = range(max(1, self._judge.last_seq - 2), self._judge.last_seq + 1)
        self._check_page(answer.get("messages"), newest)

    def _check_page(self, page: Any, seqs: range) -> list[Any]:
        if not isinstance(page, list) or len(page) != len(seqs):
            size = len(page) if isinstance(page, list) else page
            raise broken("log", f"a page over {seqs} holds {size!r} messages")
        for seq, returned in zip(seqs, page, strict=True):
            check_message(returned, f"seq {seq}")
            for fault in unlike(self._judge.logged(seq), returned):
                raise broken("log", fault)
        return page

    async def _read_representation(self) -> None:
        answer = await self._traffic.representation()
        expect_numbers("GET", answer, version=self._judge.version, last_seq=self._judge.last_seq)
        if answer.get("status") != "active":
            raise broken("answer", f"status is {answer.get('status')!r}")

    async def _compare_with_batches(self) -> None:
        """Append the same in batches to a twin: a batch of N messages equals N single appends."""
        if self._judge.is_manual:
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
            version = self._judge.last_seq - len(waiting)
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


def _timeless(content: bytes) -> bytes:
    """Write an answer without the times at which its messages came."""
    body = json.loads(content)
    for message in body["messages"]:
        message.pop("inserted_at", None)
    return encoded(body)
