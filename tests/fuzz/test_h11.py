"""Bytes that a node and h11 read: the same requests, or a difference that has a reason."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.fuzz.differences import ENDS, LAXER, STRICTER, Difference, excused
from tests.fuzz.effort import Effort
from tests.fuzz.verdicts import h11s, ours
from tests.fuzz.wire import PROBE, requests


@pytest.mark.parametrize("row", [*STRICTER, *LAXER, *ENDS], ids=lambda row: row.reason)
def test_differences_are_those_of_the_table(row: Difference) -> None:
    """
    The example of each row is read differently, for the reason that it gives.
    """
    assert excused(row.example) == row


def test_valid_requests_are_read_alike() -> None:
    """
    A request that both take is the same for both, and so is the next one.
    """
    data = (
        b"POST /a?b=c HTTP/1.1\r\nHost: a\r\nA: b\r\nA:  c \r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\n0\r\nB: c\r\n\r\n"
    )
    assert ours(data + PROBE)[:2] == h11s(data + PROBE)[:2]
    assert len(ours(data + PROBE).requests) == 2


def test_h11_reads_the_same_requests(effort: Effort) -> None:
    """
    Whatever bytes come, a node and h11 read the same requests and refuse the same, up to the first
    difference that stands in a table with its reason.
    """

    @given(requests())
    def holds(data: bytes) -> None:
        assert excused(data) is not None, (ours(data), h11s(data))

    effort.attack(holds, few=300)
