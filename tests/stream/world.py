"""
A context and its store at one moment, as a value: what followers may be told, and nothing else.

Every write gives the next moment, and so does the loss of rows.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from fastpaca.stream.subscription import (
    AppendedMessage,
    LatestState,
    Page,
    VersionChange,
    WindowRewrite,
)

NEW = LatestState(
    version=0,
    revision=1,
    is_tombstoned=False,
    is_gone=False,
    needs_compaction=False,
    used_tokens=0,
    token_budget=100,
)

GONE = replace(NEW, revision=0, is_gone=True)
"""What is found of a purged context: nothing but that."""


class World(NamedTuple):
    """
    One moment.

    Attributes:
        state: What a doorbell of this moment says.
        truth: Every change there ever was, by its version from 1 on.
        rows: What the store still has of them.
    """

    state: LatestState = NEW
    truth: tuple[VersionChange, ...] = ()
    rows: tuple[VersionChange, ...] = ()

    @property
    def lost(self) -> set[int]:
        """The versions of which something is gone for ever."""
        return {change.version for change in set(self.truth) - set(self.rows)}

    @property
    def last_seq(self) -> int:
        """How many messages there are."""
        return sum(change.message is not None for change in self.truth)

    def append(
        self, *, trimmed: bool = False, used_tokens: int = 0, revises: int | None = None
    ) -> World:
        """
        Append a message, which perhaps makes a policy trim the window, or *revises* a place if
        there is one.
        """
        version = self.state.version + 1
        seq = 1 + self.last_seq
        if not self.last_seq:
            revises = None
        body = b'{"version":%d,"revision":%d}' % (version, self.state.revision)
        message = AppendedMessage(seq, body, revises)
        trim = WindowRewrite("last_n", 1, seq, version, used_tokens) if trimmed else None
        return self._changed(VersionChange(version, message, trim), used_tokens)

    def compact(self, used_tokens: int = 0) -> World:
        """Compact by a call."""
        version = self.state.version + 1
        call = WindowRewrite("manual", None, None, version, used_tokens)
        return self._changed(VersionChange(version, None, call), used_tokens)

    def rewind(self, to_version: int = 0, used_tokens: int = 0) -> World:
        """Go back to what was after a version."""
        version = self.state.version + 1
        back = WindowRewrite("rewind", None, None, version, used_tokens, to_version)
        return self._changed(VersionChange(version, None, back), used_tokens)

    def configure(self, **changes: object) -> World:
        """Change the budget, or what comes of it; or nothing that a follower is told of."""
        return self._committed(**changes)

    def delete(self) -> World:
        """Delete it for writing."""
        return self._committed(is_tombstoned=True)

    def purge(self) -> World:
        """Erase its content; no page can be read from here on."""
        return self._replace(state=self.state.gone())

    def lose(self, first: int, last: int, *, messages_only: bool = False) -> World:
        """Lose the rows from version *first* to *last*, or only their messages."""
        rows: list[VersionChange] = []
        for change in self.rows:
            if not first <= change.version <= last:
                rows.append(change)
            elif messages_only and change.compaction is not None:
                rows.append(replace(change, message=None))
        return self._replace(rows=tuple(rows))

    def join(self, before: World) -> World:
        """Make one commit of all that happened since *before*."""
        return self._replace(state=replace(self.state, revision=before.state.revision + 1))

    def page(self, after: int, through: int, limit: int) -> Page:
        """Read a page as a store does: it ends early only with a change that it holds."""
        assert not self.state.is_gone
        through = min(through, self.state.version)
        found = [change for change in self.rows if after < change.version <= through]
        if len(found) > limit:
            found = found[:limit]
            through = found[-1].version
        return Page(after, found, through)

    def _changed(self, change: VersionChange, used_tokens: int) -> World:
        changed = self._replace(truth=(*self.truth, change), rows=(*self.rows, change))
        return changed._committed(version=change.version, used_tokens=used_tokens)

    def _committed(self, **changes: object) -> World:
        return self._replace(state=replace(self.state, revision=self.state.revision + 1, **changes))
