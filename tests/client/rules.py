"""The rules that all clients go by, as `tests/wire/rules` has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from fastpaca import Retries, Timeouts
from fastpaca.client.responses import ClientResponse

RULES = Path(__file__).parent.parent / "wire" / "rules"

NO_USAGE = {
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "cache_write_tokens": 0,
    "output_tokens": 0,
    "counted_ratio": None,
}
"""What a context shows of which nothing was reported."""

CONTEXT = json.dumps(
    {
        "id": "demo",
        "status": "active",
        "token_budget": 1,
        "trigger_ratio": 0.7,
        "token_factor": 1,
        "policy": {"strategy": "manual", "config": {}},
        "metadata": {},
        "version": 0,
        "last_seq": 0,
        "usage": NO_USAGE,
        "created_at": "2026-01-05T09:30:00Z",
        "updated_at": "2026-01-05T09:30:00Z",
    }
)
"""What a node answers where a case does not say."""

Json = Any


def rules(name: str) -> Json:
    """Read one file of rules."""
    return json.loads((RULES / f"{name}.json").read_text(encoding="utf-8"))


def repeated(case: Json, name: str) -> Json:
    """The value of a case, which may be a text to be repeated."""
    return case[name] * case["times"] if "times" in case else case[name]


def terms(case: Json) -> tuple[Timeouts, Retries]:
    """The options of a client that a case names."""
    return Timeouts(**numbers(case, "timeouts")), Retries(**numbers(case, "retries"))


def numbers(case: Json, name: str) -> dict[str, Any]:
    """Options as numbers: those that JSON lacks are written as texts."""
    return {
        option: float(value) if isinstance(value, str) else value
        for option, value in case.get(name, {}).items()
    }


def answered(told: Json) -> ClientResponse:
    """An answer as a case tells it."""
    headers = dict(told.get("headers", {}))
    if "retry_after" in told:
        headers["retry-after"] = told["retry_after"]
    if "error" in told:
        return ClientResponse(
            told["status"], headers, msgspec.json.encode({"error": told["error"], "message": "m"})
        )
    if "json" in told:
        return ClientResponse(told["status"], headers, json.dumps(told["json"]).encode())
    return ClientResponse(told["status"], headers, told.get("text", CONTEXT).encode())
