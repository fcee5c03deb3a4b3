"""Changes for tests: an author keeps count of one context, as the engine does."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from msgspec.structs import replace

from fastpaca.context.persisted import Persisted, Run
from fastpaca.store.base import (
    Change,
    CompactionRow,
    ContextRow,
    IdempotencyRecord,
    IdRow,
    MessageRow,
    Store,
    SyntheticRow,
    message_id_hash,
)

ALL = 10**9
"""More than any test writes: a limit that limits nothing."""

BEGINNING_US = 1_700_000_000_000_000

ORIGINS = ("", "/string", "anthropic/list", "ai-sdk/")
"""How messages come, in turn."""

USAGES = (
    b"",
    b'{"input_tokens":7,"output_tokens":0}',
    b'{"input_tokens":9,"output_tokens":1,"model":"m"}',
)
"""What calls cost, in turn; most calls are not reported."""

TOTALS = b'[7,0,0,0,0,0,0,2,0,7,""]'
"""What a row has of reports, once messages were appended."""

_commit_numbers = itertools.count(1)


def body(number: int, size: int = 0) -> bytes:
    """Make a message of about *size* bytes that tells its *number*."""
    text = f"message {number} " + "x" * size
    return b'{"role":"user","parts":[{"type":"text","text":"%s"}]}' % text.encode()


def answer(key: str, at_us: int = BEGINNING_US) -> IdempotencyRecord:
    """Make an answer to keep under *key*."""
    return IdempotencyRecord(
        key, b"fingerprint of " + key.encode(), b'{"seq":1,"key":"%s"}' % key.encode(), at_us
    )


class Author:
    """Writes the changes of one context, one after the other."""

    def __init__(self, context_id: str) -> None:
        self.row = ContextRow(
            id=context_id,
            status="active",
            token_budget=8000,
            trigger_ratio=0.7,
            token_factor=1.0,
            policy=b'{"strategy":"last_n","config":{}}',
            metadata=b"{}",
            version=0,
            last_seq=0,
            revision=0,
            commit_id=b"",
            created_at_us=BEGINNING_US,
            updated_at_us=BEGINNING_US,
            spoken_at_us=0,
        )
        self.log: list[MessageRow] = []
        self.compactions: list[CompactionRow] = []

    def create(self, **values: object) -> Change:
        """Bring the context into being, with *values* for its row."""
        return self._change({**values}, config_changed=True, metadata_changed=True)

    def append(
        self,
        *bodies: bytes,
        records: Sequence[IdempotencyRecord] = (),
        count: int = 0,
        size: int = 0,
        trims: Mapping[int, Iterable[Run]] | None = None,
        usage: bytes | None = None,
        ids: Sequence[str] = (),
        revises: Sequence[int | None] = (),
    ) -> Change:
        """
        Append *bodies*, or *count* messages of about *size* bytes.

        *trims* are rewrites of the window, by the number of the message that causes them. Each
        message has a report of its own, which is *usage* if it is given. *ids* are those of the
        first messages, empty where there is none, and *revises* the places that they take.
        """
        last = self.row.last_seq
        texts = bodies or [body(last + number, size) for number in range(1, count + 1)]
        messages = [
            MessageRow(
                seq=last + number,
                version=self.row.version + number,
                body=text,
                counts=b"\x94%d" % number,
                at_us=BEGINNING_US + self.row.version + number,
                origin=ORIGINS[(last + number) % len(ORIGINS)],
                usage=USAGES[(last + number) % len(USAGES)] if usage is None else usage,
                revises=place,
            )
            for number, (text, place) in enumerate(zip_longest(texts, revises), 1)
        ]
        self.log += messages
        id_rows = [
            IdRow(message_id_hash(name), last + number)
            for number, name in enumerate(ids, 1)
            if name
        ]
        values: dict[str, object] = {
            "version": self.row.version + len(messages),
            "last_seq": last + len(messages),
            "spoken_at_us": BEGINNING_US + self.row.version + len(messages),
            "usage": TOTALS,
        }
        compactions = [
            self.compaction(self.row.version + number, runs, last + number)
            for number, runs in (trims or {}).items()
        ]
        self.compactions += compactions
        return self._change(
            values, messages=messages, ids=id_rows, compactions=compactions, records=records
        )

    def revise(self, *places: int, size: int = 0) -> Change:
        """Let new messages of about *size* bytes take *places*."""
        return self.append(count=len(places), size=size, revises=places)

    def compact(
        self,
        runs: Iterable[Run],
        synthetics: Iterable[bytes] = (),
        records: Sequence[IdempotencyRecord] = (),
    ) -> Change:
        """Rewrite the window as *runs*, with *synthetics* as the messages of a replacement."""
        version = self.row.version + 1
        rows = [
            SyntheticRow(
                version, position, text, b"\x95", BEGINNING_US, ORIGINS[position % len(ORIGINS)]
            )
            for position, text in enumerate(synthetics)
        ]
        compaction = self.compaction(version, runs)
        self.compactions.append(compaction)
        return self._change(
            {"version": version, "spoken_at_us": compaction.at_us},
            compactions=[compaction],
            synthetics=rows,
            records=records,
        )

    def compaction(
        self, version: int, runs: Iterable[Run], through: int | None = None
    ) -> CompactionRow:
        """Make the row of a compaction that leads to a window of *runs*."""
        last_seq = self.row.last_seq if through is None else through
        window = Persisted(last_seq, tuple(runs)).encode()
        at_us = BEGINNING_US + version
        return CompactionRow(version, "manual", None, 7, 1000, 10, window, at_us)

    def configure(self, **values: object) -> Change:
        """Change budget, trigger ratio or policy."""
        return self._change(values, config_changed=True)

    def describe(self, metadata: bytes) -> Change:
        """Change the metadata."""
        return self._change({"metadata": metadata}, metadata_changed=True)

    def tombstone(self) -> Change:
        """Delete the context for writing."""
        return self._change({"status": "tombstoned"})

    def fork(self, **values: object) -> Change:
        """Begin the context as a fork that is forming, with *values* for its row."""
        return self.create(**{"status": "forming", "forked_from": b'["source",9]', **values})

    def activate(self, **values: object) -> Change:
        """Let the context that was forming be there, with *values* for its row."""
        return self._change({"status": "active", **values}, activates=True)

    def purge(self) -> Change:
        """Erase the context."""
        return self._change({"status": "purged"})

    def _change(self, values: dict[str, object], **content: object) -> Change:
        before = self.row.revision
        number = next(_commit_numbers)
        marks = {
            "revision": before + 1,
            "commit_id": number.to_bytes(16, "big"),
            "updated_at_us": BEGINNING_US + number,
        }
        self.row = replace(self.row, **{**marks, **values})
        return Change(row=self.row, expected_revision=before, **content)  # type: ignore[arg-type]  # as above


async def create(store: Store, *names: str) -> list[Author]:
    """Create contexts in *store*, in one commit."""
    authors = [Author(name) for name in names]
    await store.commit([author.create() for author in authors])
    return authors
