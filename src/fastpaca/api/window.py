"""The LLM context: read the window, or replace it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Final

from fastpaca.api import bodies, idempotency, query, responses
from fastpaca.api.limits import Bodies
from fastpaca.api.request import JSON, Answer, Request
from fastpaca.context import Config, Context, Manual
from fastpaca.context.config import policy_text
from fastpaca.offload import PARSE, WRITE_WINDOWS, offload
from fastpaca.service import Service
from fastpaca.store.base import CompactionRow

PLACE: Final = "compact"

_READ: Final = ("budget_tokens", "if_version", "at_version", "explain")

VIEW_RULES: Final = 1
"""
The rules by which this release makes a view of a window: fitting, segments, how it is written.

Grows whenever they change, so that no client goes on with what an older release answered.
"""

VIEWS_BYTES_MAX: Final = 32 * 1024 * 1024
"""How much of the newest views is kept, so that reading again costs nothing."""

VIEW_BYTES_MAX: Final = VIEWS_BYTES_MAX // 16
"""Larger views are not kept."""

VIEW_OVERHEAD_BYTES: Final = 1000
"""What keeping a view takes beside its text."""


class Window:
    """Answers at `/v1/contexts/{id}/context`, `…/compact` and `…/compactions`."""

    def __init__(self, service: Service, bodies: Bodies) -> None:
        self._service = service
        self._bodies = bodies
        self._views = Views(VIEWS_BYTES_MAX)

    async def read(self, request: Request) -> Answer:
        """Give the window, of now or of then, fitted to the budget of the call or the context."""
        parameters = query.parse(request.query, _READ)
        budget_tokens = query.integer(parameters, "budget_tokens", 1)
        if_version = query.integer(parameters, "if_version", 0)
        at_version = query.integer(parameters, "at_version", 0)
        explain = query.flag(parameters, "explain")
        now = context = await self._service.get(request.context_id)
        context.check_version(if_version)
        if at_version is not None:
            context = await self._service.at_version(now, at_version)
        known = request.headers.get(b"if-none-match")
        tag = etag(context, budget_tokens, explain=explain)
        if known is not None and is_known(tag, known):
            return Answer(304, headers=((b"etag", tag),))
        if explain:
            return Answer(200, await self._explained(context, budget_tokens), _headers(tag))
        is_past = context is not now
        kept = None if is_past else self._views.get(context, budget_tokens)
        if kept is not None:
            return kept
        body = responses.view(await self._service.view(context, budget_tokens))
        answer = Answer(200, body, _headers(tag))
        if not is_past:  # what was has the revision of what is, by which views are kept
            self._views.put(context, budget_tokens, answer, len(body))
        return answer

    async def _explained(self, context: Context, budget_tokens: int | None) -> bytes:
        view = await self._service.view(context, budget_tokens)
        return responses.view(view, await self._service.explained(context, view))

    async def compact(self, request: Request) -> Answer:
        """Make the window exactly the replacement."""
        query.parse(request.query, ())
        body = await self._bodies.read(request)
        keyed = await idempotency.keyed(request, PLACE, body)
        sent = await offload(PARSE, len(body), partial(bodies.parse_compact, body))
        del body  # a large one need not be here until the commit
        written = await self._service.compact(
            request.context_id, sent.drafts, sent.if_version, responses.compacted, keyed
        )
        return idempotency.answer(200, written)

    async def compactions(self, request: Request) -> Answer:
        """Give a page of the rewrites of the window, oldest first."""
        parameters = query.parse(request.query, ("after", "limit"))
        after = query.integer(parameters, "after", 0) or 0
        limit = query.limit(parameters)
        page = await self._service.compactions(request.context_id, after, limit)
        self._bodies.memory.hold_page(request, [len(row.window) for row in page])
        return Answer(200, await _written(page))


async def _written(page: Sequence[CompactionRow]) -> bytes:
    """Write a page of rewrites, in a thread if their windows are large or many."""
    size = sum(len(row.window) for row in page)
    return await offload(WRITE_WINDOWS, size, partial(responses.compactions, page))


class Views:
    """
    The newest views, as they were answered.

    A view is a function of a context's state and a budget, and the revision numbers the states of
    a context: at the revision that a view was made of, it holds.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[tuple[str, int | None], tuple[int, Answer, int]] = OrderedDict()
        self._bytes = 0

    def get(self, context: Context, budget_tokens: int | None) -> Answer | None:
        """Give the view of this very state, if it is kept."""
        key = (context.id, budget_tokens)
        found = self._kept.get(key)
        if found is None or found[0] != context.revision:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, context: Context, budget_tokens: int | None, answer: Answer, size: int) -> None:
        """Keep a view, in place of those that were not asked for the longest time."""
        key = (context.id, budget_tokens)
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[2]
        if size > VIEW_BYTES_MAX:
            return
        weight = size + VIEW_OVERHEAD_BYTES
        self._kept[key] = (context.revision, answer, weight)
        self._bytes += weight
        while self._bytes > self._bytes_max:
            self._bytes -= self._kept.popitem(last=False)[1][2]


def _headers(tag: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (*JSON, (b"etag", tag))


def etag(context: Context, budget_tokens: int | None, *, explain: bool = False) -> bytes:
    """
    Name the view that a read of *context* gives, without making it.

    All that a view follows from: the state of the conversation (its versions, and the moments that
    tell it from one that a restored backup gave the same versions), the budget and how it is
    applied, the configuration, whether it is explained, and the rules of this release.
    """
    config = context.config
    is_whole = budget_tokens is None and isinstance(config.policy, Manual)
    return b'"%x-%x-%x-%x-%d%b%b%b"' % (
        context.created_at_us,
        context.version,
        context.spoken_at_us,
        config.token_budget if budget_tokens is None else budget_tokens,
        VIEW_RULES,
        b"w" if is_whole else b"f",
        _config_tag(config),
        b"x" if explain else b"",
    )


# Typed, since policies are tuples and two kinds of the same values would count as equal.
@lru_cache(maxsize=1024, typed=True)
def _config_tag(config: Config) -> bytes:
    """Name what of a configuration decides how a window is read, its budget aside."""
    text = f"{config.trigger_ratio} {config.token_factor} ".encode() + policy_text(config.policy)
    return blake2b(text, digest_size=8).hexdigest().encode()


def is_known(tag: bytes, if_none_match: bytes) -> bool:
    """Tell whether *tag* is among those of an `If-None-Match` header, weak ones included."""
    if if_none_match.strip() == b"*":
        return True
    # Our tags hold no comma, so that one inside of a foreign tag does no harm.
    return any(known.strip().removeprefix(b"W/") == tag for known in if_none_match.split(b","))
