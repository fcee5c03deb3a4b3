"""The message log of a context: append to it, read its tail, read it forward."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import quote

from msgspec import Raw

from fastpaca.api import bodies, idempotency, query, responses
from fastpaca.api.limits import RequestBodies
from fastpaca.api.request import Request, Response
from fastpaca.api.responses import MessagePageJSON, TailJSON, encode
from fastpaca.context import jsontext
from fastpaca.errors import InvalidRequest
from fastpaca.offload import PARSE, WRITE_MESSAGES, offload, steps
from fastpaca.service import Service
from fastpaca.store.base import MessageRow

PLACE: Final = "messages"


class Messages:
    """Handlers of `/v1/contexts/{id}/messages`, of one message, and of `/v1/contexts/{id}/tail`."""

    def __init__(self, service: Service, request_bodies: RequestBodies) -> None:
        self._service = service
        self._bodies = request_bodies

    async def append(self, request: Request) -> Response:
        """Append a message, or a list of them, all or none."""
        format_ = query.message_format(query.parse(request.query, ("format",)))
        body = await self._bodies.read(request)
        keyed = await idempotency.keyed(request, PLACE, body, format_)
        sent = await offload(PARSE, len(body), partial(bodies.parse_append, body, format_))
        del body  # a large one need not be here until the commit
        shape = responses.appended_batch if sent.is_batch else responses.appended
        written = await self._service.append(
            request.context_id, sent.drafts, sent.if_version, shape, keyed, sent.usage
        )
        return idempotency.response(201, written)

    async def put(self, request: Request) -> Response:
        """Append a message, or let it revise the one on the path with its id."""
        format_ = query.message_format(query.parse(request.query, ("format",)))
        body = await self._bodies.read(request)
        # No id can hold a slash that is not encoded, so no other place looks like this one.
        place = f"{PLACE}/{quote(request.message_id, safe='')}"
        keyed = await idempotency.keyed(request, place, body, format_)
        parse = partial(bodies.parse_put_message, body, request.message_id, format_)
        sent = await offload(PARSE, len(body), parse)
        del body  # a large one need not be here until the commit
        written = await self._service.put_message(
            request.context_id,
            request.message_id,
            sent.drafts[0],
            sent.if_version,
            responses.put_message,
            keyed,
            sent.usage,
        )
        is_new = (written.events or written.replayed) and not responses.is_revision(
            written.response
        )
        return idempotency.response(201 if is_new else 200, written)

    async def get(self, request: Request) -> Response:
        """Read the newest message with an id on the path, else the newest in the log."""
        query.parse(request.query, ())
        row = await self._service.message(request.context_id, request.message_id)
        self._bodies.memory.hold_page(request, [len(row.body)])
        return Response(200, bytes(responses.logged(row)))

    async def tail(self, request: Request) -> Response:
        """Read the newest messages, oldest first."""
        parameters = query.parse(request.query, ("offset", "limit", "path"))
        offset = query.integer(parameters, "offset", 0) or 0
        limit = query.limit(parameters)
        if query.wants_path(parameters):
            of_path = await self._service.tail_of_path(request.context_id, offset, limit)
            texts = await self._texts(request, of_path.messages)
            return Response(200, encode(TailJSON(texts, of_path.version, of_path.next)))
        page = await self._service.tail(request.context_id, offset, limit)
        return Response(200, encode(TailJSON(await self._texts(request, page))))

    async def read(self, request: Request) -> Response:
        """Read a page of the log, forward by seq, or of the path, forward by place."""
        parameters = query.parse(request.query, ("from_seq", "to_seq", "limit", "path"))
        from_seq = query.integer(parameters, "from_seq", -jsontext.INTEGER_MAX)
        to_seq = query.integer(parameters, "to_seq", 0)
        limit = query.limit(parameters)
        if from_seq is not None and to_seq is not None and from_seq > to_seq > 0:
            raise InvalidRequest("Must not be below from_seq.", "to_seq")
        if query.wants_path(parameters):
            of_path = await self._service.path(request.context_id, from_seq, to_seq, limit)
            texts = await self._texts(request, of_path.messages)
            return Response(200, encode(MessagePageJSON(texts, of_path.version, of_path.next)))
        page, version = await self._service.messages(request.context_id, from_seq, to_seq, limit)
        return Response(200, encode(MessagePageJSON(await self._texts(request, page), version)))

    async def _texts(self, request: Request, page: Sequence[MessageRow]) -> list[Raw]:
        """Return the messages of a *page* that answers *request*."""
        self._bodies.memory.hold_page(request, [len(row.body) for row in page])
        return await _written(page)


async def _written(page: Sequence[MessageRow]) -> list[Raw]:
    """Return the messages of a page; other requests get their turn in between."""
    texts: list[Raw] = []
    for start, end in steps(WRITE_MESSAGES, [len(row.body) for row in page]):
        if start:
            await asyncio.sleep(0)
        texts += map(responses.logged, page[start:end])
    return texts
