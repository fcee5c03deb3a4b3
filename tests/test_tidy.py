"""
The words, names and sizes that the source tree keeps to, as far as a machine can check them.

The idea is that of TigerBeetle's `tidy.zig`: a style that nothing checks is forgotten. Every rule
is a table that says what to write instead. To change a rule, change its row.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "src" / "fastpaca"
SDK: Final = ROOT / "sdk" / "typescript" / "src"

LINES_MAX: Final = 450

REASON: Final = "file is long because"
"""What the reason of a longer file begins with, in its first docstring."""

IDIOMS: Final = {
    r"(?<!falling )behind(?! (?:(?:a|an|the|its|one|that) )?(?:\w+ )?"
    r"(?:address|balancer|HAProxy|nginx|PgBouncer|pooler|proxies|proxy|URL)\b)": "after, below",
    r"beside": "besides, next to",
    r"of (?:now|then)": "current, past",
    r"for (?:good|ever)": "permanently, forever",
    r"lets? go|letting go": "release, disconnect, close",
    r"looked whether": "check whether",
    r"c[ao]m(?:e|es|ing) into being": "create",
    r"nobody|somebody|whatever|whoever": "name the thing or the person",
    r"parted|parts nothing|part company": "separate, cut",
    r"(?<!there )(?:are|is|was|were) no (?!longer|more|such)": "is not a …",
    r"kn[eo]ws? no": "does not use",
    r"chance": "randomness, jitter",
    r"anew": "again",
    r"overtak\w+": "stale",
    r"go(?:es|ing|ne)? on (?:with|from)": "continue",
    # Views have the marker `[... 9 tokens left out ...]`, which readers may look for.
    r"le(?:aves?|aving|ft) out(?! \.\.\.)": "omit, skip, drop",
}
"""Idioms that read as a translation, and what to write instead."""

FIRST_WORDS: Final = {
    r"Answers? (?!\w+ing)": "Return",
    r"Gives? ": "Return, yield",
    r"Tells? (?:how|if|what|when|where|whether|which|who)": "Return whether, return",
}
"""What no docstring begins with, and what it begins with instead."""

CLASS_WORDS: Final = {
    "Alarm": "DeadlineTimer",
    "Answer": "Response",
    "AnswerRow": "IdempotencyRecord",
    "Contact": "ArchiveSession",
    "Delta": "Diff",
    "Door": "Admission",
    "Draw": "RandomInt",
    "Edge": "App",
    "Held": "StuckGroup",
    "Hot": "Cache",
    "Joints": "CutPoints",
    "Known": "Have",
    "Mark": "ToolReference",
}
"""Names of classes that say too little, and the term of the field."""

NAMES: Final = {
    r"(?:max|min)_\w+": "units last, most significant word first: bytes_max",
    r"\w+_(?:max|min)_\w+": "units last, most significant word first: page_bytes_max",
    r"found": "what it is: row, entry, match …",
    r"joints?": "cut points",
    r"openers?": "task messages",
    r"marks": "tool references",
}
"""Names of variables, parameters and fields that say too little, and what they say instead."""

NAMES_OF_OTHERS: Final = {
    "found": "a field of the API's error `conflict`",
}
"""Names that are given elsewhere, and where."""

ON_BOTH_SIDES: Final = {
    "CompactionFrame",
    "ContextFrame",
    "GapFrame",
    "Loss",
    "MessageFrame",
    "Repair",
    "ResetFrame",
    "RewindFrame",
    "TombstonedFrame",
}
"""What a node sends and its client receives: the same thing, so the same name on both sides."""

FILE_WORDS: Final = re.compile(r"common|core|handlers?|helpers?|managers?|misc|utils?")
"""File names that say nothing of what a file holds."""


class Prose(NamedTuple):
    """A docstring, a text or a run of comments, on one line."""

    line: int
    text: str
    is_docstring: bool = False


class Name(NamedTuple):
    """The name of a class, a variable, a parameter or a field, where it is defined."""

    line: int
    name: str
    is_class: bool = False


# --- reading a file ---


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _prose(path: Path) -> Iterator[Prose]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from _docstrings(ast.parse(text))
        yield from _comments(text)
        return
    for comment in re.finditer(r"/\*.*?\*/|(?:\s*//[^\n]*)+", text, re.DOTALL):
        words = re.sub(r"^[\s/*]+", " ", comment[0], flags=re.MULTILINE).strip("*/ \n")
        is_docstring = comment[0].startswith("/**")
        yield Prose(text.count("\n", 0, comment.start()) + 1, _flat(words), is_docstring)


def _docstrings(tree: ast.Module) -> Iterator[Prose]:
    """Iterate over docstrings, and over texts with more than one word."""
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings.add(node.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield Prose(node.lineno, _flat(node.value), node in docstrings)


def _comments(text: str) -> Iterator[Prose]:
    """Iterate over comments; those on consecutive lines are one."""
    run: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if run and token.start[0] != last + 1:
                yield Prose(last, _flat(" ".join(run)))
                run = []
            run.append(token.string.lstrip("# "))
            last = token.start[0]
    if run:
        yield Prose(last, _flat(" ".join(run)))


def _flat(text: str) -> str:
    return " ".join(text.split())


def _names(path: Path) -> Iterator[Name]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from _python_names(ast.parse(text))
        return
    for match in re.finditer(r"\b(?:class|interface) (\w+)", text):
        yield Name(text.count("\n", 0, match.start()) + 1, match[1], is_class=True)
    for match in re.finditer(r"\b(?:const|let|readonly) #?(\w+)|[(,] *(\w+)\??:", text):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", match[1] or match[2]).lower()
        yield Name(text.count("\n", 0, match.start()) + 1, name)


def _python_names(tree: ast.Module) -> Iterator[Name]:
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef():
                yield Name(node.lineno, node.name, is_class=True)
            case ast.arg():
                yield Name(node.lineno, node.arg)
            case ast.Name(ctx=ast.Store()):
                yield Name(node.lineno, node.id.lower())
            case ast.Attribute(ctx=ast.Store()):
                yield Name(node.lineno, node.attr)


def _broken(rules: Mapping[str, str], text: str) -> list[str]:
    """Return the rules that *text* breaks, with what to write instead."""
    return [
        f"{match[0]!r}: {instead}"
        for pattern, instead in rules.items()
        if (match := re.search(pattern, text, re.IGNORECASE))
    ]


# --- the rules ---

EVERY_FILE: Final = pytest.mark.parametrize(
    "path", [*_modules(), *sorted(SDK.glob("*.ts"))], ids=lambda path: str(path.relative_to(ROOT))
)


@EVERY_FILE
def test_prose_is_plain_english(path: Path) -> None:
    """
    Docstrings, comments and messages hold no idiom that a native speaker stumbles over.
    """
    idioms = {rf"\b(?:{pattern})(?!\w)": instead for pattern, instead in IDIOMS.items()}
    firsts = {rf"^{pattern}": instead for pattern, instead in FIRST_WORDS.items()}
    broken = [
        f"line {prose.line}: {rule}, not in: {prose.text}"
        for prose in _prose(path)
        for rule in _broken({**idioms, **(firsts if prose.is_docstring else {})}, prose.text)
    ]
    assert not broken, "\n".join(broken)


@EVERY_FILE
def test_names_say_what_they_hold(path: Path) -> None:
    """
    Units come last, and neither a variable nor a class has a name that says too little.
    """
    names = {rf"^_*(?:{pattern})$": instead for pattern, instead in NAMES.items()}
    classes = {rf"^_?{word}$": instead for word, instead in CLASS_WORDS.items()}
    broken = [
        f"line {name.line}: {rule}"
        for name in _names(path)
        if name.name not in NAMES_OF_OTHERS or path.name not in ("errors.py", "errors.ts")
        for rule in _broken(classes if name.is_class else names, name.name)
    ]
    assert not broken, "\n".join(broken)


@EVERY_FILE
def test_files_are_short_or_say_why_not(path: Path) -> None:
    """
    A file has at most 450 lines, unless its first docstring gives a reason; its name is a noun.
    """
    text = path.read_text(encoding="utf-8")
    head = _flat(re.sub(r"^ \*", "", text.split("import ")[0], flags=re.MULTILINE))
    assert text.count("\n") <= LINES_MAX or REASON in head
    assert not FILE_WORDS.fullmatch(path.stem.strip("_"))


@pytest.mark.parametrize("files", [_modules(), sorted(SDK.glob("*.ts"))], ids=["python", "sdk"])
def test_each_class_has_a_name_of_its_own(files: list[Path]) -> None:
    """
    No two classes of the tree share a name, whichever room they are in, but for those of what goes
    over the wire: one is the client's and one the node's.
    """
    places: dict[str, list[str]] = defaultdict(list)
    for path in files:
        for name in _names(path):
            if name.is_class:
                places[name.name].append(f"{path.relative_to(ROOT)}:{name.line}")
    for shared in ON_BOTH_SIDES:
        sides = ["client" in where.split("/") for where in places.pop(shared, [])]
        assert sides in ([], [True], [False], [True, False])
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_the_tables_find_what_they_are_for() -> None:
    """
    Each rule finds an example of its kind, and lets the usual English pass.
    """
    text = "What comes behind it is no JSON, and nobody lets go of it for good."
    assert len(_broken(IDIOMS, text)) == 5
    assert not _broken(IDIOMS, "There is no page after it, and a node behind a proxy is not one.")
    assert _broken(FIRST_WORDS, "Give the rows.")
    assert not _broken(FIRST_WORDS, "Return the rows.")
    assert _broken(NAMES, "max_bytes")
    assert not _broken({rf"^(?:{pattern})$": "" for pattern in NAMES}, "bytes_max")
