"""Exports of stores in which things happen meanwhile, or that have lost something."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fastpaca.store.base import ChangesPage, PageBounds
from fastpaca.store.memory import MemoryStore
from fastpaca.testing import composed, running
from fastpaca.transfer.exporter import CannotTruncate, export_contexts
from fastpaca.transfer.file import PartialFile, StreamSink
from fastpaca.transfer.format import FORMAT, HeaderLine
from fastpaca.transfer.history import HistoryBroken
from fastpaca.transfer.reader import ExportReader
from tests.kit.author import Author
from tests.kit.messages import HELLO
from tests.kit.stores import opened
from tests.transfer.world import differences, exported, imported, nothing, save

HEADER = HeaderLine(FORMAT, "0.0.0", "somewhere", "")


class Busy(MemoryStore):
    """
    A store that gives small pages, and to which something happens between two of them.

    Attributes:
        purge_at: How many pages are read before the context that is read is purged.
    """

    purge_at = 0

    async def changes(
        self,
        context_id: str,
        after_version: int,
        to_version: int,
        bounds: PageBounds,
        *,
        with_bodies: bool = True,
    ) -> ChangesPage:
        self.purge_at -= 1
        if self.purge_at == 0 and context_id == "b":
            self._purge(context_id)
        return await super().changes(
            context_id, after_version, to_version, bounds._replace(rows=2), with_bodies=with_bodies
        )


async def _lived() -> Busy:
    store = Busy()
    async with running(composed(store)) as client:
        for name in ("a", "b", "c"):
            await client.put(f"/v1/contexts/{name}")
            await client.post(f"/v1/contexts/{name}/messages", json={"messages": [HELLO] * 6})
    return store


def _ids(text: bytes) -> list[str]:
    lines = map(json.loads, text.splitlines())
    return [line["id"] for line in lines if line["kind"] == "context"]


@pytest.mark.parametrize("purge_at", [4, 5, 6])
async def test_a_context_that_is_purged_meanwhile_leaves_nothing(
    tmp_path: Path, purge_at: int
) -> None:
    """
    What is erased while it is written is not in the file, however much of it was written.
    """
    store = await _lived()
    store.purge_at = purge_at
    file = PartialFile(tmp_path / "f", resume=False)
    await export_contexts(store, HEADER, ExportReader(), file, nothing)
    file.complete()
    file.close()
    assert _ids(_text(tmp_path / "f")) == ["a", "c"]
    await imported(MemoryStore(), tmp_path / "f")


def _text(path: Path) -> bytes:
    return path.read_bytes()


async def test_what_has_gone_down_a_stream_cannot_be_taken_back() -> None:
    """
    On a stream, a context is left out if it was purged before its first page, and else the export
    says that it failed.
    """
    store = await _lived()
    store.purge_at = 4
    assert _ids(await exported(store)) == ["a", "c"]
    store = await _lived()
    store.purge_at = 6
    with pytest.raises(CannotTruncate):
        await export_contexts(store, HEADER, ExportReader(), StreamSink(io.BytesIO()), nothing)


async def test_a_context_is_exported_as_it_was_when_its_row_was_read(tmp_path: Path) -> None:
    """
    What is appended while a context is written is not in the file, which fits together all the
    same.
    """

    class Growing(Busy):
        async def changes(
            self,
            context_id: str,
            after_version: int,
            to_version: int,
            bounds: PageBounds,
            *,
            with_bodies: bool = True,
        ) -> ChangesPage:
            async with node.client() as client:
                path = f"/v1/contexts/{context_id}/messages"
                await client.post(path, json={"message": HELLO})
            return await super().changes(
                context_id, after_version, to_version, bounds, with_bodies=with_bodies
            )

    store = Growing()
    node = composed(store)
    async with running(node) as client:
        await client.put("/v1/contexts/a")
        await client.post("/v1/contexts/a/messages", json={"messages": [HELLO] * 6})
        save(tmp_path / "f", await exported(store))
    target = MemoryStore()
    await imported(target, tmp_path / "f")
    assert await differences(target, tmp_path / "f") == []
    (row,) = await target.contexts("", "", 9)
    assert row.version == 6


async def test_a_lost_message_is_noticed() -> None:
    """
    A store that has lost a version is told so, and which.
    """
    store = await _lived()
    del store._contexts["b"].messages[3]
    with pytest.raises(HistoryBroken, match="has lost version 4 of the context 'b'"):
        await exported(store)


async def test_what_cannot_be_read_again_is_not_exported() -> None:
    """
    A damaged body is noticed by the export, not by who imports it.
    """
    store = MemoryStore()
    async with opened(store):
        author = Author("a")
        await store.commit([author.create()])
        await store.commit([author.append(b'{"role":"user","parts":[]')])
    with pytest.raises(
        HistoryBroken, match="the store has rows of the context 'a' that no node can read"
    ):
        await exported(store)
