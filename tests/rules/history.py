"""
Random histories, as what they mean and as what is sent.

A history is drawn as values that say what each message *means* (a call, its result, the reasoning
that led to it), and then written down in the form of one provider.
So the model of the rules need not know any form, and every form is tested against one meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final, Literal, NamedTuple

Json = dict[str, Any]

Kind = Literal["text", "call", "result", "both", "request", "response", "reasoning", "page"]


class Item(NamedTuple):
    """
    One thing that a message says.

    Attributes:
        kind: What it is; `both` is a call with its result, `request` and `response` an approval.
        id: Of the call that it makes or answers; empty if it has none.
        name: Of the tool.
        open: For `both`: whether its result is still missing.
        approval: The id of the approval, for `request` and `response`.
    """

    kind: Kind
    id: str = ""
    name: str = "f"
    open: bool = False
    approval: str = ""


@dataclass(frozen=True)
class Said:
    """
    A message: who says what, for how many tokens, and the JSON of each item.

    Attributes:
        role: As it is sent.
        items: What it says, in order.
        tokens: The caller's own count.
        parts: The parts, one for each item that stands in a part.
        keys: The other keys of the message.
        places: For each item its part, or the name of its key.
    """

    role: str
    items: Sequence[Item]
    tokens: int
    parts: Sequence[Json]
    keys: Json = field(default_factory=dict)
    places: Sequence[int | str] = ()

    def message(self) -> Json:
        """Return the message as it is sent."""
        counted = {"token_count": self.tokens}
        return {"role": self.role, "parts": list(self.parts), **self.keys, **counted}

    def without(self, gone: frozenset[int]) -> Json:
        """Return what is left of it when the items at *gone* are taken out, uncounted."""
        places = {self.places[at] for at in gone}
        parts = [part for at, part in enumerate(self.parts) if at not in places]
        keys = {key: value for key, value in self.keys.items() if key not in places}
        return {"role": self.role, "parts": parts, **keys}


Write = Callable[[Item, int], Json]


class Form(NamedTuple):
    """
    How a provider writes calls and results.

    Attributes:
        call: Writes a call as a part; None if calls stand in the key `tool_calls`.
        result: Writes a result as a part; None if a whole message of the tool is the result.
        result_role: Who brings results.
        reasoning: Writes reasoning, or None.
        has_ids: Whether calls and results have ids; else names bind them.
        approvals: Whether it knows requests and responses of approval.
        is_mixed: Whether one message may hold the result of an earlier call and a new call.
    """

    call: Write | None
    result: Write | None
    result_role: str
    reasoning: Callable[[int], Json] | None = None
    has_ids: bool = True
    approvals: bool = False
    is_mixed: bool = False


def _responses(kind: str, output: str | None = None) -> Form:
    return Form(
        lambda item, n: {"type": kind, "call_id": item.id, "name": item.name, "n": n},
        lambda item, n: {
            "type": output or f"{kind}_output",
            "call_id": item.id,
            "output": "ok",
            "n": n,
        },
        "tool",
        lambda n: {"type": "reasoning", "id": f"rs_{n}", "summary": [], "n": n},
    )


FORMS: Final[Mapping[str, Form]] = {
    "fastpaca": Form(
        lambda item, n: {"type": "tool_call", "tool_call_id": item.id, "name": item.name, "n": n},
        lambda item, n: {"type": "tool_result", "tool_call_id": item.id, "content": "ok", "n": n},
        "tool",
        lambda n: {"type": "reasoning", "text": "hm", "n": n},
        is_mixed=True,
    ),
    "openai-chat": Form(None, None, "tool"),
    "openai-chat-by-name": Form(None, None, "tool", has_ids=False),
    "function_call": _responses("function_call"),
    "custom_tool_call": _responses("custom_tool_call"),
    "shell_call": _responses("shell_call"),
    "apply_patch_call": _responses("apply_patch_call"),
    "computer_call": _responses("computer_call"),
    "tool_search_call": _responses("tool_search_call", "tool_search_output"),
    "anthropic": Form(
        lambda item, n: {"type": "tool_use", "id": item.id, "name": item.name, "n": n},
        lambda item, n: {"type": "tool_result", "tool_use_id": item.id, "content": "ok", "n": n},
        "user",
        lambda n: {"type": "thinking", "thinking": "hm", "signature": "c2ln", "n": n},
    ),
    "anthropic-server": Form(
        lambda item, n: {"type": "server_tool_use", "id": item.id, "name": item.name, "n": n},
        lambda item, n: {
            "type": "code_execution_tool_result",
            "tool_use_id": item.id,
            "content": {},
            "n": n,
        },
        "assistant",
        is_mixed=True,
    ),
    "gemini": Form(
        lambda item, n: {
            "type": "functionCall",
            "functionCall": {"name": item.name, "args": {}},
            "n": n,
        },
        lambda item, n: {
            "type": "functionResponse",
            "functionResponse": {"name": item.name, "response": {}},
            "n": n,
        },
        "user",
        has_ids=False,
    ),
    "gemini-with-ids": Form(
        lambda item, n: {
            "type": "functionCall",
            "functionCall": {"name": item.name, "args": {}, "id": item.id},
            "n": n,
        },
        lambda item, n: {
            "type": "functionResponse",
            "functionResponse": {"name": item.name, "response": {}, "id": item.id},
            "n": n,
        },
        "user",
    ),
    "bedrock": Form(
        lambda item, n: {
            "type": "toolUse",
            "toolUse": {"toolUseId": item.id, "name": item.name, "input": {}},
            "n": n,
        },
        lambda item, n: {
            "type": "toolResult",
            "toolResult": {"toolUseId": item.id, "content": []},
            "n": n,
        },
        "user",
        lambda n: {"type": "reasoningContent", "reasoningContent": {}, "n": n},
    ),
    "ai-sdk-model": Form(
        lambda item, n: {
            "type": "tool-call",
            "toolCallId": item.id,
            "toolName": item.name,
            "input": {},
            "n": n,
        },
        lambda item, n: {
            "type": "tool-result",
            "toolCallId": item.id,
            "toolName": item.name,
            "output": {"type": "text", "value": "ok"},
            "n": n,
        },
        "tool",
        lambda n: {"type": "reasoning", "text": "hm", "n": n},
        approvals=True,
    ),
    "pydantic-ai": Form(
        lambda item, n: {
            "type": "tool-call",
            "tool_name": item.name,
            "tool_call_id": item.id,
            "args": {},
            "n": n,
        },
        lambda item, n: {
            "type": "tool-return",
            "tool_name": item.name,
            "tool_call_id": item.id,
            "content": "ok",
            "n": n,
        },
        "user",
        lambda n: {"type": "thinking", "content": "hm", "n": n},
    ),
    "langchain-server": Form(
        lambda item, n: {"type": "server_tool_call", "id": item.id, "name": item.name, "n": n},
        lambda item, n: {
            "type": "server_tool_result",
            "tool_call_id": item.id,
            "output": "ok",
            "n": n,
        },
        "assistant",
        is_mixed=True,
    ),
    "agent-framework": Form(
        lambda item, n: {"type": "function_call", "call_id": item.id, "name": item.name, "n": n},
        lambda item, n: {"type": "function_result", "call_id": item.id, "result": "ok", "n": n},
        "tool",
    ),
}
"""The forms that a history is written in; each history has one."""


class Author:
    """Draws a history from *rng*, message by message, in the form of *form*."""

    def __init__(self, rng: Random, form: str) -> None:
        self._rng = rng
        self._form = FORMS[form]
        self._numbers = count(1)
        self._waiting: list[Item] = []
        self._answered: list[Item] = []
        self._approvals: list[Item] = []
        self._has_begun = False

    def next(self) -> Said:
        """Draw the next message."""
        rng = self._rng
        if not self._has_begun and rng.random() < 0.5:
            return self._said(rng.choice(("system", "developer")), [Item("text")])
        self._has_begun = True
        draw = rng.random()
        if self._approvals and draw < 0.5:
            return self._response()
        if self._waiting and draw < 0.55:
            return self._results()
        if draw < 0.68:
            return self._calls()
        if draw < 0.8:
            return self._said("user", [Item("text")])
        if draw < 0.9:
            return self._said("assistant", [*self._thought(0.3), Item("text")])
        if draw < 0.93:
            return self._said("system", [Item("text")])
        if draw < 0.95 and self._answered:
            return self._again()
        if draw < 0.97 and self._form.reasoning:
            return self._said("assistant", [Item("reasoning")])
        return self._calls()

    def _thought(self, chance: float) -> list[Item]:
        has = self._form.reasoning is not None and self._rng.random() < chance
        return [Item("reasoning")] if has else []

    def _calls(self) -> Said:
        rng = self._rng
        items: list[Item] = []
        if self._form.is_mixed and self._waiting and rng.random() < 0.5:
            items.append(self._taken())
        items += self._thought(0.3)
        if rng.random() < 0.3:
            items.append(Item("text"))
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            call = self._call()
            items.append(call)
            if self._form.approvals and rng.random() < 0.2:
                request = Item("request", call.id, call.name, approval=f"ap{next(self._numbers)}")
                items.append(request)
                self._approvals.append(request)
        return self._said("assistant", items)

    def _call(self) -> Item:
        name = self._rng.choice("fgh")
        call = Item("call", f"c{next(self._numbers)}" if self._form.has_ids else "", name)
        self._waiting.append(call)
        return call

    def _taken(self) -> Item:
        at = self._rng.choice((0, -1)) if self._form.has_ids else 0
        call = self._waiting.pop(at)
        self._answered.append(call)
        return Item("result", call.id, call.name)

    def _results(self) -> Said:
        rng = self._rng
        items = [self._taken()]
        is_whole = self._form.result is None
        while not is_whole and self._waiting and rng.random() < 0.4:
            items.append(self._taken())
        if not is_whole and self._form.result_role == "user" and rng.random() < 0.15:
            items.append(Item("text"))
        if rng.random() < 0.08:  # it never comes
            return self._said("assistant", [Item("text")])
        return self._said(self._form.result_role, items)

    def _again(self) -> Said:
        call = self._rng.choice(self._answered)
        return self._said(self._form.result_role, [Item("result", call.id, call.name)])

    def _response(self) -> Said:
        request = self._approvals.pop(0)
        return self._said(
            "tool", [Item("response", request.id, request.name, False, request.approval)]
        )

    def _said(self, role: str, items: Sequence[Item]) -> Said:
        tokens = self._rng.choice((10, 20, 30, 40, 60, 90, 150, 400))
        parts: list[Json] = []
        keys: Json = {}
        places: list[int | str] = []
        for item in items:
            part = self._part(item, keys)
            places.append(len(parts) if part is not None else _key_of(item))
            if part is not None:
                parts.append(part)
        if "tool_call_id" in keys or "name" in keys:
            parts.append({"type": "text", "text": "ok"})
        return Said(role, tuple(items), tokens, tuple(parts), keys, tuple(places))

    def _part(self, item: Item, keys: Json) -> Json | None:
        n = next(self._numbers)
        if item.kind == "text":
            return {"type": "text", "text": f"word {n}"}
        if item.kind == "reasoning":
            assert self._form.reasoning is not None
            return self._form.reasoning(n)
        if item.kind in ("request", "response"):
            kind = f"tool-approval-{item.kind}"
            call = {"toolCallId": item.id} if item.kind == "request" else {"approved": True}
            return {"type": kind, "approvalId": item.approval, **call, "n": n}
        write = self._form.call if item.kind == "call" else self._form.result
        if write is not None:
            return write(item, n)
        if item.kind == "call":
            function = {"name": item.name, "arguments": "{}"}
            named = {"id": item.id} if item.id else {}
            made = {**named, "type": "function", "function": function}
            keys.setdefault("tool_calls", []).append(made)
        elif item.id:
            keys["tool_call_id"] = item.id
        else:
            keys["name"] = item.name
        return None


def _key_of(item: Item) -> str:
    if item.kind == "call":
        return "tool_calls"
    return "tool_call_id" if item.id else "name"
