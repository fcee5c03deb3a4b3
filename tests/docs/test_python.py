"""What a reader pastes into Python works, and the page of the client names all that it has."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fastpaca
from fastpaca import Context, Fastpaca, Retries, Timeouts, errors
from fastpaca.client import errors as client_errors
from fastpaca.client import values
from tests.docs.pages import ROOT, Page, page, pages
from tests.kit.providers import Providers, providers

SHOWN_NODE = "http://127.0.0.1:4000"

WITH_PYTHON = [
    found
    for found in pages()
    if any(block.language == "python" for block in found.blocks)
    and not re.search(
        "<!-- (?:program|loop of) ", found.text
    )  # needs a provider; the tests of the program run it
]


def test_the_pages_of_the_client_have_code() -> None:
    """
    The README and the pages about the client can be followed in Python.
    """
    names = {found.name for found in WITH_PYTHON}
    assert {"docs/quickstart.md", "docs/python-sdk.md", "docs/retries.md"} <= names


BOTO3 = """
from tests.kit.provided import BEDROCK


class client:
    def __init__(self, name):
        assert name == "bedrock-runtime"

    def converse(self, modelId, messages, system):
        assert isinstance(system, list)
        assert all(isinstance(block, dict) for one in messages for block in one["content"])
        return BEDROCK
"""
"""What boto3 does; it is not installed here, and no package of another provider is like it."""


@pytest.fixture(scope="module")
def models() -> Iterator[Providers]:
    """The providers that the pages talk to."""
    with providers() as served:
        yield served


@pytest.mark.parametrize("found", WITH_PYTHON, ids=repr)
def test_code_runs_as_it_stands(
    found: Page, fresh_node: str, models: Providers, tmp_path: Path
) -> None:
    """
    The blocks of a page, pasted one after the other, run against a new node without a complaint.
    """
    text = "\n".join(block.text for block in found.blocks if block.language == "python")
    script = tmp_path / "page.py"
    script.write_text(text.replace(SHOWN_NODE, fresh_node))
    (tmp_path / "boto3.py").write_text(BOTO3)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", script],
        env={**os.environ, **models.environment, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def signatures() -> dict[str, list[list[str]]]:
    """The methods that the page shows, and the arguments of each."""
    found: dict[str, list[list[str]]] = {}
    for block in page("python-sdk").blocks:
        for name, arguments in re.findall(r"^(\w+)\((.*?)\)(?: -> .*)?$", block.text, re.MULTILINE):
            if block.language == "text":
                names = [part.split("=")[0].strip() for part in arguments.split(",")]
                found.setdefault(name, []).append([one for one in names if one not in {"", "*"}])
    return found


def arguments_of(function: Any) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    return [
        f"**{one.name}" if one.kind is one.VAR_KEYWORD else one.name
        for one in parameters
        if one.name != "self"
    ]


def test_methods_are_shown_as_they_are() -> None:
    """
    The page shows each method of a client and a handle with its arguments, and no other.
    """
    known: dict[str, list[list[str]]] = {"Fastpaca": [arguments_of(Fastpaca)]}
    for kind in (Fastpaca, Context):
        for name in vars(kind):
            if not name.startswith("_") and name != "close":
                known.setdefault(name, []).append(arguments_of(getattr(kind, name)))
    assert signatures() == known


def test_errors_of_the_client_have_their_row() -> None:
    """
    The page names each class that a caller can meet, with its code.
    """
    shown = {row[0].strip("`"): row[1].strip("`") for row in page("python-sdk").rows("Errors")}
    kinds = {kind.__name__: kind.code for kind in client_errors.CLASSES.values()}
    own = {
        kind.__name__: kind.code
        for kind in vars(client_errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.FastpacaError)
        and kind.__module__ == client_errors.__name__
    }
    known = {**kinds, **own}
    assert {name: code for name, code in shown.items() if name in known} == known
    for name in known:
        assert hasattr(errors, name) or hasattr(fastpaca, name), name


def test_frames_have_their_row() -> None:
    """
    The page names each frame with its fields.
    """
    rows = {row[0].strip("`"): row[1] for row in page("python-sdk").rows("Follow")}
    for kind in values.Frame.__args__:
        fields = [f"`{name}`" for name in kind.__struct_fields__ if name != "cursor"]
        assert sorted(rows[kind.__name__].split(", ")) == sorted(fields)


@pytest.mark.parametrize("kind", [Timeouts, Retries])
def test_terms_have_their_row(kind: type[msgspec.Struct]) -> None:
    """
    The page names each term with its default.
    """
    shown = {row[0].strip("`"): row[1] for row in page("retries").rows("In Python")}
    known = {field.name: str(field.default) for field in msgspec.structs.fields(kind)}
    assert {name: shown[name] for name in known} == known
    terms = {*Timeouts.__struct_fields__, *Retries.__struct_fields__}
    assert set(shown) == terms


def test_fields_of_values_are_named() -> None:
    """
    The page names what the values of a context hold.
    """
    text = page("python-sdk").text
    for kind in (
        values.ContextInfo,
        values.Compaction,
        values.View,
        values.ProviderView,
        values.TokenUsage,
    ):
        for name in kind.__struct_fields__:
            assert f"`{name}`" in text, (kind.__name__, name)
