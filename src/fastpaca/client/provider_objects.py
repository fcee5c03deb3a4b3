"""
Objects of the providers' own packages, as JSON. Pure, and without importing any of these packages.

An object becomes what its package would send in a request:

- a model of `openai` or `anthropic`: the fields that were set, without what the package has parsed
  of the text, which the provider does not know;
- a model of `google-genai`: the fields that are not None, under the names of the REST API;
- any other model of pydantic: what `model_dump` returns;
- a dataclass: the fields that are not None;
- `bytes`: standard base64, which every provider reads, while pydantic writes the URL-safe one.
"""

from __future__ import annotations

import dataclasses
from base64 import b64encode
from collections.abc import Mapping, Set
from typing import Any, Final

_SET_FIELDS: Final = frozenset({"openai", "anthropic"})
"""The packages that send the fields that were set."""

_PARSED: Final = frozenset({"parsed", "parsed_arguments", "parsed_output"})
"""What the packages have read of a text, in no provider's API."""

_GOOGLE: Final = "google.genai"


def is_provider_object(value: object) -> bool:
    """Return whether *value* is a model of pydantic or a dataclass."""
    return _is_model(value) or _is_dataclass(value)


def fields_of(value: object) -> Mapping[str, Any]:
    """
    Return the fields of an object, under their names in JSON; their values stay as they are.

    A mapping is returned as it is, and anything without fields has none.
    """
    if isinstance(value, Mapping):
        return value
    if _is_dataclass(value):
        named = ((field.name, getattr(value, field.name)) for field in _dataclass_fields(value))
        return {name: inner for name, inner in named if inner is not None}
    return _model_fields(value) if _is_model(value) else {}


def as_json(value: object) -> object:
    """
    Return what to write as JSON in place of *value*, an object of another type.

    Raises:
        TypeError: JSON can't represent it.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode("ascii")
    if isinstance(value, Set):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if is_provider_object(value):
        return fields_of(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _is_model(value: object) -> bool:
    kind = type(value)
    return hasattr(kind, "model_fields") and callable(getattr(kind, "model_dump", None))


def _is_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _dataclass_fields(value: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value)


def _model_fields(model: Any) -> dict[str, Any]:
    kind = type(model)
    modules = [base.__module__ for base in kind.__mro__]
    if any(module.startswith(f"{_GOOGLE}.") for module in modules):
        named = ((name, getattr(model, name)) for name in kind.model_fields)
        return {_alias(kind, name): inner for name, inner in named if inner is not None}
    if not any(module.partition(".")[0] in _SET_FIELDS for module in modules):
        dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True)
        return dumped
    # Most of these are in `__api_exclude__`; the package of OpenAI forgets those of a chat message.
    kept = model.model_fields_set - _PARSED
    named = ((name, getattr(model, name)) for name in kind.model_fields if name in kept)
    return {_alias(kind, name): inner for name, inner in named} | (model.model_extra or {})


def _alias(kind: Any, name: str) -> str:
    field = kind.model_fields[name]
    return str(field.serialization_alias or field.alias or name)
