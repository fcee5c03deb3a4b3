"""
The types of the providers' own packages, walked: what there is, samples of each, and what is wrong.

A type here is whatever a package annotates its fields with: a `TypedDict`, a model of pydantic, a
union, a literal, a list. `sample` makes a JSON value of a type, and `problem` says why a value is
none; both know nothing of fastpaca.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import pydantic
import typing_extensions

DEPTH_MAX: Final = 8

_UNIONS: Final = (Union, types.UnionType)
_LISTS: Final = (list, collections.abc.Iterable, collections.abc.Sequence, tuple)
_MAPPINGS: Final = (dict, collections.abc.Mapping)
_WRAPPERS: Final = (
    Annotated,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing.Required,
    typing.NotRequired,
)
_PLAIN: Final[Mapping[Any, Any]] = {
    str: "a",
    int: 1,
    float: 1.5,
    bool: True,
    bytes: "aGk=",
    dt.datetime: "2026-01-01T00:00:00Z",
    types.NoneType: None,
}


def unwrapped(kind: Any) -> Any:
    """Return *kind* without what only annotates it."""
    while True:
        if get_origin(kind) in _WRAPPERS:
            kind = get_args(kind)[0]
        elif isinstance(kind, typing_extensions.TypeAliasType) or hasattr(kind, "__value__"):
            kind = kind.__value__
        else:
            return kind


@cache
def members(kind: Any) -> Sequence[Any]:
    """Return the members of a union, those of unions in it included; else the type itself."""
    kind = unwrapped(kind)
    if get_origin(kind) in _UNIONS:
        return tuple(member for one in get_args(kind) for member in members(one))
    return (kind,)


@cache
def fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the fields of a typed dict or a model: for each its type, and if it is required."""
    if is_model(kind):
        return {
            field.alias or name: (field.annotation, field.is_required())
            for name, field in kind.model_fields.items()
        }
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    return {name: (hint, _is_required(hint, kind)) for name, hint in hints.items()}


def _is_required(hint: Any, kind: Any) -> bool:
    # With postponed annotations `__required_keys__` does not see `Required`.
    origin = get_origin(hint)
    if origin in (typing_extensions.Required, typing.Required):
        return True
    return bool(kind.__total__) and origin not in (
        typing_extensions.NotRequired,
        typing.NotRequired,
    )


def is_model(kind: Any) -> bool:
    """Return whether *kind* is a model of pydantic."""
    return isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_object(kind: Any) -> bool:
    """Return whether *kind* is a typed dict or a model."""
    return typing_extensions.is_typeddict(kind) or is_model(kind)


def tag(kind: Any) -> str:
    """Return the `type` of an object; empty if it has none."""
    if not is_object(kind) or "type" not in fields(kind):
        return ""
    options = [value for one in members(fields(kind)["type"][0]) for value in get_args(one)]
    return str(options[0]) if options else ""


def sample(kind: Any, *, is_full: bool, depth: int = 0) -> Any:
    """Return a value of a type: with every field, or with the required ones alone."""
    kind = unwrapped(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin = get_origin(kind)
    if origin is Literal:
        return get_args(kind)[0]
    if origin in _UNIONS:
        options = [one for one in get_args(kind) if one is not types.NoneType]
        return sample(options[0], is_full=is_full, depth=depth)
    if origin in _LISTS or kind is list:
        inner = get_args(kind)[0] if get_args(kind) else str
        return [sample(inner, is_full=is_full, depth=depth + 1)] if depth < DEPTH_MAX else []
    if origin in _MAPPINGS or kind in (dict, object, Any):
        return {"a": 1}
    if is_object(kind):
        return {
            name: sample(hint, is_full=is_full, depth=depth + 1)
            for name, (hint, is_required) in fields(kind).items()
            if is_required or (is_full and depth < DEPTH_MAX)
        }
    if isinstance(kind, type) and issubclass(kind, str):
        return next(iter(kind.__members__.values())).value if issubclass(kind, Enum) else "a"
    raise TypeError(f"There is no sample of {kind!r}.")


def problem(value: Any, kind: Any, path: str = "") -> str:
    """Return why *value* is none of a type, beginning with a path; empty if it is one."""
    kind = unwrapped(kind)
    origin = get_origin(kind)
    if kind in (object, Any):
        return ""
    if origin is Literal:
        return "" if value in get_args(kind) else f"{path}: {value!r} is none of {get_args(kind)}"
    if origin in _UNIONS:
        return _problem_in_union(value, kind, path)
    if origin in _LISTS:
        return _problem_in_list(value, get_args(kind)[0], path)
    if origin in _MAPPINGS or kind is dict:
        return "" if isinstance(value, Mapping) else f"{path}: {value!r} is no object"
    if is_object(kind):
        return _problem_in_object(value, kind, path)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "" if value in [one.value for one in kind] else f"{path}: {value!r} is no {kind}"
    if get_origin(kind) is typing.IO or not isinstance(kind, type):
        return f"{path}: {value!r} is no {kind}"
    if kind is float:
        kind = (int, float)
    elif kind is dt.datetime or kind is bytes:
        kind = str
    if kind in (int, (int, float)) and isinstance(value, bool):
        return f"{path}: {value!r} is a boolean"
    return "" if isinstance(value, kind) else f"{path}: {value!r} is no {kind}"


def _problem_in_union(value: Any, kind: Any, path: str) -> str:
    options = members(kind)
    if isinstance(value, Mapping) and isinstance(value.get("type"), str):
        tagged = tuple(one for one in options if value["type"] in _tags(one))
        options = tagged or options
    problems = [problem(value, one, path) for one in options]
    if "" in problems:
        return ""
    return max(problems, key=lambda text: text.partition(":")[0].count("."))


@cache
def _tags(kind: Any) -> Sequence[str]:
    if not is_object(kind) or "type" not in fields(kind):
        return ()
    return [value for one in members(fields(kind)["type"][0]) for value in get_args(one)]


def _problem_in_list(value: Any, inner: Any, path: str) -> str:
    if not isinstance(value, list):
        return f"{path}: {value!r} is no list"
    found = (problem(one, inner, f"{path}.{at}") for at, one in enumerate(value))
    return next((text for text in found if text), "")


def _problem_in_object(value: Any, kind: Any, path: str) -> str:
    if not isinstance(value, Mapping):
        return f"{path}: {value!r} is no object"
    known = fields(kind)
    for name in value:
        if name not in known:
            return f"{path}: {kind.__name__} has no key {name!r}"
    for name, (hint, is_required) in known.items():
        if name in value:
            text = problem(value[name], hint, f"{path}.{name}")
            if text:
                return text
        elif is_required:
            return f"{path}: {kind.__name__} needs {name!r}"
    return ""


def samples(union: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each member of a union, with a sample that has all its fields and one that has few."""
    for member in members(union):
        if is_object(member):
            for is_full in (True, False):
                made = sample(member, is_full=is_full)
                yield member, made | {"type": tag(member)} if tag(member) else made
