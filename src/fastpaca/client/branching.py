"""
The branches of a conversation, worked out from the history of its window. Pure.

Every rewind leaves the versions since the rewind before it, and what follows it continues from the
version that it names. So the versions between two rewinds are a segment, and a segment's end is the
end of a branch unless another segment continues from there.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastpaca.client.values import Branch, Compaction


def branches(history: Sequence[Compaction]) -> list[Branch]:
    """Return the ends that the rewinds of a *history* have left, in the order of their versions."""
    rewinds = [entry for entry in history if entry.to_version is not None]
    states: dict[int, int] = {}
    """By the version of a rewind: the version, no rewind itself, whose path it made current."""
    left: dict[int, Branch] = {}
    continued: set[int] = set()
    start = 0
    for rewind in rewinds:
        assert rewind.to_version is not None
        end = states.get(rewind.version - 1, rewind.version - 1)
        if rewind.version - 1 > start:
            continued.add(states.get(start, start))
        if rewind.version - 1 > start or end in left:
            left[end] = Branch(version=end, to_version=rewind.to_version, at=rewind.at)
        states[rewind.version] = states.get(rewind.to_version, rewind.to_version)
        start = rewind.version
    continued.add(states.get(start, start))
    return [left[version] for version in sorted(left) if version not in continued]
