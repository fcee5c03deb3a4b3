"""
Reading messages as what they mean, from the published list of shapes and not from its code.

`docs/shapes.md` is that list.
Nothing here is shared with the core: a shape that is added there has to be told here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.rules.forms import joined
from tests.rules.meaning import WHOLE, Item, Json, Kind, Said

OWN_KEYS: Final = {
    "role", "parts", "metadata", "seq", "version", "token_count", "inserted_at",
}  # fmt: skip
"""Keys that are counted elsewhere, or are the log's own."""

UNSEEN_KEYS: Final = {
    "id", "annotations", "created", "createdAt", "created_at", "experimental_attachments",
    "finishReason", "finish_reason", "index", "invalid_tool_calls", "lc_kwargs", "logprobs",
    "message_id", "model", "model_name", "object", "parent_id", "parentId", "provider_details",
    "provider_name", "provider_response_id", "response_metadata", "run_id", "service_tier",
    "session_id", "sessionId", "status", "stopReason", "stop_details", "stop_reason",
    "stop_sequence", "system_fingerprint", "thread_id", "timestamp", "updatedAt", "updated_at",
    "usage", "usageMetadata", "usage_metadata", "uuid",
}  # fmt: skip
"""Keys that never reach a model."""

REASONING_KEYS: Final = ("reasoning", "reasoning_content", "reasoning_details")
ENDED: Final = ("output-available", "output-error", "output-denied")
THOUGHTS: Final = (
    "reasoning", "reasoning-file", "thinking", "redacted_thinking", "reasoningContent", "thought",
)  # fmt: skip
ITEM_KEYS: Final = ("id", "summary", "encrypted_content")
"""What makes reasoning an item of the Responses API."""

BOTH_TYPES: Final = (
    "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call",
    "mcp_call",
)  # fmt: skip
NOTHING: Final[tuple[object, ...]] = (None, "", [], {})


def read(message: Mapping[str, Any], tokens: int = 0, *, is_synthetic: bool = False) -> Said:
    """Return what *message* means; *tokens* is what it costs."""
    keys = {
        key: value for key, value in message.items() if key not in OWN_KEYS and value not in NOTHING
    }
    parts = [_of_part(place, part) for place, part in enumerate(message["parts"])]
    in_keys = [*_of_calls(keys), *_of_result(message["role"], keys, parts)]
    in_keys += [Item("reasoning", (key,)) for key in REASONING_KEYS if key in keys]
    others = keys.keys() - UNSEEN_KEYS - {"tool_calls", "function_call", *REASONING_KEYS}
    items = joined(parts, in_keys)
    return Said(message["role"], items, dict(message), tokens, bool(others), is_synthetic)


def _of_part(place: int, part: Json) -> Item:
    item = _by_data(part) or _by_tool_call_id(part) or _by_type(part) or _of_no_call(part)
    return item._replace(places=(place,), type=part["type"])


def _by_data(part: Json) -> Item | None:
    """Read parts of Gemini and Bedrock: an object under a key says what they are."""
    for key, kind, id_key in (
        ("functionCall", "call", "id"),
        ("function_call", "call", "id"),
        ("functionResponse", "result", "id"),
        ("function_response", "result", "id"),
        ("toolUse", "call", "toolUseId"),
        ("toolResult", "result", "toolUseId"),
    ):
        held = part.get(key)
        if isinstance(held, Mapping):
            name = "" if key == "toolResult" else _text(held, "name")
            return Item(kind, id=_text(held, id_key), name=name)  # type: ignore[arg-type]
    return None


def _by_tool_call_id(part: Json) -> Item | None:
    """Read parts of the AI SDK that name a `toolCallId`."""
    kind, id_ = part["type"], part.get("toolCallId")
    if not isinstance(id_, str):
        return None
    has_state = isinstance(part.get("state"), str)
    if has_state and (kind == "dynamic-tool" or kind.startswith("tool-")):
        name = _text(part, "toolName") if kind == "dynamic-tool" else kind[len("tool-") :]
        return Item("both", id=id_, name=name, is_open=part["state"] not in ENDED)
    if has_state:
        return None
    if kind in ("tool-call", "tool-result", "tool-error"):
        what = "call" if kind == "tool-call" else "result"
        return Item(what, id=id_, name=_text(part, "toolName"))  # type: ignore[arg-type]
    if kind == "tool-approval-request":
        return Item("request", id=_text(part, "approvalId"), link=id_)
    return None


class Type(NamedTuple):
    """
    What a part of some type is.

    Attributes:
        kind: What it is.
        ids: Keys of its id; the first that has one counts.
        names: Keys of the name of its tool.
        name: That name, if the type says it.
        alias: The key of another id.
        grants: The key that is false if a response denies.
    """

    kind: Kind
    ids: tuple[str, ...]
    names: tuple[str, ...] = ()
    name: str = ""
    alias: str = ""
    grants: str = ""


_OWN: Final = ("tool_call_id", "call_id", "id")
_TOOL: Final = ("tool_call_id",)
_EITHER: Final = ("call_id", "id")

