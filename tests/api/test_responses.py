"""Responses and frames, byte for byte."""

from __future__ import annotations

import json

import pytest

from fastpaca.api.errors import body
from fastpaca.api.frames import text
from fastpaca.errors import FastpacaError, InvalidRequest, Tombstoned, VersionConflict
from fastpaca.stream.subscription import (
    AnyFrame,
    CompactionFrame,
    GapFrame,
    MessageFrame,
    PingFrame,
)

MESSAGE = b'{"seq":1,"a": 1.0,"b":12345678901234567890123}'


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            MessageFrame(version=2, cursor=1, seq=1, body=MESSAGE),
            b'{"type":"message","version":2,"seq":1,"message":%b,"cursor":1}' % MESSAGE,
        ),
        (
            CompactionFrame(2, 1, "manual", None, None, tokens_before=5, tokens_after=0),
            (
                b'{"type":"compaction","version":2,"range":null,"strategy":"manual",'
                b'"used_tokens_before":5,"used_tokens_after":0,"cursor":1}'
            ),
        ),
        (
            GapFrame(expected=3, actual=5, cursor=4),
            b'{"type":"gap","expected":3,"actual":5,"cursor":4}',
        ),
        (PingFrame(4), b'{"type":"ping","cursor":4}'),
    ],
)
def test_frames_are_these_bytes(frame: AnyFrame, expected: bytes) -> None:
    """
    Frames have no spaces of their own, their fields in order, and messages as they are stored.
    """
    assert text(frame) == expected


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (Tombstoned(), {}),
        (InvalidRequest("No.", "message.parts[2]"), {"field": "message.parts[2]"}),
        (VersionConflict(expected=0, found=2**53 - 1), {"expected": 0, "found": 2**53 - 1}),
    ],
)
def test_an_error_has_the_fields_of_its_own_and_no_other(
    error: FastpacaError, fields: dict[str, object]
) -> None:
    """
    What does not apply to an error is left out of it.
    """
    written = {"error": error.code, "message": error.message, **fields}
    assert body(error) == json.dumps(written, separators=(",", ":")).encode()
