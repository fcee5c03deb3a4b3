"""What Hypothesis draws: sources of stories, and messages of any shape."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

the_same_every_time = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

sources = st.randoms(use_true_random=False, note_method_calls=False)
"""Sources of short stories; a failing one is made shorter."""

seeds = st.integers(0, 2**32).map(Random)
"""Sources of longer stories."""

_KINDS = (
    "text",
    "tool_call",
    "tool_use",
    "tool_result",
    "server_tool_use",
    "web_search_tool_result",
    "function_call",
    "function_call_output",
    "tool-call",
    "tool-result",
    "tool-x",
    "dynamic-tool",
    "reasoning",
    "",
)
_ID_KEYS = ("id", "tool_call_id", "call_id", "tool_use_id", "toolCallId")
_names = st.sampled_from("ab")

anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("type", "text", "state", "content", *_ID_KEYS)) | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
"""Any JSON value, often with the keys that are read here."""

parts = st.builds(
    lambda kind, ids, rest: {**rest, **ids, "type": kind},
    st.sampled_from(_KINDS) | st.text(max_size=5),
    st.dictionaries(st.sampled_from(_ID_KEYS), _names, max_size=2),
    st.dictionaries(
        st.sampled_from(("text", "content", "output", "state")) | st.text(max_size=3),
        st.text(max_size=400) | anything,
        max_size=3,
    ),
)
"""Parts of every kind, with ids and without."""

messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(("user", "assistant", "tool", "system", "x")),
        "parts": st.lists(parts, max_size=3),
    },
    optional={
        "metadata": st.dictionaries(st.text(max_size=3), anything, max_size=2),
        "token_count": st.sampled_from((0, 1, 50, 5000)),
        "tool_calls": st.lists(st.fixed_dictionaries({"id": _names}) | anything, max_size=3)
        | anything,
        "tool_call_id": _names | anything,
        "id": anything,
    },
)
"""Messages that are taken, of every shape."""


def _longer(value: Any, key: str = "") -> Any:
    if isinstance(value, str):
        return value * 300 if key in ("text", "content", "output", "result", "value") else value
    if isinstance(value, list):
        return [_longer(one, key) for one in value]
    if isinstance(value, dict):
        return {name: _longer(one, name) for name, one in value.items()}
    return value


long_messages = messages.map(_longer)
"""The same with texts that are worth cutting."""
