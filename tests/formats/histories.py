"""Random conversations in which everything goes wrong that does in real ones."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

from tests.kit.messages import user
from tests.rules.author import Author
from tests.rules.forms import FORMS, SERVED_ROWS

WORDS: Final = ("so", "so", "so far", "", " ", "12 km")


def history(seed: int, size: int | None = None) -> list[dict[str, Any]]:
    """
    Return a conversation in one to three forms of the table of shapes.

    It ends with a question, so that no call runs any more.
    """
    rng = Random(seed)
    forms = rng.sample(list(FORMS.values()), rng.randint(1, 3))
    author = Author(rng, forms, SERVED_ROWS, lambda: rng.choice(WORDS))
    messages = [author.next().message for _ in range(size or rng.choice((5, 10, 30)))]
    listed: list[dict[str, Any]] = json.loads(json.dumps([*messages, user("Go on?")]))
    return [{"seq": seq, **message} for seq, message in enumerate(listed, 1)]
