"""The AI SDK's own validator and conversion, asked in Node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.sdk.npm import NODE

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "examples" / "node-chat"
"""Where the package is installed, at the version that the examples are locked to."""


def verdicts(lists: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """
    Return what `validateUIMessages` and `convertToModelMessages` say of each list: `ok`, or an
    error.
    """
    done = subprocess.run(
        [str(NODE), str(Path(__file__).with_name("ui.mjs")), str(PACKAGES)],
        input="\n".join(json.dumps(messages) for messages in lists),
        text=True,
        check=True,
        stdout=subprocess.PIPE,
        timeout=280,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
