"""
Count the tokens of a text.

`TiktokenCounter` is exact for OpenAI's models and works offline: the vocabularies are compiled into
the tokenizer. `CharsCounter` needs no tokenizer, and is the fallback when a tokenizer fails.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, Protocol

from fastpaca.tokens.model import encoding_of

CHARS_PER_TOKEN: Final = 4
"""The characters of a token, roughly, in English prose; OpenAI's and Google's rule of thumb."""

# The text doesn't cause these: the process is ending, or out of memory.
_UNRELATED: Final = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


class TokenCounter(Protocol):
    """
    Counts the tokens of a text.

    Several threads use it at once. The same text always has the same count.
    """

    @property
    def name(self) -> str:
        """The name, such as `tiktoken:o200k_base`; it says if the counts are approximate."""

    @property
    def approximate(self) -> bool:
        """Whether the model's own tokenizer would count differently."""

    def count(self, text: str) -> int:
        """Count the tokens of *text*. Never fails."""

    def __hash__(self) -> int:
        """Identify the counter in the cache of role counts."""


class CharsCounter:
    """Counts four characters as a token, without a tokenizer."""

    name: Final = "chars"
    approximate: Final = True

    def count(self, text: str) -> int:
        """Count the tokens of *text*, roughly."""
        return -(-len(text) // CHARS_PER_TOKEN)


class TiktokenCounter:
    """
    Counts as OpenAI's tiktoken does, with toktok as its engine.

    Special tokens that a text spells out, such as `<|endoftext|>`, count as ordinary text, as they
    do for a provider.

    A vocabulary takes half a second to load. The constructor loads it, and counts once to build the
    tables; otherwise the first message would stall all requests.

    Texts of any length are counted whole. The engine is linear on every input that was tried, and
    the counts of pieces don't add up, because a cut may fall inside a token.
    """

    def __init__(
        self,
        encoding: str,
        approximate_for: str | None = None,
        load: Callable[[str], Callable[[str], int]] | None = None,
    ) -> None:
        """
        Load *encoding*, by default with toktok.

        *approximate_for* is the model that the encoding only approximates, if it does.

        Raises:
            ImportError: The tokenizer is not installed.
        """
        self.approximate: Final = approximate_for is not None
        suffix = f" (approximate for {approximate_for})" if approximate_for is not None else ""
        self.name: Final = f"tiktoken:{encoding}{suffix}"
        self._count: Final = (load or _toktok)(encoding)
        self._fallback: Final = CharsCounter()

    def count(self, text: str) -> int:
        """Count the tokens of *text*; by its characters if the tokenizer fails."""
        try:
            return self._count(text)
        except _UNRELATED:
            raise
        # A Rust panic is a BaseException and not an Exception. The message must still be stored,
        # and the same text fails in the same way every time.
        except BaseException:  # noqa: BLE001
            return self._fallback.count(text)


def _toktok(encoding: str) -> Callable[[str], int]:
    """
    Return toktok's function that counts with *encoding*.

    The function for a single text is not public. The public one starts a thread pool for every
    call and takes ten times as long, so it is only the fallback.
    """
    toktok: Any = import_module("toktok")
    try:
        count: Callable[[str], int] = toktok._encoding(encoding).count  # noqa: SLF001
        count("Build the tables.")
    except (AttributeError, TypeError):
        return lambda text: int(toktok.batch_count([text], encoding, threads=1)[0])
    return count


def counter_for(spec: str) -> TokenCounter:
    """
    Return the counter that *spec* names: `chars`, or `tiktoken:` and a model or an encoding.

    Raises:
        ValueError: There is no such counter, or its tokenizer is not installed. The message is a
            sentence that says what would be right.
    """
    if spec == "chars":
        return CharsCounter()
    scheme, _, model = spec.partition(":")
    if scheme != "tiktoken" or not model:
        raise ValueError(
            f"There is no token counter {spec!r}; the closest is {_nearest(spec.lower())}."
        )
    encoding, approximate = encoding_of(model)
    try:
        return TiktokenCounter(encoding, approximate_for=model if approximate else None)
    except ImportError:
        raise ValueError(
            f"The token counter {spec!r} needs the package toktok-rs, which is not installed;"
            " install 'fastpaca[server]', or use 'chars'."
        ) from None


def _nearest(spec: str) -> str:
    nearest = get_close_matches(spec, ("chars", "tiktoken:gpt-4o"), n=1, cutoff=0)[0]
    if nearest == "chars":
        return "'chars'"
    try:
        encoding_of(spec)
    except ValueError:
        return "'tiktoken:' with a model, such as 'tiktoken:gpt-4o'"
    return f"'tiktoken:{spec}'"
