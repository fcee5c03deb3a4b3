"""One conversation: what was said is in fastpaca, the answer that is being written is here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import uuid4

from openai import APIError, AsyncOpenAI, OpenAIError
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessageParam

from fastpaca import (
    AsyncContext,
    AsyncFastpaca,
    ContextFrame,
    FastpacaError,
    MessageFrame,
    ProviderView,
    RewindFrame,
    VersionConflict,
)

SYSTEM_PROMPT: Final = "You are a friendly assistant. Answer briefly."

SENT: Final = frozenset({"kept", "task", "cut", "stripped"})
"""What became of a message that the model is sent; the system prompt is `pinned`."""

Event = dict[str, Any]

writing: Final[set[asyncio.Task[None]]] = set()
"""The answers that are being written, so that they outlive the requests that asked for them."""


class Busy(Exception):
    """An answer is being written already."""


class BrokenOff(OpenAIError):
    """The model stopped in the middle of its answer."""


class Back(NamedTuple):
    """
    Where to go back to.

    Attributes:
        to_version: The conversation becomes what it was after this version.
        if_version: The version that the page shows; if it is not the current one, nothing is done.
    """

    to_version: int
    if_version: int


@dataclass
class Draft:
    """An answer that is being written. Once it is complete it becomes a message."""

    id: str
    text: str = ""
    usage: CompletionUsage | None = None
    error: str | None = None


class Conversation:
    """
    A context of fastpaca, and the model that answers in it.

    Args:
        name: The id of the context.
        budget: How many tokens the model is sent at most.
    """

    def __init__(
        self, name: str, fastpaca: AsyncFastpaca, model: AsyncOpenAI, model_name: str, budget: int
    ) -> None:
        self._name = name
        self._fastpaca = fastpaca
        self._model = model
        self._model_name = model_name
        self._budget = budget
        self._draft: Draft | None = None
        self._changed = asyncio.Event()

    async def open(self) -> AsyncContext:
        """Create the context if it is new, with the system prompt at its beginning."""
        context = await self._fastpaca.context(self._name, budget=self._budget)
        if (await context.info()).version == 0:
            prompt = {"role": "system", "content": SYSTEM_PROMPT}
            with suppress(VersionConflict):  # another process was first
                await context.append(prompt, if_version=0)
        return context

    # --- for people: the path ---

    async def page(self, offset: int, limit: int) -> Event:
        """
        Return *limit* messages of the path, without the *offset* newest, and where to follow from.

        `branches` are the ends of what was left by going back: versions to go back to.
        """
        context = await self.open()
        # Read first, so that a message which arrives meanwhile comes twice and not never.
        version = (await context.info()).version
        messages = await context.get_tail(offset=offset, limit=limit, path="current")
        return {
            "messages": messages,
            "has_earlier": len(messages) == limit,
            "cursor": version,
            "branches": [branch.version for branch in await context.branches()],
        }

    async def frames(self, cursor: int) -> AsyncGenerator[Event, None]:
        """Yield each change after *cursor* once, and how full the window is."""
        context = await self.open()
        async with context.stream(cursor=cursor) as stream:
            async for frame in stream:
                revises = isinstance(frame, MessageFrame) and frame.revises is not None
                if isinstance(frame, RewindFrame) or revises:
                    yield {"type": "path", "cursor": frame.cursor}  # read it again
                elif isinstance(frame, MessageFrame):
                    yield {"type": "message", "message": frame.message, "cursor": frame.cursor}
                elif isinstance(frame, ContextFrame):
                    yield {
                        "type": "context",
                        "used_tokens": frame.used_tokens,
                        "token_budget": frame.token_budget,
                        "cursor": frame.cursor,
                    }

    # --- for the model: the LLM context ---

    async def say(self, message_id: str, text: str, back: Back | None) -> None:
        """
        Append what the user says, and begin to answer; to edit a question, go *back* before it.

        Raises:
            Busy: An answer is being written. Nothing was appended.
            VersionConflict: There is something that the page does not show. Nothing was appended.
        """
        await self._begin({"id": message_id, "role": "user", "content": text}, back)

    async def answer(self, back: Back | None) -> None:
        """
        Begin to answer the conversation as it stands; to regenerate, go *back* to the question.

        Raises:
            Busy: An answer is being written.
            VersionConflict: There is something that the page does not show.
        """
        await self._begin(None, back)

    async def go_back(self, back: Back) -> None:
        """
        Show the conversation as it was after a version, which can be the end of a branch.

        Raises:
            Busy: An answer is being written.
            VersionConflict: There is something that the page does not show.
        """
        self._refuse_if_busy()
        self._draft = None  # an answer that failed is not missing there
        self._tell()
        await (await self.open()).rewind(**back._asdict())

    def _refuse_if_busy(self) -> None:
        if self._draft is not None and self._draft.error is None:
            raise Busy

    async def _begin(self, message: Mapping[str, Any] | None, back: Back | None) -> None:
        self._refuse_if_busy()
        draft = self._draft = Draft(id=uuid4().hex)  # from here on, others are told to wait
        self._tell()
        try:
            context = await self.open()
            if back is not None:
                await context.rewind(**back._asdict())
            if message is not None:
                # A page that had no answer sends its message again, under the same id.
                key = f"{self._name}/{message['id']}"
                await context.append(message, idempotency_key=key)
        except VersionConflict:
            self._end(draft, None)
            raise
        except FastpacaError as error:
            self._end(draft, str(error))
            raise
        # A task of its own: the answer is finished and kept whether or not pages stay to see it.
        task = asyncio.create_task(self._write(context, draft))
        writing.add(task)
        task.add_done_callback(writing.discard)

    async def _write(self, context: AsyncContext, draft: Draft) -> None:
        """Ask the model, and append its answer when that is complete. Half an answer is none."""
        reason: str | None = "The answer was not written."
        try:
            view = await context.context(
                format="openai-chat", budget_tokens=self._budget, explain=True
            )
            async for piece in self._ask(view.messages, draft):
                draft.text += piece
                self._tell()
            await context.append(
                {
                    "id": draft.id,
                    "role": "assistant",
                    "content": draft.text,
                    "metadata": {"sent": what_was_sent(view)},
                },
                usage=draft.usage,
            )
            reason = None
        except (OpenAIError, FastpacaError) as error:
            reason = error.message if isinstance(error, APIError) else str(error)
        finally:
            self._end(draft, reason)

    async def _ask(
        self, messages: list[ChatCompletionMessageParam], draft: Draft
    ) -> AsyncIterator[str]:
        """Send the LLM context to the model, and give its answer piece by piece."""
        chunks = await self._model.chat.completions.create(
            model=self._model_name,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
        )
        finished = False
        async with chunks:
            async for chunk in chunks:
                draft.usage = chunk.usage
                for choice in chunk.choices:
                    finished = finished or choice.finish_reason is not None
                    if choice.delta.content:
                        yield choice.delta.content
        if not finished:
            raise BrokenOff("The model broke off in the middle of its answer.")

    # --- the answer as it grows ---

    async def drafts(self) -> AsyncGenerator[Event, None]:
        """Give the state of the answer, and its text as it grows: first all that there is of it."""
        told, length = "", 0
        while True:
            changed, draft = self._changed, self._draft
            if draft is None:
                yield {"type": "answer", "state": "none"}
            elif draft.error is not None:
                yield {"type": "answer", "state": "failed", "id": draft.id, "error": draft.error}
            else:
                length = length if draft.id == told else 0
                piece = draft.text[length:]
                yield {"type": "answer", "state": "growing", "id": draft.id, "text": piece}
                told, length = draft.id, length + len(piece)
            await changed.wait()

    def _tell(self) -> None:
        """Wake everybody who looks on."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _end(self, draft: Draft, error: str | None) -> None:
        draft.error = error
        self._draft = None if error is None else draft
        self._tell()


def what_was_sent(view: ProviderView[Any, Any]) -> dict[str, int]:
    """Tell how much of the conversation the model was sent; pages show it under the answer."""
    sent = [found.from_seq for found in view.explained or () if found.state in SENT]
    return {
        "messages": len(view.messages),
        "tokens": view.used_tokens,
        "from_seq": min(sent, default=1),
    }
