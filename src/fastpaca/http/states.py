"""
The states of a connection, and every step between them.

A connection has two sides that move on their own: what is read, and what is written. A step that
is not in the tables is a defect and raises `KeyError`; the table is the whole truth, as in h11's
`_state.py`.

    READING   what has come                     WRITING   what was sent
    --------------------------------------      ------------------------------------------
    BETWEEN   nothing of the next request       QUIET     no response is owed
    HEAD      a part of its head                OWING     a request was handed out
    BODY      its head, a part of its body      SENDING   its response has begun
    DEAF      what comes is not read            CLOSED    nothing more is sent
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ReadState(StrEnum):
    """How far the newest request has come in."""

    BETWEEN = "between"
    HEAD = "head"
    BODY = "body"
    DEAF = "deaf"


class WriteState(StrEnum):
    """How far the response to the current request has gone out."""

    QUIET = "quiet"
    OWING = "owing"
    SENDING = "sending"
    CLOSED = "closed"


class ReadStep(StrEnum):
    """What moves the reading side."""

    BEGIN = "the first byte of a request"
    HEAD_END = "the end of its head"
    BODY_END = "the end of its body"
    LAST_END = "the end of the body of the last request"
    STOP = "a refusal, the end of the client's side, or the last request"


class WriteStep(StrEnum):
    """What moves the writing side."""

    HAND_OUT = "the application gets a request"
    TAKE_BACK = "the request turned out to be broken"
    BEGIN = "the head of its response"
    END = "the end of its response"
    CLOSE = "the end of the last response, a failure, or the end of the connection"


READS: Final[dict[ReadState, dict[ReadStep, ReadState]]] = {
    ReadState.BETWEEN: {ReadStep.BEGIN: ReadState.HEAD, ReadStep.STOP: ReadState.DEAF},
    ReadState.HEAD: {ReadStep.HEAD_END: ReadState.BODY, ReadStep.STOP: ReadState.DEAF},
    ReadState.BODY: {
        ReadStep.BODY_END: ReadState.BETWEEN,
        ReadStep.LAST_END: ReadState.DEAF,
        ReadStep.STOP: ReadState.DEAF,
    },
    ReadState.DEAF: {ReadStep.STOP: ReadState.DEAF},
}

WRITES: Final[dict[WriteState, dict[WriteStep, WriteState]]] = {
    WriteState.QUIET: {WriteStep.HAND_OUT: WriteState.OWING, WriteStep.CLOSE: WriteState.CLOSED},
    WriteState.OWING: {
        WriteStep.TAKE_BACK: WriteState.QUIET,
        WriteStep.BEGIN: WriteState.SENDING,
        WriteStep.CLOSE: WriteState.CLOSED,
    },
    WriteState.SENDING: {WriteStep.END: WriteState.QUIET, WriteStep.CLOSE: WriteState.CLOSED},
    WriteState.CLOSED: {WriteStep.CLOSE: WriteState.CLOSED},
}


# Python 3.11 takes half a microsecond to look a member up in its class. These are a tenth of that.
BETWEEN: Final = ReadState.BETWEEN
HEAD: Final = ReadState.HEAD
BODY: Final = ReadState.BODY
DEAF: Final = ReadState.DEAF
QUIET: Final = WriteState.QUIET
OWING: Final = WriteState.OWING
SENDING: Final = WriteState.SENDING
CLOSED: Final = WriteState.CLOSED


class Closing(StrEnum):
    """How a connection is to be closed."""

    NO = "no"
    SENT = "when everything was sent"
    LINGER = "end sending, and discard what still arrives until a deadline"
    ABORT = "at once"


OPEN: Final = Closing.NO
