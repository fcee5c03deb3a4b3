"""
A worker that keeps conversations within their budgets by summaries of a model.

    pip install -r requirements.txt
    python summariser.py demo

It follows each conversation. When the window is above its trigger, the old part of it is replaced
by a summary; the message log stays whole. It keeps no state: whoever follows a conversation is told
first how full its window is, so a worker that was away finds what there is to do. If two of them
run, the one that comes second finds that the window has changed and leaves it as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from openai import AsyncOpenAI, OpenAIError

from fastpaca import AsyncContext, AsyncFastpaca, ContextFrame, FastpacaError, Message
from fastpaca.formats import render

INSTRUCTION: Final = (
    "Summarise this part of a conversation. Keep names, facts, decisions and open questions."
)
REQUEST: Final = "Write the summary of everything above."
INTRODUCTION: Final = "Summary of the conversation so far: "

RETRY_SECONDS: Final = 2.0

logger = logging.getLogger("summariser")


class Summariser:
    """
    Compacts contexts with summaries.

    Args:
        model_name: The model that writes them.
        keep_last: How many of the newest messages stay word for word, at least.
    """

    def __init__(
        self, fastpaca: AsyncFastpaca, model: AsyncOpenAI, model_name: str, keep_last: int
    ) -> None:
        self._fastpaca = fastpaca
        self._model = model
        self._model_name = model_name
        self._keep_last = keep_last

    async def run(self, context_ids: Sequence[str]) -> None:
        """Follow these contexts until they are deleted."""
        async with asyncio.TaskGroup() as group:
            for context_id in context_ids:
                group.create_task(self.follow(context_id))

    async def follow(self, context_id: str) -> None:
        """Compact a context whenever its window is too full, until it is deleted."""
        # The default policy drops what is old before anybody can summarise it; this one waits.
        context = await self._fastpaca.context(context_id, policy="manual")
        async with context.stream(include_messages=False) as stream:
            async for frame in stream:
                if isinstance(frame, ContextFrame) and frame.needs_compaction:
                    await self.compact(context)

    async def compact(self, context: AsyncContext) -> None:
        """Replace the old messages of the window, as soon as there is a summary to be had."""
        while True:
            try:
                done = await context.compact_if_needed(self.summarise, keep_last=self._keep_last)
            except (OpenAIError, FastpacaError) as error:
                logger.warning("%s: no summary yet: %s", context.id, error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if done is not None:
                    logger.info("%s: compacted, version %d", context.id, done.version)
                return

    async def summarise(self, messages: list[Message]) -> str:
        """Ask the model for a summary; an earlier one among *messages* goes into it."""
        answer = await self._model.chat.completions.create(
            model=self._model_name,
            messages=[
                {"role": "system", "content": INSTRUCTION},
                *render(messages, "openai-chat").messages,
                {"role": "user", "content": REQUEST},
            ],
        )
        return INTRODUCTION + (answer.choices[0].message.content or "")


async def work(options: argparse.Namespace) -> None:
    """Work until interrupted."""
    # The address of the model and the key are in OPENAI_BASE_URL and OPENAI_API_KEY.
    async with AsyncFastpaca(options.fastpaca) as fastpaca, AsyncOpenAI() as model:
        summariser = Summariser(fastpaca, model, options.model, options.keep_last)
        await summariser.run(options.contexts)


def main() -> None:
    """Read what is asked for, and begin."""
    parser = argparse.ArgumentParser(description="Summarises conversations that grow too long.")
    parser.add_argument("contexts", nargs="+", metavar="CONTEXT", help="ids of conversations")
    parser.add_argument("--fastpaca", default="http://127.0.0.1:4000", help="address of a node")
    parser.add_argument("--model", default="gpt-4o-mini", help="what model writes summaries")
    parser.add_argument("--keep-last", type=int, default=6, help="messages to keep as they are")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    with suppress(KeyboardInterrupt):
        asyncio.run(work(options))


if __name__ == "__main__":
    main()
