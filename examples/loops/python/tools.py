"""The tool of these programs, and how each provider is told of it."""

from __future__ import annotations

from typing import Any, Final


def order_status(arguments: Any) -> str:
    """Say where an order is."""
    order_id = arguments["order_id"]
    return f"Order {order_id} left the warehouse in Leipzig on Monday; it arrives on Thursday."


PARAMETERS: Final = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}},
    "required": ["order_id"],
}

NAMED: Final = {"name": "order_status", "description": "Look up where an order is."}

OPENAI_CHAT: Final[Any] = {"type": "function", "function": {**NAMED, "parameters": PARAMETERS}}

OPENAI_RESPONSES: Final[Any] = {
    "type": "function",
    "strict": False,
    **NAMED,
    "parameters": PARAMETERS,
}

ANTHROPIC: Final[Any] = {**NAMED, "input_schema": PARAMETERS}

GEMINI: Final[Any] = {
    "function_declarations": [{**NAMED, "parameters_json_schema": PARAMETERS}],
}
