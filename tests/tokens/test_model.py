"""Names of models, and the encodings they mean."""

from __future__ import annotations

import pytest
import tiktoken.model

from fastpaca.tokens import encoding_of

O200K = """
    gpt-4o gpt-4o-mini gpt-4o-2024-08-06 gpt-4o-audio-preview chatgpt-4o-latest gpt-4.1 gpt-4.1-mini
    gpt-4.1-nano-2025-04-14 gpt-4.5-preview gpt-5 gpt-5-mini gpt-5.1 gpt-5.6-codex gpt-oss-20b
    gpt-oss-120b gpt-audio gpt-realtime codex-mini-latest computer-use-preview o1 o1-mini o1-preview
    o1-2024-12-17 o3 o3-mini o3-pro o4-mini o4-mini-2025-04-16 ft:gpt-4o-mini-2024-07-18:org::id
    ft:gpt-4o:org/team::id ft:gpt-4.1-2025-04-14:org:name:id openai/gpt-4o openrouter/openai/o3-mini
    GPT-4o o200k_base o200k_harmony O200K_BASE
"""
CL100K = """
    gpt-4 gpt-4-0613 gpt-4-32k gpt-4-turbo gpt-4-turbo-2024-04-09 gpt-4-vision-preview gpt-3.5
    gpt-3.5-turbo gpt-3.5-turbo-0125 gpt-3.5-turbo-16k gpt-35-turbo gpt-35-turbo-16k
    text-embedding-3-small text-embedding-3-large text-embedding-ada-002 davinci-002 babbage-002
    ft:gpt-4-0613:org::id ft:gpt-3.5-turbo-0125:org:name:id azure/gpt-4 cl100k_base
"""
APPROXIMATE = """
    claude-3-5-sonnet-20241022 claude-opus-4-1 us.anthropic.claude-sonnet-4-20250514-v1:0 opus
    anthropic/claude-haiku-4.5 gemini-2.5-pro models/gemini-1.5-flash gemma-3-27b-it
    meta-llama/Llama-3.1-8B-Instruct llama3.3:70b codellama:13b mistral-large-latest
    mixtral-8x7b codestral-2501 qwen2.5-72b-instruct Qwen/QwQ-32B deepseek-chat deepseek-reasoner
    grok-4 command-r-plus kimi-k2 glm-4.6 phi-4 amazon.nova-pro-v1:0 gpt-6 gpt-4.7 gpt-2 o5-mini
"""


@pytest.mark.parametrize("model", O200K.split())
def test_new_openai_models_are_exact_in_o200k(model: str) -> None:
    """
    Models of OpenAI since GPT-4o, dated and fine-tuned ones included, read o200k_base.
    """
    assert encoding_of(model) == ("o200k_base", False)


@pytest.mark.parametrize("model", CL100K.split())
def test_older_openai_models_are_exact_in_cl100k(model: str) -> None:
    """
    Models of OpenAI from GPT-3.5 to GPT-4, and the embeddings, read cl100k_base.
    """
    assert encoding_of(model) == ("cl100k_base", False)


@pytest.mark.parametrize("model", APPROXIMATE.split())
def test_models_of_unknown_vocabulary_are_approximate(model: str) -> None:
    """
    Other vendors' models, and OpenAI's that are not published yet, are counted by o200k_base.
    """
    assert encoding_of(model) == ("o200k_base", True)


def test_the_mapping_agrees_with_that_of_tiktoken() -> None:
    """
    Every model that tiktoken maps to one of the two encodings is mapped to it here, and exactly.
    """
    theirs = {**tiktoken.model.MODEL_TO_ENCODING, **tiktoken.model.MODEL_PREFIX_TO_ENCODING}
    for model, encoding in theirs.items():
        if encoding in ("o200k_base", "cl100k_base", "o200k_harmony"):
            expected = encoding.replace("o200k_harmony", "o200k_base")
            assert encoding_of(model) == (expected, False), model


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("gtp-4o", "gpt-4o"),
        ("cluade", "claude"),
        ("p50k_base", "o200k_base"),
        ("cl10k_base", "cl100k_base"),
        ("supernova", "nova"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest(model: str, nearest: str) -> None:
    """
    A name that nobody has raises a sentence with the nearest that somebody has.
    """
    with pytest.raises(ValueError, match=f"{model!r} is known; the closest is {nearest!r}"):
        encoding_of(model)
