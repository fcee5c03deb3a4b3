"""The TypeScript SDK compiled, packed and installed, once for each process of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.npm import SDK, npm, tsc


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests of the SDK, compiled."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "package.json").write_text('{"type": "module"}')
    tsc("--project", "test", "--noEmit", "false", "--outDir", folder, cwd=SDK)
    return folder / "test"


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is published."""
    folder = tmp_path_factory.mktemp("tarball")
    # Packed in a copy, because packing builds, and several processes may do so at once.
    source = folder / "source"
    source.mkdir()
    for name in ("package.json", "README.md", "LICENSE", "build.mjs", "tsconfig.json"):
        (source / name).write_bytes((SDK / name).read_bytes())
    for name in ("src", "node_modules"):
        (source / name).symlink_to(SDK / name)
    npm("pack", "--pack-destination", folder, cwd=source)
    (packed,) = folder.glob("*.tgz")
    return packed


@pytest.fixture(scope="session")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project that has installed the package."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"private": true}')
    npm("install", tarball, cwd=folder)
    return folder
