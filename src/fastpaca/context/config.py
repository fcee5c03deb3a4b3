"""
How a context is configured: its token budget, when it is compacted, and by which policy.

Values are checked when they are parsed, so a `Config` is always valid.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from fastpaca.context import jsontext
from fastpaca.errors import InvalidRequest

TOKEN_BUDGET_DEFAULT: Final = 8000
TRIGGER_RATIO_DEFAULT: Final = 0.7
TARGET_RATIO_DEFAULT: Final = 0.5
LIMIT_DEFAULT: Final = 200
TOKEN_FACTOR_DEFAULT: Final = 1.0
TOKEN_FACTOR_MAX: Final = 10

WINDOW_ENTRIES_MAX: Final = 50_000
"""A window of more entries counts as above its trigger, however few tokens it holds."""


class LastN(NamedTuple):
    """
    Keep the newest messages.

    Attributes:
        limit: The most messages that a compaction keeps, besides the pinned ones.
        target_ratio: How full a compaction for tokens leaves the window: the share of the room
            between the pinned entries and the size that the window may grow to.
        start_on_user: Whether a cut inside a turn without calls moves on to the next user message.
    """

    limit: int = LIMIT_DEFAULT
    target_ratio: float = TARGET_RATIO_DEFAULT
    start_on_user: bool = True


class SkipParts(NamedTuple):
    """
    Strip parts of some kinds, then do as `LastN` does.

    Attributes:
        skip_kinds: `tool` for calls, results and approvals, `reasoning`, or a prefix of the type of
            parts to strip.
    """

    skip_kinds: tuple[str, ...] = ("tool", "reasoning")
    limit: int = LIMIT_DEFAULT
    target_ratio: float = TARGET_RATIO_DEFAULT
    start_on_user: bool = True


class Manual(NamedTuple):
    """Never rewrite the window: the application compacts it."""


Policy = LastN | SkipParts | Manual

STRATEGIES: Final[dict[str, type[Policy]]] = {
    "last_n": LastN,
    "skip_parts": SkipParts,
    "manual": Manual,
}
"""Each policy by its name in the API; the fields of its class are the keys of its `config`."""

MANUAL: Final = "manual"
REWIND: Final = "rewind"
FORK: Final = "fork"

REWRITES: Final = (*STRATEGIES, REWIND, FORK)
"""What rewrites a window: the policies, compact calls (`manual`), rewinds and forks."""

VERSIONED_REWRITES: Final = frozenset({MANUAL, REWIND, FORK})
"""Those with a version of their own; a policy trims within that of a message."""


class Config(NamedTuple):
    """
    The configuration of a context.

    Attributes:
        token_budget: In tokens.
        trigger_ratio: In (0, 1].
        policy: How the window is made smaller.
        token_factor: What a counted token is worth for the provider in use, in (0, 10].
    """

    token_budget: int = TOKEN_BUDGET_DEFAULT
    trigger_ratio: float = TRIGGER_RATIO_DEFAULT
    policy: Policy = LastN()
    token_factor: float = TOKEN_FACTOR_DEFAULT

    def trigger(self, token_budget: int) -> int:
        """
        Return the number of tokens above which a window of *token_budget* is compacted.

        Computed in binary floating point, so that a client can compute the same number.
        """
        return math.floor(token_budget * self.trigger_ratio)

    def ceiling(self, token_budget: int, pinned_tokens: int) -> int:
        """
        Return the tokens above which a window is trimmed, given those of its pinned entries.

        A large system prompt leaves room for half of what the trigger would allow without it.
        """
        trigger = self.trigger(token_budget)
        return max(trigger, min(token_budget, pinned_tokens + trigger // 2))

    def target(self, token_budget: int, pinned_tokens: int) -> int:
        """Return the tokens that a trim for tokens shrinks a window to."""
        policy = self.policy
        ratio = TARGET_RATIO_DEFAULT if isinstance(policy, Manual) else policy.target_ratio
        room = self.ceiling(token_budget, pinned_tokens) - pinned_tokens
        return pinned_tokens + math.floor(ratio * room)


def strategy_of(policy: Policy) -> str:
    """Return the name of the strategy of *policy* in the API."""
    return next(name for name, kind in STRATEGIES.items() if isinstance(policy, kind))


# Typed, since policies are tuples, and two of different types can compare equal.
@lru_cache(maxsize=1024, typed=True)
def policy_text(policy: Policy) -> bytes:
    """Return *policy* as JSON, with its defaults."""
    return msgspec.json.encode({"strategy": strategy_of(policy), "config": policy._asdict()})


def parse_policy(text: bytes, field: str = "policy") -> Policy:
    """
    Parse a policy from minified JSON, `{"strategy": …, "config": {…}}`.

    Raises:
        InvalidRequest: A strategy or key is unknown, or a value is invalid.
    """
    members = jsontext.members(text, None, field)
    for key in members:
        if key not in ("strategy", "config"):
            message = jsontext.unknown_key_message(key, ("strategy", "config"))
            raise InvalidRequest(message, f"{field}.{key}")
    kind = _strategy(members, f"{field}.strategy")
    config = jsontext.members(members.get("config", b"{}"), None, f"{field}.config")
    values: dict[str, object] = {}
    for key, value in config.items():
        path = f"{field}.config.{key}"
        if key not in kind._fields:
            raise InvalidRequest(_unknown_config_key(key, kind), path)
        values[key] = _config_value(key, value, path)
    return kind(**values)  # type: ignore[arg-type]  # keys and types were checked one by one


def _strategy(members: jsontext.Members, field: str) -> type[Policy]:
    known = ", ".join(STRATEGIES)
    if "strategy" not in members:
        raise InvalidRequest(f"A policy needs a strategy: one of {known}.", field)
    name = jsontext.string(members["strategy"], field)
    if name not in STRATEGIES:
        message = jsontext.unknown_key_message(name, STRATEGIES).replace("key", "strategy", 1)
        raise InvalidRequest(message, field)
    return STRATEGIES[name]


def _unknown_config_key(key: str, kind: type[Policy]) -> str:
    if not kind._fields:
        return f"Unknown key {key!r}; this strategy takes no configuration."
    return jsontext.unknown_key_message(key, kind._fields)


def _config_value(key: str, value: bytes, field: str) -> object:
    if key == "limit":
        return jsontext.integer(value, field, 1)
    if key == "target_ratio":
        return parse_ratio(value, field)
    if key == "start_on_user":
        if value not in (b"true", b"false"):
            raise InvalidRequest(f"Must be true or false, not {jsontext.kind_of(value)}.", field)
        return value == b"true"
    assert key == "skip_kinds", f"Nothing parses the key {key!r} of policies."
    kinds = jsontext.items(value, field)
    return tuple(_skip_kind(kind, f"{field}[{place}]") for place, kind in enumerate(kinds))


def _skip_kind(value: bytes, field: str) -> str:
    kind = jsontext.string(value, field)
    if not kind:
        raise InvalidRequest("The kind is empty; name the start of a part's type.", field)
    return kind


def parse_factor(value: bytes, field: str) -> float:
    """
    Parse a token factor, a number in (0, 10].

    Raises:
        InvalidRequest: It is something else.
    """
    return _number(value, field, TOKEN_FACTOR_MAX)


def parse_ratio(value: bytes, field: str) -> float:
    """
    Parse a ratio, a number in (0, 1].

    Raises:
        InvalidRequest: It is something else.
    """
    return _number(value, field, 1)


def _number(value: bytes, field: str, most: int) -> float:
    wanted = f"Must be a number above 0 and at most {most}"
    if jsontext.kind_of(value) != "a number":
        raise InvalidRequest(f"{wanted}, not {jsontext.kind_of(value)}.", field)
    number = float(value)
    if not 0 < number <= most:
        raise InvalidRequest(f"{wanted}.", field)
    return number
