"""The readers of bodies, paths and queries: any bytes are taken or refused, and never misread."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpaca.api import bodies, query
from fastpaca.api.routes import decode_id
from fastpaca.context import jsontext
from fastpaca.context.config import policy_text
from fastpaca.context.draft import Draft
from fastpaca.context.ops import PatchMetadata, Put
from fastpaca.errors import InvalidRequest
from fastpaca.ids import ID_BYTES_MAX
from tests.fuzz import texts
from tests.fuzz.effort import Effort
from tests.fuzz.readings import Members, Number, depth, kept_of, read

DEPTH_MAX = 128


def same(draft: Draft, message: Members) -> None:
    """Hold a *draft* against the *message* that it was read from."""
    assert read(draft.body) == kept_of(message)
    assert depth(message) <= DEPTH_MAX
    assert not message.repeats("role", "parts", "metadata", "token_count", "tool_call_id")
    assert not any(part.repeats("type", "text", "id") for part in message.last("parts"))
    assert draft.role == message.last("role")
    kinds = [part.last("type") for part in message.last("parts")]
    assert [part.kind for part in draft.parts] == kinds
    count = dict(message).get("token_count")
    assert draft.token_count == (None if count is None else int(count.text))


def check_append(body: bytes) -> None:
    found = bodies.parse_append(body)
    said = read(body)
    assert not said.repeats("message", "messages", "if_version")
    sent = said.last("messages") if found.is_batch else [said.last("message")]
    assert len(found.drafts) == len(sent)
    for draft, message in zip(found.drafts, sent, strict=True):
        same(draft, message)


def check_compact(body: bytes) -> None:
    found = bodies.parse_compact(body)
    for draft, message in zip(found.drafts, read(body).last("replacement"), strict=True):
        same(draft, message)


def check_put(body: bytes) -> None:
    op: Put = bodies.parse_put(body)
    said = dict(read(body or b"{}"))
    assert (op.token_budget is None) == ("token_budget" not in said)
    if op.token_budget is not None:
        assert int(said["token_budget"].text) == op.token_budget
        assert 1 <= op.token_budget <= jsontext.INTEGER_MAX
    if op.trigger_ratio is not None:
        assert float(said["trigger_ratio"].text) == op.trigger_ratio
        assert 0 < op.trigger_ratio <= 1
    if op.metadata is not None:
        assert read(op.metadata) == said["metadata"]
    if op.policy is not None:
        written = json.loads(policy_text(op.policy))
        assert written["strategy"] == said["policy"].last("strategy")
        for key, value in dict(said["policy"]).get("config", Members()):
            assert isinstance(value, Number) or written["config"][key] == value


def check_patch(body: bytes) -> None:
    op: PatchMetadata = bodies.parse_patch_metadata(body)
    changes = read(body).last("metadata")
    assert len(changes) == len(op.changes)
    for key, value in changes:
        change = op.changes[key]
        assert value is None if change is None else read(change) == value


@pytest.mark.parametrize(
    ("check", "said"),
    [
        pytest.param(check_append, texts.appends, id="append"),
        pytest.param(check_compact, texts.replacements, id="compact"),
        pytest.param(check_put, texts.configurations, id="put"),
        pytest.param(check_patch, texts.patches, id="patch"),
    ],
)
def test_any_body_is_read_as_it_was_meant_or_refused(
    check: Callable[[bytes], None], said: st.SearchStrategy[Any], effort: Effort
) -> None:
    """
    Nothing but a refusal is ever raised, and what is taken says what Python's own parser reads.
    """

    @given(texts.sent(said))
    def holds(body: bytes) -> None:
        with suppress(InvalidRequest):
            check(body)

    effort.attack(holds, few=200)


@given(texts.broken(st.just(b'{"message":{"role":"user","parts":[{"type":"text","text":"a"}]}}')))
def one_message(body: bytes) -> None:
    """A message that is nearly right: most of what is done to it leaves it readable."""
    with suppress(InvalidRequest):
        check_append(body)


def test_a_message_that_is_nearly_right_is_never_misread(effort: Effort) -> None:
    """
    Where a small change of a good message is taken, it is taken for what it says now.
    """
    effort.attack(one_message, few=300)


@pytest.mark.parametrize("odd", [*texts.ODD, *texts.HUGE], ids=lambda odd: repr(odd[:9]))
def test_odd_bytes_anywhere_in_a_message(odd: bytes) -> None:
    """
    Every odd piece at every place of a message: taken for what it says, or refused.
    """
    good = b'{"message":{"role":"user","parts":[{"type":"text","text":"a"}],"x":1}}'
    for place in range(len(good) + 1):
        for width in (0, 1):
            with suppress(InvalidRequest):
                check_append(good[:place] + odd + good[place + width :])


# --- paths ------------------------------------------------------------------------------------

id_pieces = st.sampled_from(
    [
        *(b"%00", b"%", b"%2", b"%zz", b"%2F", b"%2e", b"%FF", b"%C3%A9", b"%ED%A0%80", b"%25"),
        *(b".", b"..", b"+", b"a", b"a" * 511, b"%E2%82%AC" * 170, b"\xff", b"\xc3\xa9", b"?"),
    ]
)
raw_ids = st.one_of(st.lists(id_pieces, max_size=4).map(b"".join), st.binary(max_size=20))


def test_any_path_is_an_id_or_refused(effort: Effort) -> None:
    """
    What is taken for an id is the decoded path, within bounds, and finds its way back.
    """

    @given(raw_ids)
    def holds(raw: bytes) -> None:
        try:
            found = decode_id(raw)
        except InvalidRequest:
            return
        data = found.encode()
        assert data == unquote_to_bytes(raw)
        assert 1 <= len(data) <= ID_BYTES_MAX
        assert b"\0" not in data
        assert found not in (".", "..")
        assert decode_id(quote_from_bytes(data, safe="").encode()) == found

    effort.attack(holds, few=200)


# --- queries ----------------------------------------------------------------------------------

KNOWN = ("from_seq", "to_seq", "limit", "offset", "prefix", "purge")
query_pieces = st.sampled_from(
    [
        *(b"limit=", b"from_seq=", b"prefix=", b"purge=", b"limi=", b"&", b"=", b"%", b"%3D", b"+"),
        *(b"-1", b"0", b"-0", b"007", b"5", b"9007199254740991", b"9" * 40, b"true", b"1e3"),
        *(b"%D9%A3", b"%00", b"%FF", b"\xff", b"limit", b";", b" ", b"%20", b"%2b1"),
    ]
)
queries = st.one_of(st.lists(query_pieces, max_size=8).map(b"".join), st.binary(max_size=20))


def test_any_query_is_read_as_it_was_meant_or_refused(effort: Effort) -> None:
    """
    What is taken says what Python's own parser reads; every value is within its bounds.
    """

    @given(queries)
    def holds(text: bytes) -> None:
        try:
            found = query.parse(text, KNOWN)
        except InvalidRequest:
            return
        meant = parse_qsl(text.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        pairs = {name: value.encode("latin-1").decode() for name, value in meant}
        assert found == pairs
        check_values(found)

    effort.attack(holds, few=200)


def check_values(found: query.Parameters) -> None:
    readers: list[tuple[str, Any]] = [
        ("from_seq", lambda: query.integer(found, "from_seq", -jsontext.INTEGER_MAX)),
        ("limit", lambda: query.limit(found)),
        ("purge", lambda: query.flag(found, "purge")),
        ("prefix", lambda: query.part_of_id(found, "prefix")),
    ]
    for name, reader in readers:
        try:
            value = reader()
        except InvalidRequest:
            assert name in found  # what is not given has a usable default
            continue
        if name in found and isinstance(value, int):
            assert found[name] in (str(value), str(value).lower())
            assert name != "limit" or 1 <= value <= query.PAGE_MAX
