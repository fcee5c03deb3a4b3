"""How much work an operation is, before it is applied."""

from __future__ import annotations

import pytest

from fastpaca.context.ops import Append, Compact, Delete, Op, PatchMetadata, Put
from fastpaca.engine.batch import UNREAD_ENTRIES_MAX, work
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
