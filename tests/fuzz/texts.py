"""What is sent: JSON of all shapes that mean something here, and what may become of it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

KEYS = [
    *("message", "messages", "if_version", "replacement", "metadata", "policy", "strategy"),
    *("config", "limit", "token_budget", "trigger_ratio", "role", "parts", "type", "text", "seq"),
    *("token_count", "tool_calls", "tool_call_id", "call_id", "id", "state", "content", "version"),
    *("skip_kinds", "target_ratio", "start_on_user", "output", "value", "data", "source", "status"),
]
KINDS = [
    *("text", "tool_use", "tool_result", "tool_call", "function_call", "function_call_output"),
    *("tool-call", "tool-result", "tool-x", "dynamic-tool", "server_tool_use", "reasoning"),
    *("web_search_tool_result", "thinking", "image", "image_url", "file", "document", ""),
]

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["user", "text", "tool_call", "tool-result", "last_n", "manual", "id"]),
    st.sampled_from([2**53, 2**53 - 1, -(2**63), 2**70, 10**400, 1e308, 5e-324, -0.0]),
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=4))
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=6,
)
free = st.dictionaries(keys, values, max_size=3)
few = st.dictionaries(st.text(max_size=5), values, max_size=2)
parts = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(KINDS)},
        optional={
            "text": st.text(max_size=40),
            "id": scalars,
            "tool_use_id": st.sampled_from("ab"),
            "tool_call_id": st.sampled_from("ab"),
            "content": values,
        },
    ),
    values,
)
good_messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "tool"]) | st.text(min_size=1, max_size=8),
        "parts": st.lists(
            st.builds(lambda more, kind: {**more, "type": kind}, few, st.sampled_from(KINDS)),
            max_size=3,
        ),
    },
    optional={
        "token_count": st.integers(0, 200),
        "metadata": few,
        "id": values,
        "name": values,
        "tool_calls": values,
    },
)
"""Messages that must be taken."""

messages = st.one_of(
    good_messages,
    good_messages,
    st.fixed_dictionaries(
        {"role": scalars, "parts": st.lists(parts, max_size=4) | values},
        optional={"token_count": scalars, "metadata": values, "seq": scalars},
    ),
    values,
)
configurations = st.fixed_dictionaries(
    {},
    optional={
        "token_budget": st.integers(1, 300) | scalars,
        "trigger_ratio": st.floats(0, 1) | scalars,
        "policy": st.one_of(
            st.fixed_dictionaries(
                {"strategy": st.sampled_from(["last_n", "skip_parts", "manual"])},
                optional={"config": st.dictionaries(keys, scalars, max_size=2)},
            ),
            values,
        ),
        "metadata": free | values,
    },
)
versions = st.none() | st.integers(0, 9) | scalars
lists = st.lists(good_messages, max_size=3) | st.lists(messages, max_size=3)
appends = st.one_of(
    st.fixed_dictionaries({"message": good_messages}),
    st.fixed_dictionaries({"message": messages}, optional={"if_version": versions}),
    st.fixed_dictionaries({"messages": lists}),
)
replacements = st.fixed_dictionaries({"replacement": lists}, optional={"if_version": versions})
patches = st.fixed_dictionaries({"metadata": free | values})
bodies: st.SearchStrategy[Any] = st.one_of(appends, replacements, patches, configurations, values)

ODD: list[bytes] = [
    *(b"\0", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xc3"),
    *(b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\uD83D", b"\\x41", b"\\", b'"'),
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"-0",
        b"-0.0",
        b"1.0",
        b"1e400",
        b"-1E-400",
        b"01",
        b"+1",
    ),
    *(b"9" * 400, b"0." + b"1" * 400, b"9007199254740993", b"-1", b"1.", b".5", b"0x1"),
    *(b"[" * 126 + b"]" * 126, b"[" * 130 + b"]" * 130, b'{"":' * 200 + b"0" + b"}" * 200),
    *(b"[" * 130, b'{"a":' * 130, b"]" * 3, b"}" * 3, b"[[],[]]"),
    *(b"null", b"true", b"{}", b"[]", b'""', b",", b":", b" ", b"\r\n\t", b"\x0b", b"\xe2\x80\xa8"),
    *(b'"role":"user",', b'"type":"text",', b'"message":{},', b'"parts":[],', b'"metadata":{},'),
    *(b'"r\\u006fle":"user",', b'"token_count":1,', b'"if_version":null,', b'"a":1,"a":2,'),
    *(b"/* */", b"//\n", b"'", b"\x7f", b"\x1f", b"\n", b"\xf0\x9f\x98\x80", b"\xef\xbf\xbf"),
]
"""What is read differently by different readers, or crashes some."""

HUGE: list[bytes] = [b"[" * 40_000, b'{"":' * 3000, b"9" * 50_000, b"\\u0000" * 5000]
"""Pieces that are only tried by themselves, since they take their time."""

odd = st.one_of(st.sampled_from(ODD), st.binary(max_size=4))


@st.composite
def written(draw: st.DrawFn, value: Any) -> bytes:
    """Write *value* in one of the ways in which JSON may be written."""
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n")])),
    )
    return text.encode(errors="surrogatepass")


@st.composite
def broken(
    draw: st.DrawFn, texts: st.SearchStrategy[bytes], odd: st.SearchStrategy[bytes] = odd
) -> bytes:
    """Do something to a text: take out, put in something *odd*, double, cut off."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(start + draw(st.sampled_from([0, 0, 1, 2, 9, 60])), len(text))
        what = draw(st.sampled_from(["replace", "replace", "double", "cut"]))
        if what == "cut":
            text = text[:start]
        else:
            piece = draw(odd) if what == "replace" else text[start:end] * 2
            text = text[:start] + piece + text[end:]
    return text


anything: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=60), st.lists(odd).map(b"".join), bodies.flatmap(written)
)
"""Bodies of any kind."""


@st.composite
def sent(draw: st.DrawFn, said: st.SearchStrategy[Any]) -> bytes:
    """Send what is *said*: mostly as it is, often broken, now and then something else."""
    chance = draw(st.integers(0, 9))
    text = said.flatmap(written)
    return draw(text if chance < 5 else broken(text) if chance < 9 else anything)
