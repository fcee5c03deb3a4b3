"""What is kept for those who come a moment later: bounded, and never with a hole."""

from __future__ import annotations

from fastpaca.stream.recent import (
    CHANGES_BYTES_MAX,
    CHANNEL_BYTES_MAX,
    FRAMES_BYTES_MAX,
    PAGE_CHANGES,
    FrameCache,
    RecentChanges,
)
from fastpaca.stream.subscription import AppendedMessage, VersionChange


def run(first: int, count: int, size: int = 10) -> list[VersionChange]:
    """Changes from version *first* on, with messages of *size* bytes."""
    return [
        VersionChange(n, AppendedMessage(n, b"x" * size), None) for n in range(first, first + count)
    ]


def versions(recent: RecentChanges, after: int, through: int = 10**9) -> list[int] | None:
    page = recent.page("c", after, through)
    if page is None:
        return None
    assert (page.after, page.through) == (after, page.changes[-1].version)
    return [change.version for change in page.changes]


def test_page_begins_where_it_is_asked_for() -> None:
    """
    Pages begin behind any version, and end where they are asked to, or with their size.
    """
    recent = RecentChanges()
    assert versions(recent, 0) is None
    recent.keep("c", run(5, 3))
    recent.keep("c", run(8, 1000))
    assert versions(recent, 3) is None
    assert versions(recent, 4, 6) == [5, 6]
    assert versions(recent, 4) == list(range(5, 5 + PAGE_CHANGES))
    assert versions(recent, 1006) == [1007]
    assert versions(recent, 1007) is None


def test_hole_is_never_kept() -> None:
    """
    What does not follow takes the place of what there was.
    """
    recent = RecentChanges()
    recent.keep("c", run(1, 3))
    recent.keep("c", [])
    recent.keep("c", run(5, 2))
    assert versions(recent, 0) is None
    assert versions(recent, 4) == [5, 6]
    assert recent.bytes == sum(change.size for change in run(5, 2))


def test_context_keeps_little_beside_its_last_commit() -> None:
    """
    Older commits go when there is too much, the last one stays whatever its size.
    """
    recent = RecentChanges()
    for version in range(1, 100):
        recent.keep("c", run(version, 1, CHANNEL_BYTES_MAX // 10))
        assert recent.bytes <= CHANNEL_BYTES_MAX
    recent.keep("c", run(100, 5, CHANNEL_BYTES_MAX))
    assert versions(recent, 98) is None
    assert versions(recent, 99) == [100]


def test_all_contexts_are_bounded_together() -> None:
    """
    Contexts that were written longest ago go first, and one that is forgotten leaves nothing.
    """
    recent = RecentChanges()
    recent.keep("c", run(1, 1))
    for number in range(1000):
        recent.keep(f"other {number}", run(1, 1, CHANNEL_BYTES_MAX - 1000))
        assert recent.bytes <= CHANGES_BYTES_MAX
    assert versions(recent, 0) is None
    recent.keep("c", run(1, 1, 2 * CHANGES_BYTES_MAX))
    assert versions(recent, 0) == [1]
    assert recent.page("other 999", 0, 1) is None
    recent.forget("c")
    recent.forget("c")
    assert recent.bytes == 0


def test_texts_are_bounded() -> None:
    """
    A frame is encoded once while it is kept, and what is kept is bounded.
    """
    encoded: list[int] = []

    def encode(frame: int) -> bytes:
        encoded.append(frame)
        return b"x" * 100_000

    texts: FrameCache[int] = FrameCache()
    assert texts.encoded(encode, 1) is texts.encoded(encode, 1)
    assert texts.encoded(lambda frame: b"another form", 1) == b"another form"
    assert encoded == [1]
    for number in range(1000):
        texts.encoded(encode, number)
        assert len(texts) * 100_000 < FRAMES_BYTES_MAX
