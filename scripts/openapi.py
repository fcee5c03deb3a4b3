"""
Write the OpenAPI document that a node serves.

    python scripts/openapi.py

Makes `src/fastpaca/api/openapi/openapi.json` of the `openapi.yaml` next to it, whose first lines
say what is added. A test holds the two equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from fastpaca import __version__, errors
from fastpaca.api import errors as api_errors
from fastpaca.api import frames, renderings, responses
from fastpaca.api.errors import STATUS, body
from fastpaca.formats import FORMATS
from fastpaca.formats.incoming import Rules

FOLDER: Final = Path(__file__).parents[1] / "src/fastpaca/api/openapi"
METHODS: Final = ("get", "put", "post", "patch", "delete")
REQUEST_ID: Final = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}

KINDS: Final = {kind.code: kind for kind in STATUS}
EXAMPLES: Final = {
    error.code: error
    for error in (
        errors.InvalidRequest(
            "A part needs a type, such as 'text'; if it is a provider's own, name its format.",
            "message.parts[2].type",
        ),
        errors.ContextNotFound(),
        errors.VersionConflict(expected=83, found=84),
        errors.InternalError("The node failed on this request; find it in the log as 4f1c-2a."),
    )
}
"""Errors that have no default message, or a better one."""

Spec = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"

VALUES: Final[dict[str, Spec]] = {
    "string": {"type": "string"},
    "list": {"type": "array"},
    "null": {"type": "null"},
}
"""Schemas of the forms that content may have."""

TYPES: Final = {'"': "string", "{": "object", "[": "array", "t": "boolean", "?": "null"}
"""Types of what keys may hold, as the tables of formats write them."""


class Provider(NamedTuple):
    """
    How a provider's messages are described.

    Attributes:
        message: The name of the schema of one of them.
        view: The name of the schema of a view in its format.
        meaning: What a message is.
        required: Which keys every message has.
        system: The schema of instructions that stand apart; None if they stand in the list.
        item: The schema of what else may stand in the list.
    """

    message: str
    view: str
    meaning: str
    required: tuple[str, ...] = ("role", "content")
    system: Spec | None = None
    item: Spec | None = None


PROVIDERS: Final = {
    "openai-chat": Provider(
        "OpenAIChatMessage",
        "OpenAIChatView",
        "A message of OpenAI Chat.",
        required=("role",),
    ),
    "openai-responses": Provider(
        "OpenAIResponsesItem",
        "OpenAIResponsesView",
        "An item of OpenAI Responses: a message, or what its type says.",
        item={
            "type": "object",
            "properties": {"type": {"type": "string", "not": {"const": "message"}}},
            "required": ["type"],
        },
    ),
    "anthropic": Provider(
        "AnthropicMessage",
        "AnthropicView",
        "A message of Anthropic.",
        system={"type": "array", "items": {"$ref": f"{SCHEMAS}Part"}},
    ),
    "gemini": Provider(
        "GeminiContent",
        "GeminiView",
        "A content of Gemini.",
        required=("parts",),
        system={
            "type": "object",
            "properties": {"parts": {"type": "array", "items": {"type": "object"}}},
            "required": ["parts"],
        },
    ),
    "bedrock": Provider(
        "BedrockMessage",
        "BedrockView",
        "A message of Bedrock's Converse.",
        system={"type": "array", "items": {"type": "object"}},
    ),
    "ai-sdk": Provider(
        "AISDKMessage",
        "AISDKView",
        "A UI message of the AI SDK.",
        required=("role", "parts"),
        system={"type": "string"},
    ),
}
"""By format."""


def document() -> Spec:
    """Make the document."""
    # By way of JSON, so that pieces which stand in several places are no longer shared.
    spec: Spec = json.loads(json.dumps(yaml.safe_load((FOLDER / "openapi.yaml").read_bytes())))
    del spec["x-anchors"]
    every, guarded = spec.pop("x-every-operation"), spec.pop("x-every-guarded-operation")
    meanings: dict[str, str] = spec["x-errors"]
    components = spec["components"]
    spec["info"]["version"] = __version__
    components["schemas"] |= schemas() | provider_schemas()
    components["schemas"] = dict(sorted(components["schemas"].items()))
    found = list(components["responses"].values())
    for response in found:
        if codes := response.pop("x-errors", ()):
            response.update(error_response(codes, meanings))
    for operation in operations(spec):
        found += [one for one in operation["responses"].values() if "$ref" not in one]
        keyed = {} if operation.get("security") == [] else guarded["responses"]
        operation["responses"] = every["responses"] | keyed | operation["responses"]
        operation["parameters"] = [*operation.get("parameters", ()), *every["parameters"]]
    for response in found:
        response["headers"] = response.get("headers", {}) | REQUEST_ID
    spec["x-errors"] = [
        {"status": STATUS[KINDS[code]], "error": code, "description": meaning}
        for code, meaning in meanings.items()
    ]
    return spec


def operations(spec: Spec) -> Iterator[Spec]:
    """Yield what each method of each path does."""
    for item in spec["paths"].values():
        yield from (item[method] for method in METHODS if method in item)


def schemas() -> Spec:
    """Return the schemas of all structs, each named like its struct, but for `JSON` at its end."""
    structs = [
        value
        for module in (responses, renderings, frames, api_errors)
        for name, value in vars(module).items()
        if name.endswith("JSON")
    ]
    found = msgspec.json.schema_components(structs, ref_template="{name}")[1]
    return {name.removesuffix("JSON"): tidied(schema) for name, schema in found.items()}


def provider_schemas() -> Spec:
    """Return the schemas of each provider's own messages, and of views in its format."""
    found: Spec = {}
    for format_, provider in PROVIDERS.items():
        found[provider.message] = message_schema(FORMATS[format_].rules, provider)
        own = {
            "format": {"const": format_},
            "messages": {"type": "array", "items": {"$ref": f"{SCHEMAS}{provider.message}"}},
        }
        if provider.system is not None:
            own["system"] = provider.system
        found[provider.view] = {
            "description": f"The LLM context in the format `{format_}`.",
            "allOf": [{"$ref": f"{SCHEMAS}RenderedView"}, {"type": "object", "properties": own}],
        }
    return found


