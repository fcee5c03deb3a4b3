"""The LLM context: read the window, replace it, list what has rewritten it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from fastpaca.api import bodies, idempotency, query, renderings, responses
from fastpaca.api.limits import RequestBodies
from fastpaca.api.request import JSON_TYPE, Request, Response
from fastpaca.api.views import VIEWS_BYTES_MAX, Views, etag, is_known
from fastpaca.context import ContextState
from fastpaca.formats import AskedFormat
from fastpaca.http.messages import Headers
from fastpaca.offload import PARSE, WRITE_WINDOWS, offload
from fastpaca.service import Service
from fastpaca.store.base import CompactionRow

PLACE: Final = "compact"

_READ: Final = (
    "budget_tokens",
    "if_version",
    "at_version",
    "explain",
    "format",
    "open_calls",
    "cache",
)


class Windows:
    """Handlers of `/v1/contexts/{id}/context`, `…/compact`, `…/rewind` and `…/compactions`."""

    def __init__(self, service: Service, request_bodies: RequestBodies) -> None:
        self._service = service
        self._bodies = request_bodies
        self._views = Views(VIEWS_BYTES_MAX)

    async def read(self, request: Request) -> Response:
        """Read the window, current or past, fitted to the budget of the call or the context."""
        if not request.query and b"if-none-match" not in request.headers:  # most reads
            context = await self._service.get(request.context_id)
            return self._views.get(context, None, None) or await self._made(context, None, None)
        parameters = query.parse(request.query, _READ)
        budget_tokens = query.integer(parameters, "budget_tokens", 1)
        if_version = query.integer(parameters, "if_version", 0)
        at_version = query.integer(parameters, "at_version", 0)
        explain = query.flag(parameters, "explain")
        asked = query.asked_format(parameters)
        current = context = await self._service.get(request.context_id)
        context.check_version(if_version)
        if at_version is not None:
            context = await self._service.at_version(current, at_version)
        if_none_match = request.headers.get(b"if-none-match")
        if if_none_match is not None or explain:
            tag = etag(context, budget_tokens, asked, explain=explain)
            if if_none_match is not None and is_known(tag, if_none_match):
                return Response(304, headers=((b"etag", tag),))
            if explain:
                body = await self._explained(context, budget_tokens, asked)
                return Response(200, body, _headers(tag))
        if context is not current:  # a past state has the revision of the current one
            return await self._made(context, budget_tokens, asked, is_kept=False)
        kept = self._views.get(context, budget_tokens, asked)
        return kept or await self._made(context, budget_tokens, asked)

    async def _made(
        self,
        context: ContextState,
        budget_tokens: int | None,
        asked: AskedFormat | None,
        *,
        is_kept: bool = True,
    ) -> Response:
        """Return a new view of *context*; keep it for later reads of the same revision."""
        if asked is None:
            body = responses.view(await self._service.view(context, budget_tokens))
        else:
            rendered = await self._service.rendered(context, budget_tokens, asked)
            body = renderings.rendered(rendered.view, rendered.rendering)
        response = Response(200, body, _headers(etag(context, budget_tokens, asked)))
        if is_kept:
            self._views.put(context, budget_tokens, asked, response, len(body))
        return response

    async def _explained(
        self, context: ContextState, budget_tokens: int | None, asked: AskedFormat | None
    ) -> bytes:
        if asked is None:
            view = await self._service.view(context, budget_tokens)
            fates = await self._service.explained(context, view, context.window)
            return responses.view(view, fates)
        rendered = await self._service.rendered(context, budget_tokens, asked)
        fates = await self._service.explained(context, rendered.view, rendered.window)
        return renderings.rendered(rendered.view, rendered.rendering, fates)

    async def compact(self, request: Request) -> Response:
        """Replace the window."""
        format_ = query.message_format(query.parse(request.query, ("format",)))
        body = await self._bodies.read(request)
        keyed = await idempotency.keyed(request, PLACE, body, format_)
        sent = await offload(PARSE, len(body), partial(bodies.parse_compact, body, format_))
        del body  # a large one need not be here until the commit
        written = await self._service.compact(
            request.context_id, sent.drafts, sent.if_version, responses.compacted, keyed
        )
        return idempotency.response(200, written)

    async def rewind(self, request: Request) -> Response:
        """Let path and window become what they were after a version."""
        query.parse(request.query, ())
        body = await self._bodies.read(request)
        keyed = await idempotency.keyed(request, "rewind", body)
        op = bodies.parse_rewind(body)
        written = await self._service.rewind(request.context_id, op, responses.rewound, keyed)
        return idempotency.response(200, written)

    async def compactions(self, request: Request) -> Response:
        """Read a page of the rewrites of the window, oldest first."""
        parameters = query.parse(request.query, ("after", "limit"))
        after = query.integer(parameters, "after", 0) or 0
        limit = query.limit(parameters)
        page = await self._service.compactions(request.context_id, after, limit)
        self._bodies.memory.hold_page(request, [len(row.window) for row in page])
        return Response(200, await _written(page))


async def _written(page: Sequence[CompactionRow]) -> bytes:
    """Write a page of rewrites, in a thread if their windows are large or many."""
    size = sum(len(row.window) for row in page)
    return await offload(WRITE_WINDOWS, size, partial(responses.compactions, page))


def _headers(tag: bytes) -> Headers:
    return (*JSON_TYPE, (b"etag", tag))
