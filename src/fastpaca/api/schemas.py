"""
The JSON schemas of requests and answers, for the OpenAPI document.

They say what `bodies.py` reads and `responses.py` writes, as exactly as a schema can. What it
cannot say (bytes of an id, depth of nesting, keys given twice) stands in the descriptions.
"""

from __future__ import annotations

from typing import Any, Final

from fastpaca.api.bodies import BATCH_MAX, ECHOED_KEYS, REPLACEMENT_MAX
from fastpaca.api.query import PAGE_MAX
from fastpaca.api.routes import ID_BYTES_MAX
from fastpaca.context import explain, jsontext, oddities
from fastpaca.context.config import (
    LIMIT_DEFAULT,
    TARGET_RATIO_DEFAULT,
    TOKEN_BUDGET_DEFAULT,
    TOKEN_FACTOR_DEFAULT,
    TOKEN_FACTOR_MAX,
    TRIGGER_RATIO_DEFAULT,
)

Schema = dict[str, Any]

HELLO: Final[Schema] = {"role": "user", "parts": [{"type": "text", "text": "Hello"}]}
HELLO_LOGGED: Final[Schema] = {
    "seq": 84,
    "version": 84,
    **HELLO,
    "metadata": {},
    "token_count": 5,
    "inserted_at": "2026-01-05T09:30:00.000000Z",
}
CONTEXT: Final[Schema] = {
    "id": "chat-42",
    "status": "active",
    "token_budget": 8000,
    "trigger_ratio": 0.7,
    "token_factor": 1.0,
    "policy": {
        "strategy": "last_n",
        "config": {"limit": 200, "target_ratio": 0.5, "start_on_user": True},
    },
    "metadata": {"channel": "mail"},
    "version": 84,
    "last_seq": 84,
    "created_at": "2026-01-05T09:00:00.000000Z",
    "updated_at": "2026-01-05T09:30:00.000000Z",
}


def ref(name: str) -> Schema:
    """Refer to the schema *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def integer(description: str, least: int = 0, **more: Any) -> Schema:
    """Describe one of the API's own integers."""
    return {
        "type": "integer",
        "minimum": least,
        "maximum": jsontext.INTEGER_MAX,
        "description": description,
        **more,
    }


def _ratio(description: str, default: float) -> Schema:
    return {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": default,
        "description": description,
    }


def _array(items: Schema, description: str, **more: Any) -> Schema:
    return {"type": "array", "items": items, "description": description, **more}


