"""How much work an operation is, before it is applied; and what has to wait for the next batch."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fastpaca.context import create
from fastpaca.context.ops import Append, Compact, Delete, Op, PatchMetadata, Put
from fastpaca.engine.batch import UNREAD_ENTRIES_MAX, Batch, Stage, work
from fastpaca.engine.writes import PendingWrite
from fastpaca.offload import APPLY, PARSE, REWRITE, Work
from tests.context.conversation import Conversation
from tests.kit.messages import append, counted, result, tool, user

UNREAD = UNREAD_ENTRIES_MAX + 1
RESULT = Append((counted(tool(result("a"))),))


@pytest.mark.parametrize(
    ("op", "entries", "expected"),
    [
        (PatchMetadata({}), 1, (PARSE, 2, 0)),
        (Delete(), 1, (APPLY, 0, 0)),
        (append("hi", "hi"), UNREAD, (APPLY, 9, 2)),
        (RESULT, UNREAD, (REWRITE, 9, UNREAD)),
        (RESULT, UNREAD - 1, (APPLY, 9, 1)),
        (Append((counted(user(token_count=900_000)),)), 3, (REWRITE, None, 3)),
        (Compact(()), 3, (REWRITE, None, 3)),
    ],
)
def test_work_is_what_an_operation_has_to_read(
    op: Op, entries: int, expected: tuple[Work, int | None, int]
) -> None:
    """
    An append reads its own messages, unless a result looks for its call or a trim is due.
    """
    talk = Conversation()
    talk.apply(Put(token_budget=1_000_000))
    talk.say(*[user("hi", token_count=1)] * entries)
    kind, size, items = expected
    whole = 9 + talk.window.text_bytes
    assert work(op, 9, talk.context) == (kind, whole if size is None else size, items)


def test_nothing_is_applied_to_what_has_just_been_formed() -> None:
    """
    A fork that was finished in this batch has its window in the store, and not in memory.
    """
    context, _ = create("c", Put(), 0)
    batch = Batch(0, lambda _: None)
    write = PendingWrite("c", Delete(), lambda *_: b"", None, cast("Any", None))
    assert batch.is_prepared(write, Stage(context, context))
    assert not batch.is_prepared(write, Stage(context, context, has_formed=True))
