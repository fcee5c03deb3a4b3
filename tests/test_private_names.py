"""The package uses of others only what they have made public, so that their releases may differ."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "fastpaca"
OWN = "fastpaca"

DOCUMENTED = {
    "os._exit": "public in spite of its name",
    "argparse._SubParsersAction": "the type of what `add_subparsers` returns has no other name",
}
"""Names that look private, and why they may be used."""


def is_private(dotted: str) -> bool:
    """Return whether a part of a *dotted* name is private."""
    return any(part.startswith("_") and not part.endswith("__") for part in dotted.split("."))


def private_names(source: str) -> Iterator[str]:
    """Yield the private names of other packages that *source* imports, or takes from a module."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            modules |= {(a.asname or a.name).split(".")[0]: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        yield from (name for name in names if _is_of_others(name) and is_private(name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            start = ast.unparse(node.value).split(".")[0]
            if start in modules and _is_of_others(modules[start]):
                yield ast.unparse(node)


def _is_of_others(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] not in {OWN, "__future__"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a._b", ["a._b"]),
        ("import a._b as c", ["a._b"]),
        ("from a import _b", ["a._b"]),
        ("from a._b import C", ["a._b.C"]),
        ("from _a import b", ["_a.b"]),
        ("import a\na.b._c()", ["a.b._c"]),
        ("from a import B\nclass C(B): pass\nB._d", ["B._d"]),
        ("import a.__main__\nfrom a import __version__\nfrom __future__ import b", []),
        ("from fastpaca import _a\nfrom . import _b\nself._c", []),
    ],
)
def test_private_names_are_found(source: str, names: list[str]) -> None:
    """
    A private module, a private name of a module, and one taken from either are told.
    """
    assert list(private_names(source)) == names


def test_no_private_name_of_another_package_is_used() -> None:
    """
    No module of the package imports a name of another package that begins with an underscore.
    """
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in private_names(path.read_text(encoding="utf-8"))
        if name not in DOCUMENTED
    }
    assert not found
