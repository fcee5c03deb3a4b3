"""The tests of the TypeScript SDK itself, which run on Node."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.sdk.npm import SDK, node

FILES = sorted(path.name.removesuffix(".ts") for path in SDK.glob("test/*.test.ts"))


@pytest.mark.parametrize("name", FILES)
def test_typescript(name: str, built: Path) -> None:
    """
    The tests of a file pass.
    """
    said = node("--test", "--test-reporter=tap", built / f"{name}.js", cwd=SDK)
    counts = dict(re.findall(r"^# (tests|pass) (\d+)$", said, re.MULTILINE))
    assert int(counts["tests"]) > 1, said
    assert counts["pass"] == counts["tests"], said


def test_the_files_of_tests_are_found() -> None:
    """
    The list above is that of the folder, and not empty.
    """
    assert {"stories.test", "faults.test"} <= set(FILES)


@pytest.mark.parametrize("folder", [SDK, SDK / "runtimes"], ids=["sdk", "runtimes"])
def test_locks_have_hashes_and_name_no_host(folder: Path) -> None:
    """
    What is installed is what was locked, from whatever registry a machine has.
    """
    text = (folder / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert len(packages) > 1
    assert all(found["integrity"] for name, found in packages.items() if name)