def _string(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _choice(description: str, *values: str) -> Schema:
    return {"type": "string", "enum": list(values), "description": description}


def _free(description: str) -> Schema:
    """Describe an object that belongs to the caller."""
    return {"type": "object", "description": description}


def _answer(properties: Schema, description: str = "", optional: Schema | None = None) -> Schema:
    """Describe an object that is answered: its fields are always there, but for *optional* ones."""
    told = {"description": description} if description else {}
    every = {**properties, **(optional or {})}
    return {"type": "object", **told, "properties": every, "required": list(properties)}


def _body(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> Schema:
    """Describe an object that is read strictly, but for fields that the API itself answers."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "patternProperties": {f"^({'|'.join(sorted(ECHOED_KEYS))})$": True},
        "additionalProperties": False,
        **more,
    }


_IF_VERSION: Final[Schema] = {
    "type": ["integer", "null"],
    "minimum": 0,
    "maximum": jsontext.INTEGER_MAX,
    "description": "Do it only if this is the current version; otherwise 409 `conflict`.",
}

_LAST_N: Final[Schema] = {
    "limit": integer("How many messages are kept, the pinned aside.", 1, default=LIMIT_DEFAULT),
    "target_ratio": _ratio(
        "Share of the room between the pinned and the trigger that a compaction for tokens leaves.",
        TARGET_RATIO_DEFAULT,
    ),
    "start_on_user": {
        "type": "boolean",
        "default": True,
        "description": "Move a cut inside a turn without calls on to the next user message.",
    },
}

_SKIP_PARTS: Final[Schema] = {
    "skip_kinds": _array(
        {"type": "string", "minLength": 1},
        "`tool`, `reasoning`, or what the type of a part begins with to be left out.",
        default=["tool", "reasoning"],
    ),
    **_LAST_N,
}


def _policy(strategy: str, config: Schema, description: str) -> Schema:
    return {
        "type": "object",
        "title": strategy,
        "description": description,
        "properties": {
            "strategy": {"const": strategy},
            "config": {"type": "object", "properties": config, "additionalProperties": False},
        },
        "required": ["strategy"],
        "additionalProperties": False,
    }


_CONFIG: Final[Schema] = {
    "token_budget": integer(
        "The most tokens that a read of the LLM context returns.", 1, default=TOKEN_BUDGET_DEFAULT
    ),
    "trigger_ratio": _ratio(
        "Share of the budget above which the window is compacted.", TRIGGER_RATIO_DEFAULT
    ),
    "token_factor": {
        "type": "number",
        "description": "What a counted token is worth for the provider in use.",
        "exclusiveMinimum": 0,
        "maximum": TOKEN_FACTOR_MAX,
        "default": TOKEN_FACTOR_DEFAULT,
    },
    "policy": ref("Policy"),
    "metadata": _free("Yours. Given, it replaces the whole of it."),
}

_MESSAGE: Final[Schema] = {
    "role": _string("Who speaks, such as `user` or `assistant`.", minLength=1),
    "parts": _array(ref("Part"), "What is said, in order."),
    "token_count": integer("Taken as it is, instead of counting."),
    "metadata": _free("Yours."),
}


def _read_message(seq: Schema, description: str) -> Schema:
    properties = {
        "seq": seq,
        "version": integer("The version of the context that brought it.", 1),
        **_MESSAGE,
        "token_count": integer("What it counts, in tokens."),
        "inserted_at": _string("When it came, UTC.", format="date-time"),
    }
    return _answer(properties, f"{description} `id` and unknown keys are there as they were sent.")


SCHEMAS: Final[dict[str, Schema]] = {
    "Error": {
        **_answer(
            {
                "error": _string("A stable code; match on it."),
                "message": _string("A sentence that says what was wrong and what would be right."),
            },
            "The shape of every error. Some have fields of their own.",
        ),
    },
    "Part": {
        "type": "object",
        "description": "One part of a message. All but its type is yours.",
        "properties": {"type": _string("Such as `text`, `tool_call` or `reasoning`.")},
        "required": ["type"],
        "examples": [{"type": "text", "text": "Hello"}],
    },
    "NewMessage": {
        "type": "object",
        "description": (
            "A message as it is sent. Keys that are not named here are kept and given back; `seq`,"
            " `version` and `inserted_at` are ignored. Nesting ends at"
            f" {jsontext.DEPTH_MAX} levels."
        ),
        "properties": _MESSAGE,
        "required": ["role", "parts"],
        "examples": [HELLO],
    },
    "Message": _read_message(integer("Its place in the log: 1, 2, 3 …", 1), "A logged message."),
    "WindowMessage": _read_message(
        {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "Its place in the log; null for a synthetic message (a summary).",
        },
        "A message of the LLM context.",
    ),
    "Policy": {
        "description": "How the window is made smaller. A policy that is given is given whole.",
        "oneOf": [
            _policy("last_n", _LAST_N, "Keep the newest messages."),
            _policy("skip_parts", _SKIP_PARTS, "Leave out parts of some kinds, then as `last_n`."),
            _policy("manual", {}, "Never rewrite the window: its owner compacts it."),
        ],
    },
    "ContextChanges": _body(
        _CONFIG, description="What a context is to be; a field that is not given stays as it is."
    ),
    "MetadataChanges": _body(
        {"metadata": _free("Keys to set; a key that is null is removed.")}, ("metadata",)
    ),
    "Context": _answer(
        {
            "id": _string("Yours."),
            "status": _choice("Whether it can be written.", "active", "tombstoned"),
            **_CONFIG,
            "version": integer("Grows by one with each appended message and each compact call."),
            "last_seq": integer("Seq of the newest message; 0 if there is none."),
            "created_at": _string("UTC.", format="date-time"),
            "updated_at": _string("When anything of it last changed, UTC.", format="date-time"),
        },
        "A context.",
    ),
    "ContextPage": _answer(
        {
            "contexts": _array(ref("Context"), "In byte order of their ids."),
            "next": {
                "type": ["string", "null"],
                "description": "What to send as `after` for the next page; null at the end.",
            },
        }
    ),
    "Append": _body(
        {
            "message": ref("NewMessage"),
            "messages": _array(
                ref("NewMessage"), "All or none of them.", minItems=1, maxItems=BATCH_MAX
            ),
            "if_version": _IF_VERSION,
        },
        oneOf=[{"required": ["message"]}, {"required": ["messages"]}],
        description="One message, or a list of them.",
    ),
    "Appended": _answer(
        {
            "seq": integer("Its place in the log.", 1),
            "version": integer("The version that it brought.", 1),
            "token_estimate": integer("What it counts, in tokens."),
        },
        optional={
            "warnings": _array(
                ref("Warning"), "What is odd about it; absent where nothing is.", minItems=1
            )
        },
    ),
    "Warning": _answer(
        {
            "code": _choice(
                "A result that answers no call; a call or result whose id is empty; a type that"
                " ends like that of a call or result and is not known.",
                *oddities.CODES,
            ),
            "field": _string("Where it is in the request, such as `message.parts[0]`."),
        },
        "Something odd about a message that was taken all the same.",
    ),
    "AppendedBatch": _answer({"results": _array(ref("Appended"), "One for each message.")}),
    "Tail": _answer({"messages": _array(ref("Message"), "Oldest first.", maxItems=PAGE_MAX)}),
    "MessagePage": _answer(
        {
            "messages": _array(ref("Message"), "In the order of seq.", maxItems=PAGE_MAX),
            "version": integer(
                "The current version if the page reaches the end, else that of its last message."
            ),
        }
    ),
    "Segment": _answer(
        {
            "type": _choice("Messages of the log, or a summary.", "live", "summary"),
            "from_seq": integer("The first seq it stands for."),
            "to_seq": integer("The last one."),
        },
        "A run of messages of one kind.",
    ),
    "View": _answer(
        {
            "version": integer("The version that was read."),
            "messages": _array(ref("WindowMessage"), "Oldest first, ready for a model."),
            "used_tokens": integer("Sum over the messages returned."),
            "needs_compaction": {
                "type": "boolean",
                "description": "Whether the stored window is above its trigger.",
            },
            "segments": _array(ref("Segment"), "The runs of what is returned, in order."),
            "token_budget": integer("The budget that was applied.", 1),
            "window_tokens": integer("Sum over the stored window."),
            "fit": _choice("What fitting did.", "whole", "dropped", "cut", "empty"),
        },
        "The LLM context.",
        optional={
            "explained": _array(
                ref("Explained"),
                "With `explain`: what became of each message of the log, oldest first.",
                maxItems=explain.RANGES_MAX + 1,
            )
        },
    ),
    "Explained": _answer(
        {
            "from_seq": integer("The first seq of the range.", 1),
            "to_seq": integer("The last one.", 1),
            "state": _choice(
                "What became of its messages; `older` for all that is older than the newest"
                f" {explain.RANGES_MAX:,} ranges.",
                *explain.STATES,
            ),
            "by": {
                "oneOf": [
                    integer("The version whose rewrite of the window did it.", 1),
                    {"const": explain.BY_VIEW, "description": "Fitting this view did it."},
                    {"type": "null", "description": "Nothing was done to them."},
                ]
            },
        },
        "What became of the messages of a range.",
    ),
    "Compact": _body(
        {
            "replacement": _array(
                ref("NewMessage"),
                "The whole new window. An entry that equals the message of the log at its `seq`"
                " stays a reference to it; any other is stored as it is given.",
                maxItems=REPLACEMENT_MAX,
            ),
            "if_version": _IF_VERSION,
        },
        ("replacement",),
    ),
    "Compacted": _answer({"version": integer("The version that the call brought.", 1)}),
    "Compaction": _answer(
        {
            "version": integer("The version that it belongs to.", 1),
            "strategy": _choice(
                "The policy that trimmed, or `manual` for a compact call.",
                "last_n",
                "skip_parts",
                "manual",
            ),
            "range": {
                "description": "The seqs of what it changed; null if it changed no message.",
                "oneOf": [ref("SeqRange"), {"type": "null"}],
            },
            "used_tokens_before": integer("Sum over the window before it."),
            "used_tokens_after": integer("Sum over the window that it made."),
            "segments": _array(ref("Segment"), "The runs of the window that it made, in order."),
            "at": _string("When, UTC.", format="date-time"),
        },
        "A rewrite of the window.",
    ),
    "SeqRange": _answer(
        {"from_seq": integer("The first seq.", 1), "to_seq": integer("The last one.", 1)}
    ),
    "CompactionPage": _answer(
        {"compactions": _array(ref("Compaction"), "Oldest first.", maxItems=PAGE_MAX)}
    ),
    "Healthy": _answer({"status": {"const": "ok"}}),
    "Ready": {
        **_answer(
            {
                "status": _choice(
                    "`degraded` while the store can be used for some contexts only.",
                    "ok",
                    "degraded",
                ),
                "reason": _string("Why it is degraded, as a sentence."),
            }
        ),
        "required": ["status"],
    },
    "Unhealthy": _answer(
        {
            "status": _choice("Why not.", "starting", "stopping", "degraded"),
            "reason": _string("The same as a sentence."),
        }
    ),
}

CONTEXT_ID: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_BYTES_MAX,
    "pattern": "^[^\\u0000]+$",
    "not": {"enum": [".", ".."]},
}
