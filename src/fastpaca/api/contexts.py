"""Contexts themselves: create and change, read, list, patch metadata, delete."""

from __future__ import annotations

from functools import partial
from typing import Final

from msgspec import Raw

from fastpaca.api import bodies, idempotency, query, responses
from fastpaca.api.limits import RequestBodies
from fastpaca.api.request import Request, Response
from fastpaca.api.responses import ContextPageJSON, encode
from fastpaca.context.events import Created
from fastpaca.offload import PARSE, offload
from fastpaca.service import Service

LIST_ROWS: Final = 200
"""How many rows are read and written at once (about 5 µs each)."""

LIST_BYTES_MAX: Final = 16 * 1024 * 1024
"""Where a page ends early, since metadata may be large."""


class Contexts:
    """Handlers of `/v1/contexts`, `/v1/contexts/{id}`, `…/metadata` and `…/fork`."""

    def __init__(self, service: Service, request_bodies: RequestBodies) -> None:
        self._service = service
        self._bodies = request_bodies

    async def put(self, request: Request) -> Response:
        """Create the context, or change it: an absent field keeps its value."""
        query.parse(request.query, ())
        body = await self._bodies.read(request)
        op = await offload(PARSE, len(body), partial(bodies.parse_put, body))
        written = await self._service.put(request.context_id, op, responses.representation)
        is_new = any(isinstance(event, Created) for event in written.events)
        return Response(201 if is_new else 200, written.response)

    async def get(self, request: Request) -> Response:
        """Read the context."""
        query.parse(request.query, ())
        return Response(200, responses.representation(await self._service.get(request.context_id)))

    async def listing(self, request: Request) -> Response:
        """Read a page of all contexts, in byte order of their ids."""
        parameters = query.parse(request.query, ("prefix", "after", "limit"))
        prefix = query.part_of_id(parameters, "prefix")
        after: str | None = query.part_of_id(parameters, "after")
        left = query.limit(parameters)
        page: list[Raw] = []
        size = 0
        while left and size < LIST_BYTES_MAX and after is not None:
            wanted = min(left, LIST_ROWS)
            rows = await self._service.contexts(prefix, after, wanted + 1)
            texts = [responses.listed(row) for row in rows[:wanted]]
            after = rows[wanted - 1].id if len(rows) > wanted else None
            size += sum(map(len, texts))
            left -= wanted
            page += map(Raw, texts)
        return Response(200, encode(ContextPageJSON(page, after)))

    async def patch_metadata(self, request: Request) -> Response:
        """Merge into the metadata; null removes a key."""
        query.parse(request.query, ())
        body = await self._bodies.read(request)
        op = await offload(PARSE, len(body), partial(bodies.parse_patch_metadata, body))
        written = await self._service.patch_metadata(
            request.context_id, op, responses.representation
        )
        return Response(200, written.response)

    async def fork(self, request: Request) -> Response:
        """Make a new context with the path of this one."""
        query.parse(request.query, ())
        body = await self._bodies.read(request)
        keyed = await idempotency.keyed(request, "fork", body)
        fork = bodies.parse_fork(body)
        written = await self._service.fork(
            await self._service.get(request.context_id),
            fork.at_version,
            fork.fork_id,
            fork.metadata,
            responses.representation,
            keyed,
        )
        return idempotency.response(201, written)

    async def delete(self, request: Request) -> Response:
        """Tombstone the context, or erase it permanently."""
        purge = query.flag(query.parse(request.query, ("purge",)), "purge")
        await self._service.delete(request.context_id, purge=purge)
        return Response(204, headers=())
