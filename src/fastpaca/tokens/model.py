"""
The vocabulary of a model.

OpenAI publishes the vocabularies of its models, so their counts are exact. Those of other vendors
are secret, or large files; their texts are counted with OpenAI's newest one, as an approximation.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

O200K: Final = "o200k_base"
CL100K: Final = "cl100k_base"

# Harmony is o200k_base with more special tokens, and those count as ordinary text here.
_ENCODINGS: Final = {O200K: O200K, CL100K: CL100K, "o200k_harmony": O200K}

# As in tiktoken's own table, but always by prefix, which covers names with a date or a size.
_OPENAI: Final = (
    (
        re.compile(
            r"(chatgpt|codex|computer-use|gpt-(4o|4\.1|4\.5|5|audio|oss|realtime)|o[134])"
            r"(?![0-9a-z])"
        ),
        O200K,
    ),
    (
        re.compile(
            r"(gpt-(4|35|3\.5)|text-embedding-(3|ada-002)|davinci-002|babbage-002)"
            r"(?![0-9a-z.])"
        ),
        CL100K,
    ),
)

# Anywhere in a name, since clouds add regions, vendors and sizes before and after.
_OTHERS: Final = (
    *("claude", "anthropic", "opus", "sonnet", "haiku"),
    *("gemini", "gemma", "palm", "learnlm"),
    *("llama", "mistral", "mixtral", "ministral", "magistral", "codestral", "devstral", "pixtral"),
    *("qwen", "qwq", "deepseek", "kimi", "moonshot", "glm", "minimax", "doubao", "hunyuan"),
    *("ernie", "baichuan", "yi-", "internlm", "grok", "command", "cohere", "aya", "jamba"),
    *("nova", "titan", "phi-", "granite", "nemotron", "olmo", "falcon", "sonar", "solar", "hermes"),
)
_OTHER: Final = re.compile(rf"(?<![a-z])(code|open)?({'|'.join(_OTHERS)})|^gpt-|^o\d")

_KNOWN: Final = (
    *_ENCODINGS,
    *("gpt-5", "gpt-4.1", "gpt-4o", "gpt-4", "gpt-3.5-turbo", "gpt-oss", "o1", "o3", "o4-mini"),
    *("chatgpt-4o-latest", "text-embedding-3-small", "text-embedding-3-large"),
    *_OTHERS,
)


def encoding_of(model: str) -> tuple[str, bool]:
    """
    Return the encoding of *model*, which may also be the name of an encoding.

    Returns:
        The encoding, and whether it is only an approximation.

    Raises:
        ValueError: The name is unknown; the message names the nearest known one.
    """
    name = model.strip().lower()
    if name in _ENCODINGS:
        return _ENCODINGS[name], False
    tuned = name.removeprefix("ft:")
    bare = name.rsplit("/", 1)[-1].removeprefix("ft:")
    for pattern, encoding in _OPENAI:
        if pattern.match(bare) or pattern.match(tuned):
            return encoding, False
    if _OTHER.search(bare) or _OTHER.search(tuned):
        return O200K, True
    nearest = get_close_matches(bare, _KNOWN, n=1, cutoff=0)[0]
    raise ValueError(f"No model or encoding named {model!r} is known; the closest is {nearest!r}.")
