"""Views as they were sent: kept in memory, and named by an `ETag`."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from fastpaca.api.request import Response
from fastpaca.context import Config, ContextState, Manual
from fastpaca.context.config import policy_text
from fastpaca.formats import FORMAT_RULES, AskedFormat

VIEW_RULES: Final = 1
"""
The rules by which this release makes a view of a window: fitting, segments, how it is written.

Increase it whenever they change, so that no client keeps what an older release sent.
"""

VIEWS_BYTES_MAX: Final = 32 * 1024 * 1024
"""How many bytes of the newest views are kept, so that reading one again costs nothing."""

VIEW_BYTES_MAX: Final = VIEWS_BYTES_MAX // 16
"""Larger views are not kept."""

VIEW_OVERHEAD_BYTES: Final = 1000
"""What keeping a view takes in addition to its text."""


_Key = tuple[str, int | None, AskedFormat | None]


class Views:
    """
    The newest views, as they were sent.

    A view is a function of a context's state, a budget and a format, and the revision numbers the
    states of a context: a view holds for as long as the context has the revision that it was made
    of.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[_Key, tuple[int, Response, int]] = OrderedDict()
        self._bytes = 0

    def get(
        self, context: ContextState, budget_tokens: int | None, asked: AskedFormat | None
    ) -> Response | None:
        """Return the view of exactly this state, if it is kept."""
        key = (context.id, budget_tokens, asked)
        entry = self._kept.get(key)
        if entry is None or entry[0] != context.revision:
            return None
        self._kept.move_to_end(key)
        return entry[1]

    def put(
        self,
        context: ContextState,
        budget_tokens: int | None,
        asked: AskedFormat | None,
        response: Response,
        size: int,
    ) -> None:
        """Keep a view, and drop the least recently used ones."""
        key = (context.id, budget_tokens, asked)
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[2]
        if size > VIEW_BYTES_MAX:
            return
        weight = size + VIEW_OVERHEAD_BYTES
        self._kept[key] = (context.revision, response, weight)
        self._bytes += weight
        while self._bytes > self._bytes_max:
            self._bytes -= self._kept.popitem(last=False)[1][2]


def etag(
    context: ContextState,
    budget_tokens: int | None,
    asked: AskedFormat | None = None,
    *,
    explain: bool = False,
) -> bytes:
    """
    Return the tag of the view that a read of *context* returns, without making the view.

    It names everything that a view depends on: the state of the conversation (its versions, and
    the times that distinguish it from another state that a restored backup gave the same versions),
    the budget and how it is applied, the configuration, the format, whether the view is explained,
    and the rules of this release.
    """
    config = context.config
    is_whole = budget_tokens is None and isinstance(config.policy, Manual)
    return b'"%x-%x-%x-%x-%d%b%b%b%b"' % (
        context.created_at_us,
        context.version,
        context.spoken_at_us,
        config.token_budget if budget_tokens is None else budget_tokens,
        VIEW_RULES,
        b"w" if is_whole else b"f",
        _config_tag(config),
        b"x" if explain else b"",
        b"" if asked is None else _format_tag(asked),
    )


def _format_tag(asked: AskedFormat) -> bytes:
    return f"-{asked.format}-{asked.open_calls}-{asked.cache:d}-{FORMAT_RULES}".encode()


# Typed, since policies are tuples and two kinds of the same values would count as equal.
@lru_cache(maxsize=1024, typed=True)
def _config_tag(config: Config) -> bytes:
    """Return a hash of what shapes a view in a configuration, apart from the budget."""
    text = f"{config.trigger_ratio} {config.token_factor} ".encode() + policy_text(config.policy)
    return blake2b(text, digest_size=8).hexdigest().encode()


def is_known(tag: bytes, if_none_match: bytes) -> bool:
    """Return whether *tag* is in an `If-None-Match` header, weak tags included."""
    if if_none_match.strip() == b"*":
        return True
    # Our tags contain no comma, so a comma inside a foreign tag does no harm.
    return any(known.strip().removeprefix(b"W/") == tag for known in if_none_match.split(b","))
