"""The workflows do what the Makefile does, and run only code that was looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))

ALL = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
        yield from job["steps"]


def targets(path: Path) -> Iterator[str]:
    """The targets of make that a workflow runs, those of a matrix included."""
    text = path.read_text(encoding="utf-8")
    yield from re.findall(r"run: make ([a-z]+)", text)
    for job in yaml.safe_load(text)["jobs"].values():
        for one in job.get("strategy", {}).get("matrix", {}).get("target", ()):
            yield one.split(" ")[0]


@ALL
def test_targets_exist(path: Path) -> None:
    """
    Each target of make that a workflow runs is one that `make help` lists.
    """
    known = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(targets(path)) <= set(known)


@ALL
def test_actions_are_pinned(path: Path) -> None:
    """
    An action of somebody else is named by its commit, with the release that this is beside it.
    """
    text = path.read_text(encoding="utf-8")
    for used in {step["uses"] for step in steps(path) if "uses" in step}:
        assert re.search(rf"{re.escape(used)} # v\d+\.\d+\.\d+$", text, re.MULTILINE), used
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", used), used


@ALL
def test_workflows_only_read(path: Path) -> None:
    """
    A job may write only what it says itself, and that is what it publishes.
    """
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


def test_npm_takes_what_is_published() -> None:
    """
    The package names its repository, which its provenance is checked against, before it is made;
    and it is published from a path that npm can't take for a repository.
    """
    release = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert 0 < release.index("npm pkg set") < release.index("run: make dist")
    assert re.search(r"npm publish .* \./dist/", release)


def test_every_supported_version_is_tested() -> None:
    """
    The tests run on each Python that the package supports, from its floor on, without a hole.
    """
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    versions = ci["jobs"]["test"]["strategy"]["matrix"]["python"]
    minors = [int(version.split(".")[1]) for version in versions]
    floor = re.search(
        r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text("utf-8")
    )
    assert floor
    assert minors == list(range(int(floor[1]), minors[-1] + 1))
