"""
Keeps the conversations of language-model applications.

A conversation is a *context*: a full, immutable message log for people, and a window of it for the
model that stays within its token budget. The rules are in `fastpaca.context`, which is the place to
start reading; what is around it makes them durable and reachable.

What a client needs is here by name, and is imported when it is first asked for:

    from fastpaca import Fastpaca
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fastpaca.errors import AlreadyExists as AlreadyExists
from fastpaca.errors import ContextNotFound as ContextNotFound
from fastpaca.errors import FastpacaError as FastpacaError
from fastpaca.errors import Forbidden as Forbidden
from fastpaca.errors import HeadersTooLarge as HeadersTooLarge
from fastpaca.errors import IdempotencyConflict as IdempotencyConflict
from fastpaca.errors import InternalError as InternalError
from fastpaca.errors import InvalidRequest as InvalidRequest
from fastpaca.errors import MessageNotFound as MessageNotFound
from fastpaca.errors import MethodNotAllowed as MethodNotAllowed
from fastpaca.errors import OutcomeUnknown as OutcomeUnknown
from fastpaca.errors import PayloadTooLarge as PayloadTooLarge
from fastpaca.errors import Purged as Purged
from fastpaca.errors import RateLimited as RateLimited
from fastpaca.errors import RequestTimeout as RequestTimeout
from fastpaca.errors import Tombstoned as Tombstoned
from fastpaca.errors import Unauthorized as Unauthorized
from fastpaca.errors import Unavailable as Unavailable
from fastpaca.errors import UnsupportedMediaType as UnsupportedMediaType
from fastpaca.errors import VersionConflict as VersionConflict

if TYPE_CHECKING:
    from fastpaca.client.aio import AsyncFastpaca as AsyncFastpaca
    from fastpaca.client.aio_context import AsyncContext as AsyncContext
    from fastpaca.client.errors import CannotCompact as CannotCompact
    from fastpaca.client.errors import CannotOpen as CannotOpen
    from fastpaca.client.errors import ClientClosed as ClientClosed
    from fastpaca.client.errors import ConnectionFailed as ConnectionFailed
    from fastpaca.client.errors import ForeignStream as ForeignStream
    from fastpaca.client.errors import TimedOut as TimedOut
    from fastpaca.client.errors import UnexpectedResponse as UnexpectedResponse
    from fastpaca.client.options import Retries as Retries
    from fastpaca.client.options import Timeouts as Timeouts
    from fastpaca.client.sync import Fastpaca as Fastpaca
    from fastpaca.client.sync_context import Context as Context
    from fastpaca.client.values import AppendResult as AppendResult
    from fastpaca.client.values import AppendWarning as AppendWarning
    from fastpaca.client.values import Branch as Branch
    from fastpaca.client.values import Compaction as Compaction
    from fastpaca.client.values import CompactionFrame as CompactionFrame
    from fastpaca.client.values import CompactResult as CompactResult
    from fastpaca.client.values import ContextFrame as ContextFrame
    from fastpaca.client.values import ContextInfo as ContextInfo
    from fastpaca.client.values import ContextUsage as ContextUsage
    from fastpaca.client.values import Explained as Explained
    from fastpaca.client.values import ForkedFrom as ForkedFrom
    from fastpaca.client.values import Frame as Frame
    from fastpaca.client.values import GapFrame as GapFrame
    from fastpaca.client.values import Loss as Loss
    from fastpaca.client.values import Message as Message
    from fastpaca.client.values import MessageFrame as MessageFrame
    from fastpaca.client.values import Policy as Policy
    from fastpaca.client.values import ProviderView as ProviderView
    from fastpaca.client.values import Range as Range
    from fastpaca.client.values import Repair as Repair
    from fastpaca.client.values import ResetFrame as ResetFrame
    from fastpaca.client.values import RewindFrame as RewindFrame
    from fastpaca.client.values import RewindResult as RewindResult
    from fastpaca.client.values import Segment as Segment
    from fastpaca.client.values import TokenUsage as TokenUsage
    from fastpaca.client.values import TombstonedFrame as TombstonedFrame
    from fastpaca.client.values import View as View

__version__ = "0.1.0"

_ROOMS: Final = {
    "fastpaca.client.aio": ("AsyncFastpaca",),
    "fastpaca.client.aio_context": ("AsyncContext",),
    "fastpaca.client.errors": (
        "CannotCompact",
        "CannotOpen",
        "ClientClosed",
        "ConnectionFailed",
        "ForeignStream",
        "TimedOut",
        "UnexpectedResponse",
    ),
    "fastpaca.client.sync": ("Fastpaca",),
    "fastpaca.client.sync_context": ("Context",),
    "fastpaca.client.options": ("Retries", "Timeouts"),
    "fastpaca.client.values": (
        "AppendWarning",
        "AppendResult",
        "Branch",
        "CompactResult",
        "Compaction",
        "CompactionFrame",
        "ContextFrame",
        "ContextInfo",
        "ContextUsage",
        "Explained",
        "ForkedFrom",
        "Frame",
        "GapFrame",
        "Loss",
        "Message",
        "MessageFrame",
        "Policy",
        "ProviderView",
        "Range",
        "Repair",
        "ResetFrame",
        "RewindFrame",
        "RewindResult",
        "Segment",
        "TokenUsage",
        "TombstonedFrame",
        "View",
    ),
}

_ROOM_OF: Final = {name: room for room, names in _ROOMS.items() for name in names}


if not TYPE_CHECKING:  # or any name would do

    def __getattr__(name: str) -> Any:
        # A node and its commands need no client, so `import fastpaca` alone loads none.
        if name not in _ROOM_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_ROOM_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
