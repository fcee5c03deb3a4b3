"""What a snapshot holds is what rebuilding its window needs."""

from fastpaca.context.persisted import Persisted, Run
from fastpaca.store.snapshots import needs, purged_row


def window(*runs: Run, through: int) -> bytes:
    return Persisted(through, runs).encode()


def test_a_window_that_was_never_rewritten_needs_the_log() -> None:
    """All of it, if there is any."""
    assert needs(None, 7) == ([(1, 7)], [])
    assert needs(None, 0) == ([], [])


def test_ranges_that_touch_are_read_as_one() -> None:
    """Runs that were only parted by what they have lost are one range of the log."""
    stored = window(Run(1, 2), Run(3, 5, without=((3, 0, 0),)), Run(8, 9), through=9)
    assert needs(stored, 9) == ([(1, 5), (8, 9)], [])
    assert needs(stored, 12) == ([(1, 5), (8, 12)], [])


def test_replacements_come_in_order() -> None:
    """By version and position, not as they stand in the window."""
    stored = window(
        Run(1, 1, replacement=9, first=2, last=3), Run(2, 2), Run(3, 3, replacement=4), through=3
    )
    assert needs(stored, 3) == ([(2, 2)], [(4, 0, 0), (9, 2, 3)])


def test_a_purged_row_tells_id_and_status() -> None:
    """Nothing else of it means anything."""
    row = purged_row("c")
    assert (row.id, row.status) == ("c", "purged")
