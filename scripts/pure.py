"""Print where the pure modules are, as patterns for `coverage report --include`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

CONTRACTS = ("pure", "batch", "http-machine")

tools = tomllib.loads(Path("pyproject.toml").read_text())["tool"]
modules = [
    f"src/{module.replace('.', '/')}"
    for contract in tools["importlinter"]["contracts"]
    if contract["id"] in CONTRACTS
    for module in contract["source_modules"]
]
sys.stdout.write(",".join(f"{module}{end}" for module in modules for end in (".py", "/*")))
