"""The schemas of providers' messages in the OpenAPI document, against lists that are accepted."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from openapi_schema_validator import OAS31Validator

from fastpaca.api.openapi.document import openapi_bytes
from fastpaca.formats import render
from tests.formats.histories import history
from tests.formats.samples import LISTS, NAMES, Appended

DOCUMENT: Final = json.loads(openapi_bytes())
SCHEMAS: Final = DOCUMENT["components"]["schemas"]

MESSAGES: Final = {
    "openai-chat": "OpenAIChatMessage",
    "openai-responses": "OpenAIResponsesItem",
    "anthropic": "AnthropicMessage",
    "gemini": "GeminiContent",
    "bedrock": "BedrockMessage",
    "ai-sdk": "AISDKMessage",
}


def fits(name: str, value: Any) -> bool:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return bool(OAS31Validator(schema).is_valid(value))


@pytest.mark.parametrize("name", NAMES)
def test_messages_of_a_provider_fit_its_schema(name: str) -> None:
    """
    A client that is generated from the document can send what the provider's package makes.
    """
    for listed in LISTS[name]:
        assert all(fits(MESSAGES[name], message) for message in listed)
        assert all(fits("SentMessage", message) for message in listed)


@pytest.mark.parametrize("name", NAMES)
def test_renderings_fit_the_schema_of_their_format(name: str) -> None:
    """
    Such a client can read every rendering, and knows the form of its instructions.
    """
    (view,) = (key for key, schema in SCHEMAS.items() if named(schema) == name)
    views = [Appended(LISTS[one][-1], one).messages for one in NAMES]
    views += [history(seed) for seed in range(10)]
    for messages in views:
        rendering = render([{"seq": None, "role": "system", "parts": SAID}, *messages], name)
        assert all(fits(MESSAGES[name], message) for message in rendering.messages)
        assert fits(view, read(rendering))
        assert not fits(view, {**read(rendering), "format": "parts"})
        assert not fits(view, {**read(rendering), "messages": ["Hi"]})


SAID: Final = [{"type": "text", "text": "Be brief."}]


def named(schema: Any) -> str | None:
    """Return the format of the views that *schema* describes."""
    own = schema.get("allOf", [{}])[-1].get("properties", {})
    return own.get("format", {}).get("const")  # type: ignore[no-any-return]  # it is JSON


def read(rendering: Any) -> dict[str, Any]:
    """Return a view as it is read."""
    view = {
        "version": 1,
        "format": rendering.format,
        "messages": rendering.messages,
        "used_tokens": 1,
        "needs_compaction": False,
        "segments": [],
        "token_budget": 8000,
        "window_tokens": 1,
        "fit": "whole",
        "stable_messages": rendering.stable_messages,
        "repairs": [],
        "losses": [],
    }
    return view if rendering.system is None else view | {"system": rendering.system}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_message_fits_no_schema(name: str) -> None:
    """
    The schema asks for what every message has.
    """
    for wrong in ({}, {"role": 5}, {"role": "user", "content": 5, "parts": 5}, "Hi"):
        assert not fits(MESSAGES[name], wrong)


def test_every_format_is_described() -> None:
    """
    Whoever sends or reads a format finds it among the schemas.
    """
    views = DOCUMENT["paths"]["/v1/contexts/{id}/context"]["get"]["responses"]["200"]
    listed = views["content"]["application/json"]["schema"]["anyOf"]
    described = {named(SCHEMAS[one["$ref"].rpartition("/")[2]]) for one in listed}
    assert described == {None, *NAMES}
    sent = [one["$ref"].rpartition("/")[2] for one in SCHEMAS["ProviderMessage"]["anyOf"]]
    assert sent == [MESSAGES[name] for name in NAMES]
