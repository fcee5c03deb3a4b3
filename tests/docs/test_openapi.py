"""The OpenAPI document is up to date with the file and the code that it is generated from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from fastpaca import ids
from fastpaca.api import bodies, query
from fastpaca.api.openapi.document import openapi_bytes
from fastpaca.context import jsontext
from fastpaca.context.config import TOKEN_FACTOR_MAX, Config, LastN, SkipParts
from fastpaca.context.usage import MODEL_CHARS_MAX

SCRIPT = Path(__file__).parents[2] / "scripts" / "openapi.py"
DOCUMENT = json.loads(openapi_bytes())


def test_served_document_is_generated_anew() -> None:
    """
    `openapi.json` says what `openapi.yaml` and the structs of responses say.
    """
    spec = importlib.util.spec_from_file_location("openapi_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert openapi_bytes().decode() == script.text(), "run make fix: openapi.json is out of date"


def at(path: str) -> Any:
    """Find what stands at *path* in the document."""
    value: Any = DOCUMENT["components"]
    for step in path.split("/"):
        value = value[int(step) if isinstance(value, list) else step]
    return value


CHANGES = "schemas/ContextChanges/properties"
SKIP_PARTS = "schemas/Policy/oneOf/1/properties/config/properties"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("parameters/contextId/schema/maxLength", ids.ID_BYTES_MAX),
        ("parameters/limit/schema/maximum", query.PAGE_MAX),
        ("parameters/limit/schema/default", query.PAGE_DEFAULT),
        ("parameters/cursor/schema/maximum", jsontext.INTEGER_MAX),
        ("schemas/Append/properties/messages/maxItems", bodies.BATCH_MAX),
        ("schemas/Compact/properties/replacement/maxItems", bodies.REPLACEMENT_MAX),
        ("schemas/Append/patternProperties", {f"^({'|'.join(sorted(bodies.ECHOED_KEYS))})$": True}),
        (
            "schemas/ContextChanges/patternProperties",
            {f"^({'|'.join(sorted(bodies.ECHOED_CONTEXT_KEYS))})$": True},
        ),
        ("schemas/Usage/properties/model/maxLength", MODEL_CHARS_MAX),
        (f"{CHANGES}/token_budget/default", Config().token_budget),
        (f"{CHANGES}/trigger_ratio/default", Config().trigger_ratio),
        (f"{CHANGES}/token_factor/default", Config().token_factor),
        (f"{CHANGES}/token_factor/maximum", TOKEN_FACTOR_MAX),
        (f"{SKIP_PARTS}/skip_kinds/default", list(SkipParts().skip_kinds)),
        (f"{SKIP_PARTS}/limit/default", LastN().limit),
        (f"{SKIP_PARTS}/target_ratio/default", LastN().target_ratio),
        (f"{SKIP_PARTS}/start_on_user/default", LastN().start_on_user),
    ],
)
def test_numbers_are_those_of_the_code(path: str, expected: object) -> None:
    """
    Limits, defaults and ignored keys that `openapi.yaml` names are those of the code.
    """
    assert at(path) == expected
