"""
What a message costs, in tokens.

A `TokenCounter` counts a text, and `count_message` counts the pieces of a message with it. Both are
asked once, when a message comes in; the counts are stored, so that another counter or release
changes no existing window.

What counts how:

- The text of a text part counts as text.
- Any other part counts as its JSON text: what a provider makes of it is a template of its own, and
  the JSON is close to it and never much less.
- Binary data in it is left out of that text. Instead an image counts by its pixels, a PDF by its
  pages, sound and film by their seconds, a text file by its text, wherever in the part they stand.
- Every other key of the message counts as its JSON text, but for a closed list of keys that never
  reach a model; parts that only a page shows cost nothing. `fastpaca.shapes` lists both.
- Signatures and encrypted payloads cost 22 % of the tokens of their text.
- The message itself costs 3, and its role the tokens of its name.

The same message always has the same counts. No input makes counting fail, or take more than linear
time: what cannot be read has a stated price.
"""

from fastpaca.tokens.counter import CharsCounter, TiktokenCounter, TokenCounter, counter_for
from fastpaca.tokens.counts import count_message
from fastpaca.tokens.model import encoding_of

__all__ = [
    "CharsCounter",
    "TiktokenCounter",
    "TokenCounter",
    "count_message",
    "counter_for",
    "encoding_of",
]
