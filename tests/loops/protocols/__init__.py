"""How the scripted model is spoken to: one protocol of a provider a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tests.loops.script import Asked, Json, Reply


class Wire(Protocol):
    """
    A provider's protocol.

    Attributes:
        format: The format of its messages.
        path: The end of the path that requests go to, without a query.
    """

    format: str
    path: str

    def messages(self, body: Json) -> list[Json]:
        """Return the messages of a request, its instructions aside."""
        ...

    def system(self, body: Json) -> str:
        """Return the text of the instructions that stand apart from the messages."""
        ...

    def asked(self, body: Json) -> Asked:
        """Return what a request asks for."""
        ...

    def stream(self, body: Json, reply: Reply, number: int) -> Iterator[Json | str]:
        """Return the events of an answer: objects, each with its `type` if events have names."""
        ...

    def refused(self, status: int) -> Json:
        """Return the body of an answer that refuses."""
        ...


def input_tokens(body: Json) -> int:
    """Return a number of tokens that grows with what a request holds."""
    return len(str(body)) // 4