def message_schema(rules: Rules, provider: Provider) -> Spec:
    """Return the schema of one message: what its format asks of it, and open for more."""
    block = {"$ref": f"{SCHEMAS}Part"} if rules.type_of is None else {"type": "object"}
    forms = [
        VALUES[form] | ({"items": block} if form == "list" else {}) for form in rules.forms if form
    ]
    content = forms[0] if len(forms) == 1 else {"anyOf": forms}
    properties: Spec = {"role": {"type": "string", "enum": list(rules.roles)}, rules.key: content}
    for key, kinds in rules.keys.items():
        if "." not in key:
            types = [TYPES[kind] for kind in kinds]
            properties[key] = {"type": types[0] if len(types) == 1 else types}
    message: Spec = {
        "type": "object",
        "description": f"{provider.meaning} Keys that are not named here are the provider's.",
        "properties": properties,
        "required": [key for key in ("role", rules.key) if key in provider.required],
    }
    if provider.item is not None:
        message = {"description": message.pop("description"), "anyOf": [message, provider.item]}
    return message


def tidied(schema: Any) -> Any:
    """Return *schema* with references as they are in the document, and without noise."""
    if isinstance(schema, list):
        return [tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: tidied(value) for key, value in schema.items() if key not in ("title", "default")}
    if "$ref" in kept:
        kept["$ref"] = (
            f"#/components/schemas/{kept['$ref'].rpartition('/')[2].removesuffix('JSON')}"
        )
    return kept


def error_response(codes: Iterable[str], meanings: dict[str, str]) -> Spec:
    """Describe a response that is one of the errors *codes*."""
    schema = {
        "$ref": "#/components/schemas/Error",
        "properties": {"error": {"type": "string", "enum": list(codes)}},
    }
    examples = {
        code: {"value": json.loads(body(EXAMPLES.get(code) or KINDS[code]()))} for code in codes
    }
    return {
        "description": " ".join(f"`{code}`: {meanings[code]}" for code in codes),
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def text() -> str:
    """Return the document as it is written."""
    return lines(document(), 3) + "\n"


def lines(value: Any, depth: int) -> str:
    """Write JSON with a line for each operation, parameter, response and schema."""
    if not depth or not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    members = (f"{json.dumps(key)}: {lines(inner, depth - 1)}" for key, inner in value.items())
    return "{\n" + ",\n".join(members) + "\n}"


if __name__ == "__main__":
    (FOLDER / "openapi.json").write_text(text(), encoding="utf-8")
