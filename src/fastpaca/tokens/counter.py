"""
Counting the tokens of a text.

`TiktokenCounter` is exact for OpenAI's models and works offline: the vocabularies are compiled into
the tokenizer. `CharsCounter` needs nothing, and stands in for a tokenizer that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, Protocol

from fastpaca.tokens.model import encoding_of

CHARS_PER_TOKEN: Final = 4
"""Characters that make a token, roughly, in English prose; OpenAI's and Google's rule of thumb."""

# Not the text's fault: the process is ending, or out of memory.
_PASSING: Final = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


class TokenCounter(Protocol):
    """
    Counts the tokens of a text.

    It is asked from several threads at once, and the same text always has the same count.
    """

    @property
    def name(self) -> str:
        """What it is called, such as `tiktoken:o200k_base`; says so if it is approximate."""

    @property
    def approximate(self) -> bool:
        """Whether the model it stands for would count differently."""

    def count(self, text: str) -> int:
        """Count the tokens of *text*. Never fails."""

    def __hash__(self) -> int:
        """Tell it from other counters; the counts of roles are kept by it."""


class CharsCounter:
    """Takes four characters for a token. Needs no tokenizer."""

    name: Final = "chars"
    approximate: Final = True

    def count(self, text: str) -> int:
        """Count the tokens of *text*, roughly."""
        return -(-len(text) // CHARS_PER_TOKEN)


class TiktokenCounter:
    """
    Counts as OpenAI's tiktoken does, with toktok as its engine.

    Special tokens that are spelled out in a text, such as `<|endoftext|>`, count as the ordinary
    text that a provider takes them for.

    A vocabulary takes half a second to load. That is done at once, and so is the first count, for
    which tables are built: either would stall the requests of everybody if it were left to the
    first message.

    Texts are counted whole, whatever their length. The engine is linear on every input that was
    tried, and the parts of a text do not add up: a cut may fall inside of a token.
    """

    def __init__(
        self,
        encoding: str,
        approximate_for: str | None = None,
        load: Callable[[str], Callable[[str], int]] | None = None,
    ) -> None:
        """
        Load *encoding*, by default with toktok.

        *approximate_for* is the model that the encoding merely stands in for, if it does.

        Raises:
            ImportError: There is no tokenizer.
        """
        self.approximate: Final = approximate_for is not None
        remark = f" (approximate for {approximate_for})" if approximate_for is not None else ""
        self.name: Final = f"tiktoken:{encoding}{remark}"
        self._count: Final = (load or _toktok)(encoding)
        self._fallback: Final = CharsCounter()

    def count(self, text: str) -> int:
        """Count the tokens of *text*; by its characters if the tokenizer fails."""
        try:
            return self._count(text)
        except _PASSING:
            raise
        # A panic in Rust arrives as a BaseException that is no Exception. The message must be
        # stored all the same, and the same text fails in the same way every time.
        except BaseException:  # noqa: BLE001
            return self._fallback.count(text)


def _toktok(encoding: str) -> Callable[[str], int]:
    """
    Return the function of toktok that counts with *encoding*.

    What counts a single text at once is not public: the public function starts a pool of threads
    for every call and takes ten times as long. So the latter stands in where the former is gone.
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
    Make the counter that *spec* names: `chars`, or `tiktoken:` and a model or an encoding.

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
