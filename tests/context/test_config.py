"""How a context is configured, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastpaca.context import Config, LastN, Manual, Policy, SkipParts
from fastpaca.context.config import (
    STRATEGIES,
    parse_factor,
    parse_policy,
    parse_ratio,
    policy_text,
    strategy_of,
)
from fastpaca.errors import InvalidRequest
from tests.kit.messages import encoded

POLICIES: list[tuple[dict[str, Any], Policy]] = [
    ({"strategy": "last_n"}, LastN(200, 0.5, True)),
    ({"strategy": "last_n", "config": {}}, LastN()),
    ({"strategy": "last_n", "config": {"limit": 1, "start_on_user": False}}, LastN(1, 0.5, False)),
    ({"strategy": "last_n", "config": {"target_ratio": 1}}, LastN(200, 1.0)),
    ({"config": {"limit": 2**53 - 1}, "strategy": "last_n"}, LastN(2**53 - 1)),
    ({"strategy": "skip_parts"}, SkipParts(("tool", "reasoning"), 200, 0.5, True)),
    ({"strategy": "skip_parts", "config": {"skip_kinds": []}}, SkipParts(())),
    ({"strategy": "skip_parts", "config": {"skip_kinds": ["é"], "limit": 5}}, SkipParts(("é",), 5)),
    ({"strategy": "manual"}, Manual()),
    ({"strategy": "manual", "config": {}}, Manual()),
]


@pytest.mark.parametrize(("text", "policy"), POLICIES, ids=str)
def test_policies_are_read_with_their_defaults(text: dict[str, Any], policy: Policy) -> None:
    """
    A policy is a strategy and its configuration; what is left out has a default.
    """
    read = parse_policy(encoded(text))
    assert read == policy
    assert type(read) is type(policy)


@pytest.mark.parametrize("policy", [policy for _, policy in POLICIES])
def test_a_policy_that_was_written_reads_as_it_was(policy: Policy) -> None:
    """
    A policy is written in full, defaults filled in.
    """
    text = policy_text(policy)
    assert parse_policy(text) == policy
    assert json.loads(text)["strategy"] == strategy_of(policy)
    assert list(json.loads(text)["config"]) == list(policy._fields)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_key_of_a_policy_can_be_sent(strategy: str) -> None:
    """
    A policy that is written in full can be read: each of its keys has a parser of its own.
    """
    policy = STRATEGIES[strategy]()
    assert parse_policy(policy_text(policy)) == policy


REFUSED: list[tuple[Any, str, str]] = [
    ([], "policy", "not a list"),
    ({}, "policy.strategy", "last_n"),
    ({"strategy": "last"}, "policy.strategy", "Unknown strategy 'last'; did you mean 'last_n'"),
    ({"strategy": 5}, "policy.strategy", "not a number"),
    ({"strategy": None}, "policy.strategy", "not null"),
    ({"strategy": "manual", "conf": {}}, "policy.conf", "did you mean 'config'"),
    ({"strategy": "manual", "config": {"limit": 5}}, "policy.config.limit", "no configuration"),
    ({"strategy": "manual", "config": None}, "policy.config", "not null"),
    ({"strategy": "last_n", "config": {"limt": 5}}, "policy.config.limt", "did you mean 'limit'"),
    ({"strategy": "last_n", "config": {"skip_kinds": []}}, "policy.config.skip_kinds", "Unknown"),
    ({"strategy": "last_n", "config": {"limit": 0}}, "policy.config.limit", "from 1 to"),
    ({"strategy": "last_n", "config": {"limit": 2.0}}, "policy.config.limit", "fraction"),
    ({"strategy": "last_n", "config": {"limit": True}}, "policy.config.limit", "not a boolean"),
    ({"strategy": "last_n", "config": {"limit": None}}, "policy.config.limit", "not null"),
    (
        {"strategy": "last_n", "config": {"target_ratio": 0}},
        "policy.config.target_ratio",
        "above 0",
    ),
    (
        {"strategy": "last_n", "config": {"start_on_user": 1}},
        "policy.config.start_on_user",
        "true or false",
    ),
    (
        {"strategy": "skip_parts", "config": {"skip_kinds": "tool"}},
        "policy.config.skip_kinds",
        "not a string",
    ),
    (
        {"strategy": "skip_parts", "config": {"skip_kinds": ["tool", 5]}},
        "policy.config.skip_kinds[1]",
        "not a number",
    ),
    (
        {"strategy": "skip_parts", "config": {"skip_kinds": [""]}},
        "policy.config.skip_kinds[0]",
        "empty",
    ),
]


@pytest.mark.parametrize(("text", "field", "says"), REFUSED, ids=str)
def test_a_refusal_names_field_and_reason(text: Any, field: str, says: str) -> None:
    """
    What cannot be used is refused with the path, the reason, and the nearest known name.
    """
    with pytest.raises(InvalidRequest) as refusal:
        parse_policy(encoded(text))
    assert refusal.value.field == field
    assert says in refusal.value.message


def test_repeated_keys_are_refused() -> None:
    """
    A policy that says something twice is refused.
    """
    with pytest.raises(InvalidRequest, match="twice"):
        parse_policy(b'{"strategy":"last_n","config":{"limit":1,"limit":2}}')


@pytest.mark.parametrize(
    ("text", "ratio"), [(b"1", 1.0), (b"1.0", 1.0), (b"0.7", 0.7), (b"1e-3", 0.001)]
)
def test_ratios_are_numbers_up_to_one(text: bytes, ratio: float) -> None:
    """
    The integer 1 is fine.
    """
    assert parse_ratio(text, "trigger_ratio") == ratio


@pytest.mark.parametrize(
    "text",
    [b"0", b"0.0", b"-0.1", b"1.0000001", b"2", b"1e400", b"1e-400", b"true", b'"0.5"', b"null"],
)
def test_other_values_are_no_ratios(text: bytes) -> None:
    """
    Nothing at or below 0, nothing above 1 (a factor may be up to 10), no booleans, no strings.
    """
    with pytest.raises(InvalidRequest, match="above 0") as refusal:
        parse_ratio(text, "trigger_ratio")
    assert refusal.value.field == "trigger_ratio"
    if text in (b"1.0000001", b"2"):
        assert parse_factor(text, "token_factor") == float(text)
        return
    with pytest.raises(InvalidRequest, match="above 0 and at most 10") as refusal:
        parse_factor(text, "token_factor")
    assert refusal.value.field == "token_factor"


@pytest.mark.parametrize(
    ("budget", "ratio", "policy", "pinned", "trigger", "ceiling", "target"),
    [
        (8000, 0.7, LastN(), 0, 5600, 5600, 2800),
        (8000, 0.7, LastN(), 1000, 5600, 5600, 3300),
        (8000, 0.7, LastN(), 4000, 5600, 6800, 5400),
        (8000, 0.7, LastN(), 7000, 5600, 8000, 7500),
        (8000, 0.7, LastN(), 9000, 5600, 8000, 8500),
        (1, 0.7, LastN(), 0, 0, 0, 0),
        (10, 1.0, LastN(), 0, 10, 10, 5),
        (10, 0.3, LastN(target_ratio=0.9), 0, 3, 3, 2),
        (10, 0.7, SkipParts(target_ratio=0.25), 0, 7, 7, 1),
        (10, 0.7, Manual(), 0, 7, 7, 3),
        (2**53 - 1, 1.0, LastN(target_ratio=1.0), 0, 2**53 - 1, 2**53 - 1, 2**53 - 1),
    ],
)
def test_trigger_and_target(
    budget: int, ratio: float, policy: Policy, pinned: int, trigger: int, ceiling: int, target: int
) -> None:
    """
    The trigger is a share of the budget; the target one of the room that the pinned leave below
    what the window may grow to, which is more than the trigger if they take more than half of it.
    """
    config = Config(budget, ratio, policy)
    assert config.trigger(budget) == trigger
    assert config.ceiling(budget, pinned) == ceiling
    assert config.target(budget, pinned) == target
