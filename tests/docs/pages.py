"""The pages that users read, taken apart: headings, links, code blocks, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^(```+)(\w*)\s*$")
_HEADING = re.compile(r"^#{1,6} (.+)$")
_LINK = re.compile(r"(?<!!)\[(?:[^\]]*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`")


class Block(NamedTuple):
    """A fenced block of code: what language it says it is, its text, and the line it begins at."""

    language: str
    text: str
    line: int


class Page:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self.text = path.read_text(encoding="utf-8")

    def __repr__(self) -> str:
        return self.name

    @cached_property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        found: list[Block] = []
        opened: tuple[str, str, int] | None = None
        lines: list[str] = []
        for number, line in enumerate(self.text.splitlines(), 1):
            fence = _FENCE.match(line)
            if opened is None and fence:
                opened, lines = (fence[1], fence[2], number), []
            elif opened is not None and line == opened[0]:
                found.append(Block(opened[1], "\n".join(lines), opened[2]))
                opened = None
            elif opened is not None:
                lines.append(line)
        assert opened is None, f"{self.name}:{opened[2]} opens a block that never ends"
        return found

    @cached_property
    def prose(self) -> list[tuple[int, str]]:
        """Its lines outside of fenced blocks, with their numbers."""
        inside = {
            number
            for block in self.blocks
            for number in range(block.line, block.line + block.text.count("\n") + 3)
        }
        lines = enumerate(self.text.splitlines(), 1)
        return [(number, line) for number, line in lines if number not in inside]

    @property
    def headings(self) -> list[str]:
        """The texts of its headings."""
        found = (_HEADING.match(line) for _, line in self.prose)
        return [heading[1] for heading in found if heading]

    @property
    def anchors(self) -> set[str]:
        """What a link can point to, as the site and code hosts make it of the headings."""
        return {_slug(heading) for heading in self.headings}

    @property
    def links(self) -> Iterator[tuple[int, str]]:
        """Its links, with the number of their line."""
        for number, line in self.prose:
            for link in _LINK.findall(_CODE.sub("", line)):
                yield number, link

    def section(self, heading: str) -> str:
        """Give the prose below a heading, up to the next heading of the same or a higher level."""
        lines = [line for _, line in self.prose]
        start = next(
            i for i, line in enumerate(lines) if re.fullmatch(rf"#+ {re.escape(heading)}", line)
        )
        level = len(lines[start].split(" ")[0])
        end = start + 1
        while end < len(lines) and not re.match(rf"#{{1,{level}}} ", lines[end]):
            end += 1
        return "\n".join(lines[start + 1 : end])

    def tables(self, heading: str) -> list[list[list[str]]]:
        """Give the tables below a heading: their rows without the head, cell by cell."""
        found: list[list[list[str]]] = []
        before = ""
        for line in self.section(heading).splitlines():
            if line.startswith("|"):
                if not before.startswith("|"):
                    found.append([])
                found[-1].append([cell.strip() for cell in _cells(line)])
            before = line
        return [table[2:] for table in found]

    def rows(self, heading: str) -> list[list[str]]:
        """Give the rows of all tables below a heading."""
        return [row for table in self.tables(heading) for row in table]


def _cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line.strip().strip("|"))


def _slug(heading: str) -> str:
    # Code marks vanish and what is no word goes, in Python-Markdown as on code hosts.
    text = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"\s+", "-", text)


def pages() -> list[Page]:
    """All pages: the README, and those of the site."""
    return [Page(ROOT / "README.md"), *(Page(path) for path in sorted(DOCS.glob("*.md")))]


def page(name: str) -> Page:
    """The page of the site with this name."""
    return Page(DOCS / f"{name}.md")
