"""The numbers that the pages name as limits, prices and rules are those of the code."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from fastpaca import ids
from fastpaca.api import bodies, query
from fastpaca.api.limits import CALLERS_MAX, REQUEST_FACTOR, SHORT_BYTES, BodyPace
from fastpaca.api.views import VIEWS_BYTES_MAX
from fastpaca.context.config import WINDOW_ENTRIES_MAX, Config, LastN, SkipParts
from fastpaca.context.context import METADATA_BYTES_MAX
from fastpaca.context.cut_calls import CUT_CALLS_MAX
from fastpaca.context.draft import CALLS_IN_KEYS_MAX, MESSAGE_ID_BYTES_MAX, PARTS_MAX
from fastpaca.context.jsontext import DEPTH_MAX
from fastpaca.context.message import MESSAGE_OVERHEAD_TOKENS
from fastpaca.context.path import RANGES_MAX
from fastpaca.context.shortening import FLOOR_TOKENS, MARKER_TOKENS
from fastpaca.engine import engine, pages, queue
from fastpaca.engine.idempotency import RECENT_MAX
from fastpaca.http.bounds import ConnectionBounds, SocketBounds
from fastpaca.settings import Settings
from fastpaca.store.sqlite.files import DATABASE_NAME, LOCK_NAME
from fastpaca.store.sqlite.wal import WAL_BYTES_MAX
from fastpaca.stream import recent
from fastpaca.tokens import image, medium, pdf
from tests.docs.pages import page

KIB = 1024
MIB = 1024 * KIB


class Named:
    """Bounds, and which of them a table names."""

    def __init__(self, bounds: ConnectionBounds | SocketBounds) -> None:
        self.bounds = bounds
        self.named: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.named.add(name)
        return getattr(self.bounds, name)

    @property
    def missing(self) -> set[str]:
        """The bounds that no table names."""
        return {field.name for field in fields(self.bounds)} - self.named


BOUNDS = Named(ConnectionBounds())
SOCKET = Named(BOUNDS.socket)
PACE = BodyPace()
SETTINGS = Settings()

LIMITS = {
    "request body": f"`FASTPACA_MAX_BODY_BYTES`, {SETTINGS.body_bytes_max // MIB} MiB by default",
    f"memory for bodies of requests and responses above {SHORT_BYTES // KIB} KiB": (
        f"`FASTPACA_BODY_MEMORY_BYTES`, {SETTINGS.body_memory_bytes // MIB} MiB by default,"
        f" and at least {REQUEST_FACTOR} times `FASTPACA_MAX_BODY_BYTES`"
    ),
    "pause in a body": f"{PACE.idle_s:g} seconds",
    "speed of a body": f"{PACE.bytes_per_s // KIB} KiB a second on average,"
    f" after {PACE.idle_s:g} seconds",
    "changes sent to a follower at once": f"{recent.PAGE_CHANGES},"
    f" and {recent.PAGE_BYTES_MAX // KIB} KiB unless one alone is larger",
    "newest changes kept for followers": f"{recent.CHANGES_BYTES_MAX // MIB} MiB together,"
    " or the last commit of one context",
    "requests": "`FASTPACA_RATE_LIMIT`, off by default, per key or address",
    "keys and addresses tracked by the rate limit": f"{CALLERS_MAX:,}",
    "writes waiting or in progress": f"{queue.QUEUE_OPS_MAX}",
    "their messages": f"{queue.QUEUE_BYTES_MAX // MIB} MiB",
    "operations applied at once": f"{queue.BATCH_OPS_MAX}",
    "messages in an append": f"{bodies.BATCH_MAX}",
    "messages in a replacement": f"{bodies.REPLACEMENT_MAX:,}",
    "id of a message that you put or read": f"1 to {ids.ID_BYTES_MAX} bytes",
    "ranges of a path": f"{RANGES_MAX:,}",
    "parts of a message": f"{PARTS_MAX:,}",
    "calls in the keys of a message": f"{CALLS_IN_KEYS_MAX}",
    "metadata of a context": f"{METADATA_BYTES_MAX // KIB} KiB of JSON",
    "nesting of a message or of metadata": f"{DEPTH_MAX} levels",
    "entries of a page": f"{query.PAGE_MAX:,}",
    "bytes of a page": f"{pages.PAGE_BYTES_MAX // MIB} MiB",
    "entries of a window": f"{WINDOW_ENTRIES_MAX:,}",
    "remembered cut calls of a context": f"{CUT_CALLS_MAX}",
    "contexts in memory": f"`FASTPACA_HOT_BYTES`, {SETTINGS.hot_bytes // MIB} MiB by default,"
    " an estimate",
    "rendered LLM contexts in memory": f"{VIEWS_BYTES_MAX // MIB} MiB",
    "responses of idempotency keys in memory": f"{RECENT_MAX:,}",
    "stored responses of idempotency keys": f"{engine.RECORDS_KEPT_US // 86_400_000_000} days",
    "backups": "1 at a time",
}

CONNECTIONS = {
    "request line and headers": f"{BOUNDS.head_bytes_max // KIB} KiB together,"
    f" {BOUNDS.headers_max} headers",
    "extensions and trailers of a chunked body": f"{BOUNDS.head_bytes_max // KIB} KiB without data"
    " between them",
    "time for the headers of a request": f"{BOUNDS.head_seconds:g} seconds from its first byte",
    "idle connection": f"`FASTPACA_KEEPALIVE_SECONDS`, {BOUNDS.idle_seconds:g} by default",
    "speed of reading a response, including event streams": f"{BOUNDS.unread_bytes // KIB} KiB in"
    f" {BOUNDS.unread_seconds:g} seconds, while that much is waiting",
    "body that the node has not processed yet": f"{BOUNDS.held_bytes_max // KIB} KiB",
    "rest of a body, to keep the connection after an early response": (
        f"{BOUNDS.rest_bytes_max // KIB} KiB"
    ),
    "time for the rest of a body, after an early response": f"{BOUNDS.linger_seconds:g} seconds",
    "pipelined requests that wait for a response": f"{BOUNDS.pipelined_max}",
    "connections": f"{BOUNDS.connections_max}, or fewer where the system allows fewer files",
    "silence of a WebSocket": f"{SOCKET.silent_seconds:g} seconds",
    "speed of reading a WebSocket": f"{SOCKET.unread_bytes // KIB} KiB in"
    f" {SOCKET.unread_seconds:g} seconds, while that much is waiting",
    "frames from a WebSocket": f"{SOCKET.frames_max} in about {SOCKET.silent_seconds:g} seconds,"
    f" {SOCKET.message_bytes_max // KIB} KiB each",
    "system's send buffer of a WebSocket": f"{SOCKET.system_bytes // KIB} KiB",
    "time to close a WebSocket": f"{SOCKET.close_seconds:g} seconds after the last frame",
}

REQUEST_LIMITS = {
    "body": f"`FASTPACA_MAX_BODY_BYTES`, {SETTINGS.body_bytes_max // MIB} MiB",
    "request line and headers": CONNECTIONS["request line and headers"],
    "nesting of a message": f"{DEPTH_MAX} levels",
    "messages in one append": f"{bodies.BATCH_MAX}",
    "messages in one replacement": f"{bodies.REPLACEMENT_MAX:,}",
    "`limit` of `tail`, `messages`, `compactions` and the list of contexts": f"{query.PAGE_MAX:,}",
    "a page of messages or contexts": f"{pages.PAGE_BYTES_MAX // MIB} MiB",
    "context id": f"{ids.ID_BYTES_MAX} bytes",
    "message id in a path": f"{MESSAGE_ID_BYTES_MAX} bytes",
    "`Idempotency-Key`": "255 characters",
    "waiting writes": f"{queue.QUEUE_OPS_MAX}, or {queue.QUEUE_BYTES_MAX // MIB} MiB",
}

MEDIA = {
    "image (PNG, JPEG, GIF, WebP, BMP)": (28, 28, 2576, image.IMAGE_TOKENS_MAX),
    "image of unknown size, such as one behind a URL": (image.IMAGE_TOKENS,),
    "PDF": (pdf.PAGE_TOKENS,),
    "audio": (medium.RECORDINGS[medium.AUDIO].tokens_per_second,),
    "video": (medium.RECORDINGS[medium.VIDEO].tokens_per_second,),
    "text file": (),
    "another file, or one behind a URL or an id": (medium.FILE_TOKENS,),
}


@pytest.mark.parametrize(
    ("name", "heading", "expected"),
    [
        ("limits", "Limits", LIMITS),
        ("limits", "Connections", CONNECTIONS),
        ("rest-api", "Limits", REQUEST_LIMITS),
    ],
)
def test_limits_are_those_of_the_code(name: str, heading: str, expected: dict[str, str]) -> None:
    """
    A table of limits names each of them with the number that the code has.
    """
    assert {row[0]: row[1] for row in page(name).rows(heading)} == expected


def test_every_bound_of_a_connection_is_named() -> None:
    """
    The table of connections has all of their bounds, and the defaults of settings are the same.
    """
    assert not BOUNDS.missing
    assert not SOCKET.missing
    assert BOUNDS.idle_seconds == SETTINGS.keepalive_seconds


def test_prices_of_media_are_those_of_the_code() -> None:
    """
    The table of media names the tokens that the code takes for each.
    """
    rows = [row for row in page("configuration").rows("Token counts") if row[0] in MEDIA]
    assert {row[0]: tuple(map(int, re.findall(r"\d+", row[1]))) for row in rows} == MEDIA


def test_numbers_of_policies_are_those_of_the_code() -> None:
    """
    The defaults of budgets and policies, and the rules of fitting, stand as the code has them.
    """
    names = ("context-management", "agents", "policies", "what-is-kept")
    text = "".join(page(name).text for name in names)
    config = Config()
    budget, trigger = config.token_budget, config.trigger(config.token_budget)
    last_n, skip_parts = LastN(), SkipParts()
    for phrase in (
        f"`token_budget`, default {budget} ",
        f"floor({budget} × {config.trigger_ratio}) = {trigger} ",
        f"by default {config.target(budget, 0)} ",
        f'"limit": {last_n.limit}, "target_ratio": {last_n.target_ratio}',
        f'"skip_kinds": ["{skip_parts.skip_kinds[0]}", "{skip_parts.skip_kinds[1]}"]',
        f"{MESSAGE_OVERHEAD_TOKENS} for the message",
        f"more than {WINDOW_ENTRIES_MAX:,} entries",
        f"newest {CUT_CALLS_MAX} such calls",
        f"floor of {FLOOR_TOKENS} tokens",
        f"counted as {MARKER_TOKENS} tokens",
    ):
        assert phrase in text, phrase


def test_names_and_numbers_of_the_store_are_those_of_the_code() -> None:
    """
    The files of the data directory, and the bounds of the write-ahead log, stand as the code has
    them.
    """
    storage = page("storage")
    files = [row[0].strip("`") for row in storage.rows("What is on the disk")]
    assert {DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", LOCK_NAME} < set(files)
    section = storage.section("What is synced, and when")
    for size in (WAL_BYTES_MAX // 16, WAL_BYTES_MAX // 2, WAL_BYTES_MAX):
        assert f"{size // MIB} MiB" in section
