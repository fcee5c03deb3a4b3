"""Health, metrics, backups and the API's own documentation."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import UNSET

from fastpaca import __version__
from fastpaca.api import query
from fastpaca.api.openapi.document import docs_page, openapi_bytes
from fastpaca.api.request import FileBody, Request, Response
from fastpaca.api.responses import HealthyJSON, ReadyJSON, UnhealthyJSON, encode
from fastpaca.engine import Engine, Health
from fastpaca.errors import RateLimited, Unavailable
from fastpaca.http.messages import Headers
from fastpaca.store.base import CommitFailed, ReadFailed
from fastpaca.telemetry import Metrics

Backup = Callable[[Path], Awaitable[None]]
"""Writes a consistent copy of everything to a new file; raises `CommitFailed` if it cannot."""

BACKUP_RETRY_S: Final = 10

_SQLITE: Final[Headers] = (
    (b"content-type", b"application/vnd.sqlite3"),
    (b"content-disposition", b'attachment; filename="fastpaca.db"'),
)
_REASONS: Final = {
    "starting": "The store is opening.",
    "stopping": "The node is finishing current requests before it stops.",
}


_PREFIX: Final = "backup-"
"""How the names of the directories begin in which copies are made."""


class Operations:
    """Handlers of `/health/live`, `/health/ready`, `/metrics` and `/backup`."""

    def __init__(
        self, engine: Engine, metrics: Metrics, backup: Backup, backup_directory: Path
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._backup = backup
        self._backup_directory = backup_directory
        self._is_backing_up = False

    async def live(self, _request: Request) -> Response:
        """Report whether the process works; after a fatal error of the store it does not."""
        health = self._engine.health
        if not health.is_live:
            return _unhealthy(health)
        return Response(200, encode(HealthyJSON("ok", __version__)))

    async def ready(self, _request: Request) -> Response:
        """Report whether to send requests to this node."""
        health = self._engine.health
        if not health.is_ready:
            return _unhealthy(health)
        return Response(200, encode(ReadyJSON(health.status, health.reason or UNSET)))

    async def metrics(self, _request: Request) -> Response:
        """Return all series, for Prometheus."""
        # A node in the process of its client lacks this package, and shows no metrics.
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415

        headers = ((b"content-type", CONTENT_TYPE_LATEST.encode()),)
        return Response(200, generate_latest(self._metrics.registry), headers)

    async def backup(self, request: Request) -> Response:
        """
        Return a consistent copy of all data, made while the node keeps serving.

        Raises:
            RateLimited: Another copy is being made; each takes the disk space of all data.
            Unavailable: The store can make no copy, or the copy could not be written.
        """
        query.parse(request.query, ())
        if self._is_backing_up:
            raise RateLimited(
                "Another backup is running; try again when it is finished.", BACKUP_RETRY_S
            )
        self._is_backing_up = True
        try:
            file = await self._copied()
        except BaseException:
            self._end_backup()
            raise
        return Response(200, FileBody(file, self._end_backup), _SQLITE)

    def _end_backup(self) -> None:
        self._is_backing_up = False

    async def _copied(self) -> BinaryIO:
        """Make the copy, open it and remove its name, so that nothing can leave it there."""
        directory = await asyncio.to_thread(_new_directory, self._backup_directory)
        try:
            path = directory / "fastpaca.db"
            await self._backup(path)
            return await asyncio.to_thread(path.open, "rb")
        except (CommitFailed, ReadFailed) as error:
            raise Unavailable(f"No backup could be made: {error}") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def openapi(_request: Request) -> Response:
    """Return the OpenAPI document."""
    return Response(200, openapi_bytes())


async def docs(_request: Request) -> Response:
    """Return the page that shows the OpenAPI document."""
    page, headers = docs_page()
    return Response(200, page, headers)


def _unhealthy(health: Health) -> Response:
    reason = health.reason or _REASONS[health.status]
    return Response(503, encode(UnhealthyJSON(health.status, reason)))


def _new_directory(parent: Path) -> Path:
    """Make a directory that only this user can read, in *parent* if that is a directory."""
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent if parent.is_dir() else None))


def clear_broken_backups(data_dir: Path) -> None:
    """Remove the copies that a process left in *data_dir* because it was killed in a backup."""
    for left in data_dir.glob(f"{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
