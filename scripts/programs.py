"""
Write the programs of `examples/` into the pages that show them.

    python scripts/programs.py

A program stands in a block of code below a mark that names its file, without the docstring at its
beginning, since the page says what it is. A test holds the two equal.

    <!-- program examples/loops/python/openai_chat.py -->
    <!-- loop of examples/loops/python/openai_chat.py -->

The second shows it only as far as it can be imported.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

BLOCK: Final = re.compile(
    r"<!-- (?P<what>program|loop of) (?P<path>\S+) -->\n```(?P<language>\w+)\n.*?^```$",
    re.DOTALL | re.MULTILINE,
)

DOCSTRING: Final = re.compile(r'\A(?:""".*?"""|/\*\*.*?\*/)\n+', re.DOTALL)


def with_programs(text: str) -> str:
    """Return the *text* of a page with each program as it is in its file."""

    def block(found: re.Match[str]) -> str:
        program = (ROOT / found["path"]).read_text(encoding="utf-8").rstrip()
        program = DOCSTRING.sub("", program)
        if found["what"] != "program":
            program = program.partition("\n\n\nif __name__")[0]
        return f"<!-- {found['what']} {found['path']} -->\n```{found['language']}\n{program}\n```"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        if (after := with_programs(before)) != before:
            page.write_text(after, encoding="utf-8")
