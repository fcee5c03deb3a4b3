"""What the package requires, and the script that tries it next to other libraries."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def compat() -> ModuleType:
    """The script behind `make compat`."""
    spec = importlib.util.spec_from_file_location("compat", ROOT / "scripts" / "compat.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def required() -> dict[str, list[Requirement]]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = {"": project["dependencies"]} | {f"[{name}]": extras[name] for name in extras}
    return {extra: [Requirement(line) for line in lines] for extra, lines in listed.items()}


def test_requirements_are_floors() -> None:
    """
    No package excludes a newer release of another, so that a project can have both.
    """
    for one in [requirement for listed in required().values() for requirement in listed]:
        assert [specifier.operator for specifier in one.specifier] == [">="], str(one)


def test_every_floor_is_tried(compat: ModuleType) -> None:
    """
    `make compat` installs each package at the version that it may not be below.
    """
    of_client = required()[""]
    for extra, added in required().items():
        listed = of_client + added if extra else of_client
        pins = [Requirement(pin) for pin in compat.floors(extra)]
        assert [pin.name for pin in pins] == [one.name for one in listed]
        for pin, one in zip(pins, listed, strict=True):
            (version,) = (specifier.version for specifier in pin.specifier)
            assert version in {specifier.version for specifier in one.specifier}
            assert pin.marker == one.marker


def test_all_code_of_the_page_is_tried(compat: ModuleType) -> None:
    """
    The code runs next to what is imported, a local node included where the server is installed.
    """
    address = "http://127.0.0.1:1"
    server = compat.script(compat.Environment("a", (), imports=("agents",)), address)
    assert server.startswith("import agents\n")
    assert ".local(" in server
    client = compat.script(compat.Environment("b", (), extra=""), address)
    assert ".local(" not in client
    for text in (server, client):
        assert compat.SHOWN_NODE not in text.replace(address, "")
        compile(text, "page", "exec")


def test_what_is_tried_is_documented(compat: ModuleType) -> None:
    """
    The page for contributors names each framework.
    """
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for name in compat.FRAMEWORKS:
        assert f"`{name}`" in page
    for path in compat.FLOOR_TESTS:
        assert (ROOT / path).exists(), path
