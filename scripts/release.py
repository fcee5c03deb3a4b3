"""
Build what a release publishes: a wheel, a source archive and a package for npm, all in `dist/`.

    python scripts/release.py [TAG]

Refuses if the versions in the tree differ from each other or from the tag, or if the changelog has
no heading for the tagged version.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from fastpaca import __version__

ROOT: Final = Path(__file__).parents[1]
SDK: Final = ROOT / "sdk/typescript"


def faults(tag: str | None) -> list[str]:
    """Return what is wrong with the versions of the tree."""
    npm = json.loads((SDK / "package.json").read_text(encoding="utf-8"))["version"]
    found = []
    if npm != __version__:
        found.append(f"sdk/typescript/package.json has version {npm}, not {__version__}")
    if tag is None:
        return found
    if tag != f"v{__version__}":
        found.append(f"the tag is {tag}, but the version is {__version__}")
    if f"\n## [{__version__}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        found.append(f"CHANGELOG.md has no heading for {__version__}")
    if not (ROOT / "tests/golden" / __version__).is_dir():
        found.append(f"tests/golden has no folder for {__version__}")
    return found


def main() -> None:
    """Check the versions, then build."""
    tag = sys.argv[1] if len(sys.argv) > 1 else None
    if found := faults(tag):
        sys.exit("fastpaca: " + "; ".join(found))
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for command, folder in (
        ([sys.executable, "-m", "build", "--no-isolation"], ROOT),
        (["npm", "pack", "--silent", f"--pack-destination={ROOT / 'dist'}"], SDK),
    ):
        subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - both are our own


if __name__ == "__main__":
    main()