TYPES: Final = {
    "tool_call": Type("call", _OWN, ("name", "tool_name")),
    "tool_result": Type("result", ("tool_use_id", *_OWN), ("name", "tool_name")),
    "tool_use": Type("call", ("id",), ("name",)),
    "mcp_tool_result": Type("result", ("tool_use_id",)),
    "function_call": Type("call", _EITHER, ("name",)),
    "local_shell_call": Type("call", ("call_id",), name="local_shell", alias="id"),
    "local_shell_call_output": Type("result", _EITHER, name="local_shell"),
    "tool_search_call": Type("call", ("call_id",), name="tool_search"),
    "tool_search_output": Type("result", ("call_id",), name="tool_search"),
    "mcp_approval_request": Type("request", ("id",), ("name",)),
    "mcp_approval_response": Type("response", ("approval_request_id",), grants="approve"),
    **{both: Type("both", ("id",)) for both in BOTH_TYPES},
    "mcp_call": Type("both", ("id",), ("name",)),
    "tool-approval-response": Type("response", ("approvalId",), grants="approved"),
    "builtin-tool-call": Type("call", _TOOL, ("tool_name",)),
    "tool-return": Type("result", _TOOL, ("tool_name",)),
    "builtin-tool-return": Type("result", _TOOL, ("tool_name",)),
    "server_tool_call": Type("call", ("id",), ("name",)),
    "server_tool_result": Type("result", _TOOL),
    "function_result": Type("result", ("call_id",), ("name",)),
    "retry-prompt": Type("result", _TOOL, ("tool_name",)),
}
STATELESS: Final = {
    "tool-approval-request": Type("request", ("approvalId",)),
    "tool-call": Type("call", _TOOL, ("tool_name", "toolName")),
    "tool-result": Type("result", _TOOL, ("tool_name", "toolName")),
    "tool-error": Type("result", _TOOL, ("tool_name", "toolName")),
}
"""What is of these types only without a `state`."""

ENDINGS: Final = {
    "_call_output": Type("result", _EITHER),
    "_call": Type("call", ("call_id",), ("name",)),
    "_tool_use": Type("call", ("id",), ("name",)),
    "_tool_result": Type("result", ("tool_use_id",)),
}


def _by_type(part: Json) -> Item | None:
    """Read parts that their type tells, or its ending."""
    kind: str = part["type"]
    found = TYPES.get(kind)
    if found is None and not isinstance(part.get("state"), str):
        found = STATELESS.get(kind)
    if found is None and not isinstance(part.get("toolCallId"), str):
        found = next((one for end, one in ENDINGS.items() if kind.endswith(end)), None)
        if found is ENDINGS["_call"] and not _text(part, "call_id"):
            return None
    if found is None or (kind == "retry-prompt" and not _text(part, "tool_name")):
        return None
    return Item(
        found.kind,
        id=_text(part, *found.ids),
        name=found.name or _text(part, *found.names),
        alias=_text(part, found.alias),
        denies=bool(found.grants) and part.get(found.grants) is False,
    )


def _of_no_call(part: Json) -> Item:
    """Read what is no call and no result."""
    kind = part["type"]
    is_thought = part.get("thought") is True
    if kind == "text" and not is_thought:
        return _of_text(part, "text")
    if (
        kind in THOUGHTS
        or isinstance(part.get("reasoningContent"), Mapping)
        or (is_thought and isinstance(part.get("text"), str))
    ):
        is_item = kind == "reasoning" and any(part.get(key) for key in ITEM_KEYS)
        return Item("reasoning", is_item=is_item)
    if kind == "compaction" and (part.get("content") or part.get("encrypted_content")):
        return Item("compaction")
    if kind in ("input_text", "output_text"):
        return _of_text(part, "text")
    if kind == "refusal":
        return _of_text(part, "refusal")
    if kind == "step-start" or kind.startswith(("data-", "source-")):
        return Item("page")
    return Item("text")


def _of_text(part: Json, key: str) -> Item:
    return Item("text" if _text(part, key).strip() else "blank")


def _of_calls(keys: Json) -> list[Item]:
    """Read the calls under keys of a message."""
    found = []
    listed = keys.get("tool_calls")
    for index, call in enumerate(listed if isinstance(listed, Sequence) else ()):
        if isinstance(call, Mapping):
            function = call.get("function")
            name = _text(function if isinstance(function, Mapping) else call, "name")
            found.append(Item("call", (f"tool_calls.{index}",), id=_text(call, "id"), name=name))
    legacy = keys.get("function_call")
    if isinstance(legacy, Mapping):
        found.append(Item("call", ("function_call",), name=_text(legacy, "name")))
    return found


def _of_result(role: str, keys: Json, parts: Sequence[Item]) -> list[Item]:
    """Read the result that a message of a tool is as a whole."""
    if role not in ("tool", "function"):
        return []
    id_ = _text(keys, "tool_call_id")
    if not id_ and any(item.kind in ("result", "response") for item in parts):
        return []
    return [Item("result", (WHOLE,), id=id_, name=_text(keys, "name", "tool_name"))]


def _text(held: Mapping[str, Any], *keys: str) -> str:
    """Return the first string that is not empty under *keys*."""
    for key in keys:
        value = held.get(key)
        if isinstance(value, str) and value:
            return value
    return ""
