"""
Write the tables of fields and parameters in `docs/rest-api.md`.

    python scripts/fields.py

They are made of `openapi.json`, so run `scripts/openapi.py` first. A test holds the two equal. A
table stands between a mark that names a schema or an operation, and a mark that ends it:

    <!-- fields of ContextChanges -->
    <!-- query of GET /v1/contexts -->
    <!-- end -->
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs/rest-api.md"

TABLE: Final = re.compile(r"<!-- (fields|query) of (\S.*?) -->\n.*?<!-- end -->\n", re.DOTALL)

ITEMS: Final = {
    "CompactionJSON": "compactions",
    "Explained": "ranges",
    "NewMessage": "messages",
    "Loss": "losses",
    "Part": "objects, each with a string `type`",
    "Repair": "repairs",
    "SeqRange": "ranges of seqs",
    "Segment": "segments",
    "SentMessage": "messages",
    "WindowMessage": "messages",
}
"""What a list of a schema is called."""

Spec = dict[str, Any]


class Tables:
    """The tables that *document*, the API's description, has to offer."""

    def __init__(self, document: Spec) -> None:
        self._paths = document["paths"]
        self._components = document["components"]

    def fields(self, name: str) -> str:
        """Return the table of the fields of a schema."""
        found = self._components["schemas"][name]
        required = set(found.get("required", ()))
        is_sent = "patternProperties" in found or name in ("NewMessage", "Usage")
        rows = [
            (f"`{field}`", type_of(schema), *self._cells(schema, is_sent, field in required))
            for field, schema in found["properties"].items()
        ]
        return table(("field", "type", *(["default"] if is_sent else []), "meaning"), rows)

    def query(self, name: str) -> str:
        """Return the table of the query parameters of an operation, such as `GET /v1/contexts`."""
        method, path = name.split()
        found = (self._resolved(one) for one in self._paths[path][method.lower()]["parameters"])
        rows = [
            (
                f"`{one['name']}`",
                type_of(one["schema"]),
                default_of(one["schema"]),
                sentence(one["description"]),
            )
            for one in found
            if one["in"] == "query"
        ]
        return table(("query", "type", "default", "meaning"), rows)

    def _cells(self, schema: Spec, is_sent: bool, is_required: bool) -> Iterable[str]:
        if is_sent:
            yield "required" if is_required else default_of(schema)
        described = schema if "description" in schema else self._resolved(schema)
        yield sentence(described["description"])

    def _resolved(self, spec: Spec) -> Spec:
        while "$ref" in spec:
            kind, name = spec["$ref"].split("/")[-2:]
            spec = self._components[kind][name]
        return spec


def type_of(schema: Spec) -> str:
    """Say in a few words what values *schema* accepts."""
    if "anyOf" in schema:
        return " or ".join(type_of(one) for one in schema["anyOf"])
    if "enum" in schema:
        return alternatives([f"`{value}`" for value in schema["enum"]])
    kind: str | list[str] = schema.get("type", "object" if "$ref" in schema else "any")
    if isinstance(kind, list):
        return " or ".join(type_of(schema | {"type": one}) for one in kind)
    if kind == "null":
        return "`null`"
    if kind == "array":
        items = schema["items"].get("$ref", "").rpartition("/")[2]
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        size = f"{low:,} to {high:,} " if "description" in schema and high and low else ""
        return f"list of {size}{ITEMS.get(items, 'objects')}"
    if kind == "string":
        if schema.get("format") == "date-time":
            return "time"
        return "non-empty string" if schema.get("minLength") else "string"
    return kind + bounds(schema)


def bounds(schema: Spec) -> str:
    """Say between which values a number must be; the ends of what JSON can hold go unsaid."""
    if "exclusiveMinimum" in schema:
        most = f", at most {schema['maximum']}" if "maximum" in schema else ""
        return f" above {schema['exclusiveMinimum']}{most}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None or low < 0:
        return ""
    return f" from {low:,}" if high is None or high > 2**52 else f", {low:,} to {high:,}"


def default_of(schema: Spec) -> str:
    """Say what holds if it is left out."""
    if "default" not in schema:
        return "none"
    value = schema["default"]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`" if value != "" else "empty"


def alternatives(names: list[str]) -> str:
    """Join *names* with commas and an or."""
    return " or ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def sentence(text: str) -> str:
    """Return *text* as it stands in a cell: without the full stop of a single sentence."""
    return text.removesuffix(".").replace("|", "\\|")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table of Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(page: str, document: Spec) -> str:
    """Put the tables where *page* has them."""
    tables = Tables(document)

    def replaced(found: re.Match[str]) -> str:
        kind, name = found[1], found[2]
        text = tables.fields(name) if kind == "fields" else tables.query(name)
        return f"<!-- {kind} of {name} -->\n\n{text}\n<!-- end -->\n"

    return TABLE.sub(replaced, page)


def text() -> str:
    """Return the page as it should be."""
    path = ROOT / "src/fastpaca/api/openapi/openapi.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    return written(PAGE.read_text(encoding="utf-8"), document)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
