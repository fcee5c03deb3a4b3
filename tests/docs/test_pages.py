"""The pages as texts: links, the table of contents, and how they are written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, Page, pages
from tests.docs.pages import page as page_named
from tests.test_tidy import IDIOMS

ALL = pytest.mark.parametrize("page", pages(), ids=repr)


@ALL
def test_links_resolve(page: Page) -> None:
    """
    A link inside of the project leads to a file that exists, and to a heading that it has.
    """
    broken = [f"{page.name}:{line} {link}" for line, link in page.links if not _leads(page, link)]
    assert not broken


def _leads(page: Page, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True
    name, _, anchor = link.partition("#")
    target = (page.path.parent / name).resolve() if name else page.path
    if not target.exists():
        return False
    return not anchor or anchor in Page(target).anchors


@ALL
def test_named_files_exist(page: Page) -> None:
    """
    A file of the source tree that a page names is there.
    """
    named = re.findall(r"`((?:src|tests|docs|requirements|scripts)/[\w./-]+)`", page.text)
    assert not [name for name in named if not (ROOT / name).exists()]


def test_site_links_stay_inside_of_the_site() -> None:
    """
    Pages of the site link to nothing in the tree beside it, which a reader of the site has not.
    """
    outside = [
        f"{page.name}:{line} {link}"
        for page in pages()
        if page.path.parent == DOCS
        for line, link in page.links
        if ".." in Path(link).parts
    ]
    assert not outside


def test_every_page_is_in_the_table_of_contents() -> None:
    """
    The site lists each of its pages exactly once, and no page that is not there.
    """
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^\s+- [^:]+: (\S+\.md)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))


@ALL
def test_json_blocks_are_json(page: Page) -> None:
    """
    What is shown as JSON can be pasted as JSON.
    """
    for block in page.blocks:
        if block.language == "json":
            try:
                json.loads(block.text)
            except ValueError as error:
                pytest.fail(f"{page.name}:{block.line}: {error}")


@ALL
def test_prose_has_one_sentence_a_line(page: Page) -> None:
    """
    A sentence has its line, so that a change of one is a change of one line.
    """
    several = [
        f"{page.name}:{number} {line}"
        for number, line in page.prose
        if not line.lstrip().startswith(
            ("|", "-", "*", "1", "2", "3", "4", "5", "6", "7", "8", "9")
        )
        and re.search(r"[a-z`)*][.!?] [A-Z`\[]", line)
    ]
    assert not several


@pytest.mark.parametrize("page", [*pages(), Page(ROOT / "CONTRIBUTING.md")], ids=repr)
def test_prose_is_plain_english(page: Page) -> None:
    """
    A page holds no idiom that a native speaker stumbles over; names and messages in code marks may.
    """
    broken = [
        f"{page.name}:{number} {match[0]!r}: write {instead}"
        for number, line in page.prose
        for pattern, instead in IDIOMS.items()
        if (
            match := re.search(
                rf"\b(?:{pattern})(?!\w)", re.sub("`[^`]*`", "", line), re.IGNORECASE
            )
        )
    ]
    assert not broken


def test_glossary_is_in_order() -> None:
    """
    A word is found in the glossary by its place, and stands there once.
    """
    words = [row[0].strip("*").lower() for row in page_named("glossary").rows("Glossary")]
    assert words == sorted(set(words))


REFERENCES = {"python-sdk", "rest-api", "typescript-sdk"}


@pytest.mark.parametrize("page", pages(), ids=repr)
def test_page_is_short(page: Page) -> None:
    """
    A page that is read from its beginning has at most 250 lines; references may have more.
    """
    assert page.path.stem in REFERENCES or page.text.count("\n") <= 250


@ALL
def test_page_opens_with_what_its_reader_can_do(page: Page) -> None:
    """
    The first paragraph of a page speaks to its reader, and says what the page is good for.
    """
    paragraph = page.text.split("\n\n")[1]
    assert re.search(r"\byou(r)?\b|^(Use|Look up)\b", paragraph, re.IGNORECASE), paragraph


@ALL
def test_nothing_is_left_to_do(page: Page) -> None:
    """
    A page is finished: no marks of work to come, and no path of somebody's machine.
    """
    for mark in ("TODO", "FIXME", "TBD", "XXX", "OUTPUT ", "/home/", "/work/", "/tmp/"):
        assert mark not in page.text
