"""The state machine: what each op does to a context, and what it refuses."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from fastpaca import errors
from fastpaca.context import Config, LastN, Manual, SkipParts, Status
from fastpaca.context.context import METADATA_BYTES_MAX, create
from fastpaca.context.events import (
    Appended,
    Compacted,
    Configured,
    ContextPurged,
    ContextTombstoned,
    Created,
    MetadataChanged,
)
from fastpaca.context.ops import Append, Compact, Delete, Op, PatchMetadata, Purge, Put
from fastpaca.errors import ContextNotFound, InvalidRequest, VersionConflict
from tests.context.conversation import Conversation, image
from tests.kit.messages import assistant, call, counted, result, system, tool, user

HELLO = counted(user("hello"))


# Configuration


def test_only_put_creates() -> None:
    """
    An append never creates a context, and neither does any other op.
    """
    ops: list[Op] = [Append((HELLO,)), Compact(()), PatchMetadata({}), Delete(), Purge()]
    for op in ops:
        with pytest.raises(ContextNotFound):
            create("talk", op, 1)


def test_put_creates_with_defaults() -> None:
    """
    Every field has a default.
    """
    context, events = create("talk", Put(), 5)
    assert context.config == Config(8000, 0.7, LastN(200, 0.5, True))
    assert (context.metadata, context.version, context.last_seq) == (b"{}", 0, 0)
    assert (context.created_at_us, context.updated_at_us) == (5, 5)
    assert events == (Created(),)
    assert list(context.window) == context.view().entries == []


def test_put_creates_with_what_is_given() -> None:
    """
    What is given is taken, the rest has defaults.
    """
    context, events = create("talk", Put(100, metadata=b'{"a":1.0}'), 5)
    assert context.config.token_budget == 100
    assert context.metadata == b'{"a":1.0}'
    assert events == (Created(), Configured(), MetadataChanged())


def test_put_keeps_what_is_absent() -> None:
    """
    An absent field keeps its value; a policy that is given replaces the whole policy.
    """
    context, _ = create("talk", Put(100, 0.5, LastN(5), b'{"a":1}'), 5)
    changed, events = context.apply(Put(trigger_ratio=0.9), 6)
    assert changed.config == Config(100, 0.9, LastN(5))
    assert changed.metadata == context.metadata
    assert (changed.updated_at_us, events) == (6, (Configured(),))
    changed, _ = context.apply(Put(policy=LastN(start_on_user=True)), 6)
    assert changed.config.policy == LastN(200, 0.5, True)


def test_a_put_that_changes_nothing_writes_nothing() -> None:
    """
    The same context, no events, and `updated_at` stays.
    """
    context, _ = create("talk", Put(100, 0.5, LastN(5), b'{"a":"\\u00e9"}'), 5)
    for op in (Put(), Put(100, 0.5, LastN(5), '{"a":"é"}'.encode()), PatchMetadata({})):
        assert context.apply(op, 6) == (context, ())
        assert context.apply(op, 6)[0] is context


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
        (b'{"a":100}', b'{"a":1e2}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":null}', b"{}"),
    ],
)
def test_metadata_come_back_as_they_were_sent(before: bytes, after: bytes) -> None:
    """
    Numbers and the order of keys are kept as they are written, so a change of these is a change.
    """
    context, _ = create("talk", Put(metadata=before), 5)
    changed, events = context.apply(Put(metadata=after), 6)
    assert changed.metadata == after
    assert events == (MetadataChanged(),)


def test_policies_of_equal_values_are_different() -> None:
    """
    A strategy is more than its numbers.
    """
    context, _ = create("talk", Put(policy=LastN()), 5)
    changed, events = context.apply(Put(policy=SkipParts(())), 6)
    assert isinstance(changed.config.policy, SkipParts)
    assert events == (Configured(),)


def test_metadata_are_merged() -> None:
    """
    A patch sets keys and takes away those that are null; the order of the others stays.
    """
    context, _ = create("talk", Put(metadata=b'{"a":1.0,"b":{"x":1},"c":3}'), 5)
    changes = {"b": b'{"y":2}', "a": None, "d": b'"\\u00e9"', "nothing": None}
    changed, events = context.apply(PatchMetadata(changes), 6)
    assert changed.metadata == b'{"b":{"y":2},"c":3,"d":"\\u00e9"}'
    assert events == (MetadataChanged(),)
    assert changed.apply(PatchMetadata({"nothing": None, "c": b"3"}), 7) == (changed, ())


def test_metadata_never_grow_above_their_bound() -> None:
    """
    The limit holds for what a patch would leave, not for the patch alone.
    """
    half = b'"%b"' % (b"x" * (METADATA_BYTES_MAX // 2))
    context, _ = create("talk", Put(metadata=b'{"a":%b}' % half), 5)
    assert context.apply(PatchMetadata({"a": half[:-2] + b'y"'}), 6)[1] == (MetadataChanged(),)
    with pytest.raises(InvalidRequest, match="metadata would have"):
        context.apply(PatchMetadata({"b": half}), 6)


def test_a_factor_scales_counts_but_not_what_a_caller_counted() -> None:
    """
    A token factor acts on what the node counts from then on.
    """
    talk = Conversation()
    talk.apply(Put(token_factor=1.5))
    talk.say(user("sixsix"), user("sixsix", token_count=10))
    assert [entry.tokens for entry in talk.window] == [15, 10]


def test_a_change_acts_from_now_on() -> None:
    """
    The flag follows a new budget at once, the window at the next trigger.
    """
    talk = Conversation(LastN(), token_budget=1000)
    talk.say(*[user("sixsix")] * 20)
    assert not talk.context.view().needs_compaction
    talk.apply(Put(token_budget=100))
    assert talk.context.view().needs_compaction
    assert talk.context.needs_compaction
    assert len(talk.window) == 20
    assert talk.context.view().used_tokens <= 100
    talk.say(user("sixsix"))
    assert len(talk.window) == 3


# Versions, seqs and times


def test_versions_and_seqs_of_a_batch() -> None:
    """
    A batch of N messages has N versions and N seqs; a compact call has a version and no seq.
    """
    talk = Conversation()
    talk.say(user("a"), user("b"))
    talk.compact()
    talk.say(user("c"))
    entries = [event.entry for event in talk.events if isinstance(event, Appended)]
    assert [(entry.seq, entry.version) for entry in entries] == [(1, 1), (2, 2), (3, 4)]
    assert (talk.context.last_seq, talk.context.version) == (3, 4)


def test_other_ops_move_no_version() -> None:
    """
    Configuration, metadata and deletion leave the version alone.
    """
    talk = Conversation()
    talk.say(user("a"))
    ops: list[Op] = [Put(token_budget=5), PatchMetadata({"a": b"1"}), Delete()]
    for op in ops:
        talk.apply(op)
        assert (talk.context.version, talk.context.last_seq) == (1, 1)


def test_a_trim_belongs_to_the_version_of_its_append() -> None:
    """
    Also within a batch: each trim has the version of the message that caused it.
    """
    talk = Conversation(LastN(), token_budget=100)
    events = talk.say(*[user("sixsix")] * 13)
    kinds = [(type(event), event.version) for event in events if isinstance(event, Compacted)]
    assert kinds == [(Compacted, 8), (Compacted, 13)]
    order = [
        event.entry.version if isinstance(event, Appended) else -event.version
        for event in events
        if isinstance(event, Appended | Compacted)
    ]
    assert order == [1, 2, 3, 4, 5, 6, 7, 8, -8, 9, 10, 11, 12, 13, -13]
    assert talk.context.version == 13


def test_what_a_trim_reports() -> None:
    """
    The event of a trim says what went, what it saved, and what is left.
    """
    talk = Conversation(LastN(), token_budget=100)
    talk.say(*[user("sixsix")] * 8)
    (event,) = talk.trims()
    assert (event.strategy, event.from_seq, event.to_seq) == ("last_n", 1, 5)
    assert (event.tokens_before, event.tokens_after) == (80, 30)
    assert event.replacement == ()


def test_an_append_of_nothing_changes_nothing() -> None:
    """
    No messages, no change.
    """
    context, _ = create("talk", Put(), 5)
    assert context.apply(Append(()), 6) == (context, ())


def test_times_never_fall_along_the_log() -> None:
    """
    A clock that was set back stands still until it has caught up.
    """
    context, _ = create("talk", Put(), 100)
    for now_us in (100, 50, 200, 150):
        context, _ = context.apply(Append((HELLO,)), now_us)
    times = [json.loads(entry.body)["inserted_at"][-7:-1] for entry in context.window]
    assert times == ["000100", "000100", "000200", "000200"]
    context, _ = context.apply(Put(token_budget=5), 10)
    assert context.updated_at_us == 200


# Guards


@pytest.mark.parametrize("op", [Append((HELLO,), 5), Compact((), 5)])
def test_a_version_that_is_not_current_is_refused(op: Append | Compact) -> None:
    """
    `if_version` guards append and compact, and the refusal says both versions.
    """
    talk = Conversation()
    talk.say(user("a"))
    before = image(talk.window)
    with pytest.raises(VersionConflict) as refusal:
        talk.apply(op)
    assert (refusal.value.expected, refusal.value.found) == (5, 1)
    assert image(talk.window) == before
    talk.apply(replace(op, if_version=1))
    assert talk.context.version == 2


def test_a_tombstone_is_never_written_again() -> None:
    """
    Every write is refused and reads go on; to delete it again changes nothing.
    """
    talk = Conversation()
    talk.say(user("a"))
    events = talk.apply(Delete())
    assert events == (ContextTombstoned(),)
    assert talk.context.status is Status.TOMBSTONED
    ops: list[Op] = [Append((HELLO,)), Append((HELLO,), 99), Compact(()), Put(), PatchMetadata({})]
    for op in ops:
        with pytest.raises(errors.Tombstoned):
            talk.apply(op)
    assert talk.seen() == [1]
    assert talk.context.apply(Delete(), 9) == (talk.context, ())


def test_a_purge_leaves_nothing() -> None:
    """
    Window and metadata are gone, and the id can never be used again; a second purge does nothing.
    """
    talk = Conversation(token_budget=77)
    talk.say(user("a"))
    talk.apply(PatchMetadata({"secret": b"1"}))
    assert talk.apply(Purge()) == (ContextPurged(),)
    context = talk.context
    assert (context.status, len(context.window), context.metadata) == (Status.PURGED, 0, b"{}")
    ops: list[Op] = [Append((HELLO,)), Compact(()), Put(), PatchMetadata({})]
    for op in ops:
        with pytest.raises(errors.Purged):
            context.apply(op, 9)
    assert context.apply(Purge(), 9) == (context, ())
    assert context.apply(Delete(), 9) == (context, ())


def test_a_tombstone_can_be_purged() -> None:
    """
    Deletion first and erasure later.
    """
    talk = Conversation()
    talk.apply(Delete())
    assert talk.apply(Purge()) == (ContextPurged(),)


# Compaction by the caller


def test_the_window_becomes_exactly_the_replacement() -> None:
    """
    Log and seq stay; references keep their bytes, the rest is stored as given.
    """
    talk = Conversation(Manual())
    talk.say(*[user(f"{n}") for n in range(5)])
    event = talk.compact(1, assistant("so far", note=1), 5)
    assert talk.seqs == [1, None, 5]
    assert [entry.body for entry in talk.window][::2] == [talk.logged(1).body, talk.logged(5).body]
    given = json.loads(talk.window.entries[1].body)
    assert (given["seq"], given["version"], given["note"]) == (None, 6, 1)
    assert (event.version, event.strategy) == (6, "manual")
    assert (event.from_seq, event.to_seq) == (2, 4)
    assert [stored.position for stored in event.replacement] == [1]
    assert (talk.context.version, talk.context.last_seq) == (6, 5)


def test_an_empty_replacement_empties_the_window() -> None:
    """
    The log stays, and the conversation goes on with the next seq.
    """
    talk = Conversation()
    talk.say(user("a"), user("b"))
    event = talk.compact()
    assert (event.from_seq, event.to_seq, event.tokens_after) == (1, 2, 0)
    talk.say(user("c"))
    assert talk.seqs == [3]


def test_a_replacement_that_changes_nothing_has_a_version() -> None:
    """
    Each compact call has one.
    """
    talk = Conversation()
    talk.say(user("a"))
    event = talk.compact(1)
    assert (event.from_seq, event.to_seq, talk.context.version) == (None, None, 2)


def test_a_summary_of_nothing_changes_no_seq() -> None:
    """
    A replacement in an empty conversation stands for no messages of the log.
    """
    talk = Conversation()
    event = talk.compact(user("to begin with"))
    assert (event.from_seq, event.to_seq) == (None, None)
    event = talk.compact()
    assert (event.from_seq, event.to_seq) == (None, None)


def test_a_replacement_may_bring_back_what_was_dropped() -> None:
    """
    References name any message of the log, and what comes back counts as changed.
    """
    talk = Conversation(LastN(limit=1), token_budget=10)
    talk.say_one_by_one(user("sixsix"), user("sixsix"), user("sixsix"))
    assert talk.seqs == [3]
    event = talk.compact(1, 3)
    assert talk.seqs == [1, 3]
    assert (event.from_seq, event.to_seq) == (1, 1)


def test_a_replacement_brings_back_what_was_stripped() -> None:
    """
    A reference is the message as it was appended, whatever a policy had made of it.
    """
    talk = Conversation(SkipParts(), token_budget=60)
    talk.say(user("hi"), assistant("a", call("a")), user("hi"), assistant("b"))
    assert talk.window.entries[1].without == (1,)
    talk.compact(2)
    assert list(talk.window) == talk.between(2, 2)


def test_a_reference_is_the_message_as_it_was_appended() -> None:
    """
    What the window knew of a message goes: here, that a cut fell into the turn which it opened.
    """
    talk = Conversation(LastN(limit=1), token_budget=100)
    talk.say(user("hi"), assistant(call("a"), token_count=60), tool(result("a")))
    talk.say(assistant("ok", token_count=30))
    opener = talk.window.entries[0]
    assert opener.is_task
    talk.apply(Compact((opener,)))
    assert list(talk.window) == [talk.logged(1)]
    assert image(talk.cold().window) == image(talk.window)


def test_a_replacement_may_be_above_the_trigger() -> None:
    """
    A caller's own replacement is not trimmed; the next append is what triggers.
    """
    talk = Conversation(LastN(), token_budget=20)
    talk.compact(*[user("sixsix") for _ in range(5)])
    assert len(talk.window) == 5
    assert talk.context.needs_compaction
    talk.say(user("hi"))
    assert talk.seqs == [None, 1]


@pytest.mark.parametrize("seqs", [[2, 1], [1, 1], [1, 3, 2]])
def test_references_ascend(seqs: list[int]) -> None:
    """
    A reference out of order is refused by its place in the replacement, and nothing changes.
    """
    talk = Conversation()
    talk.say(user("a"), user("b"), user("c"))
    before = talk.context
    with pytest.raises(InvalidRequest) as refusal:
        talk.compact(*seqs)
    assert refusal.value.field == f"replacement[{len(seqs) - 1}].seq"
    assert talk.context is before


def test_references_name_the_log() -> None:
    """
    A synthetic message is no reference, and neither is a message that the log does not have.
    """
    talk = Conversation()
    talk.say(user("a"), user("b"))
    newest = talk.logged(2)
    talk.compact(user("so far"))
    other = Conversation()
    other.say(user("a"))
    for wrong in (talk.window.entries[0], newest):
        with pytest.raises(InvalidRequest):
            other.apply(Compact((wrong,)))


# Views


def test_a_view_says_what_was_read() -> None:
    """
    Version, sums, flag and budget of a view are those of the moment and of the call.
    """
    talk = Conversation(LastN(), token_budget=1000)
    talk.say(system("sixsix"), *[user("sixsix")] * 20)
    view = talk.context.view()
    assert (view.version, view.used_tokens, view.window_tokens) == (21, 210, 210)
    assert (view.needs_compaction, view.token_budget, view.fit) == (False, 1000, "whole")
    view = talk.context.view(100)
    assert (view.window_tokens, view.needs_compaction, view.token_budget) == (210, True, 100)
    assert view.used_tokens == 50


@pytest.mark.parametrize(("used", "flag"), [(70, False), (71, True)])
def test_the_flag_is_strictly_above_the_trigger(used: int, flag: bool) -> None:
    """
    At the trigger nothing is needed yet.
    """
    talk = Conversation(Manual(), token_budget=100)
    talk.say(user(token_count=used))
    assert talk.context.needs_compaction is flag
    assert talk.context.view().needs_compaction is flag
