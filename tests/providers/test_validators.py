"""The validators themselves: what is valid passes, and each planted fault is found by its rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.providers import anthropic
from tests.providers.planted import PROVIDERS, Planted

FAULTS = [
    pytest.param(name, fault, id=f"{name}-{number}-{fault.rule}")
    for name, provider in PROVIDERS.items()
    for number, fault in enumerate(provider.faults)
]


@pytest.mark.parametrize("name", PROVIDERS)
def test_valid_list_is_accepted(name: str) -> None:
    """
    A list with all that a provider allows has no violations.
    """
    provider = PROVIDERS[name]
    assert provider.violations(provider.valid) == []


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_planted_fault_is_refused(name: str, fault: Planted) -> None:
    """
    Each way to spoil a valid list is refused, by the rule that it breaks.
    """
    provider = PROVIDERS[name]
    rules = {found.rule for found in provider.violations(provider.spoiled(fault))}
    assert fault.rule in rules


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_rule_has_a_planted_fault(name: str) -> None:
    """
    No rule of a validator is left without a fault that proves it.
    """
    module = name.replace("-", "_")
    source = (Path(__file__).parent / f"{module}.py").read_text()
    rules = set(re.findall(r'Violation\(\s*"([a-z-]+)"', source))
    untestable = {"too-many-messages", "system-form", "system-block"}
    assert rules - {fault.rule for fault in PROVIDERS[name].faults} <= untestable


def test_system_of_anthropic_holds_texts() -> None:
    """
    The field `system` is a string, or text blocks that are not blank.
    """
    assert anthropic.system_violations("Be brief.") == []
    assert anthropic.system_violations([{"type": "text", "text": "Be brief."}]) == []
    assert anthropic.system_violations([{"type": "text", "text": " "}])[0].rule == "system-block"
    assert anthropic.system_violations([{"type": "image"}])[0].rule == "system-block"
    assert anthropic.system_violations(None)[0].rule == "system-form"


def test_too_many_messages_are_refused() -> None:
    """
    Anthropic takes 100,000 messages and no more.
    """
    turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    messages = [*turn * 50_000, turn[0]]
    assert "too-many-messages" in {found.rule for found in anthropic.violations(messages)}
