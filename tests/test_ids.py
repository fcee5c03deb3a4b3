"""What a context id and an idempotency key may be, by the rules that all clients share."""

from __future__ import annotations

from typing import Any

import pytest

from fastpaca.ids import ID_BYTES_MAX, KEY_CHARS_MAX, id_fault, is_idempotency_key
from tests.client.rules import repeated, rules

LIMITS = rules("limits")


def test_limits_are_those_of_all_clients() -> None:
    """
    The longest id and the longest key are the same in every language.
    """
    assert LIMITS["id_bytes_max"] == ID_BYTES_MAX
    assert LIMITS["idempotency_key_chars_max"] == KEY_CHARS_MAX


@pytest.mark.parametrize("case", LIMITS["ids"], ids=str)
def test_an_id_is_any_text_that_fits_a_path(case: Any) -> None:
    """
    Slashes, percent signs, control characters and any script are part of an id.
    """
    assert id_fault(repeated(case, "id")) is None


@pytest.mark.parametrize("case", LIMITS["ids_refused"], ids=str)
def test_other_texts_are_named_by_their_fault(case: Any) -> None:
    """
    The fault reads on from "The context id".
    """
    if isinstance(case["id"], str):
        fault = id_fault(repeated(case, "id"))
        assert fault is not None
        assert fault.startswith(("is ", "has ", "contains "))


@pytest.mark.parametrize("case", LIMITS["idempotency_keys"], ids=str)
def test_a_key_is_printable_ascii(case: Any) -> None:
    """
    Words, spaces between them and every sign are.
    """
    assert is_idempotency_key(repeated(case, "key"))


@pytest.mark.parametrize("key", ["", "a\n", "a\x7fb", "ä", "k" * (KEY_CHARS_MAX + 1), 7])
def test_nothing_else_is_a_key(key: object) -> None:
    """
    Neither control characters, nor other scripts, nor what is too long.
    """
    assert not is_idempotency_key(key)
