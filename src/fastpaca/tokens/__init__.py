"""
What a message costs, in tokens.

A `TokenCounter` counts a text, and `count_message` counts the pieces of a message with it. A
message is counted once, when it is appended. The counts are stored, so another counter or release
changes no existing window.

How pieces are counted:

- The text of a text part counts as text.
- Any other part counts as its JSON text. Providers turn parts into text by templates of their own,
  and the JSON is close to these and never much shorter.
- Binary data is not counted as text. An image counts by its pixels, a PDF by its pages, audio and
  video by their seconds, and a text file by its text, wherever in the part it is.
- Every other key of the message counts as its JSON text, except for a closed list of keys that
  never reach a model. Parts that only a page shows cost nothing. `fastpaca.shapes` lists both.
- Signatures and encrypted payloads cost 22 % of the tokens of their text.
- The message itself costs 3, and its role the tokens of its name.

The same message always has the same counts. Counting never fails and takes linear time on any
input; data that can't be read has a fixed price.
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
