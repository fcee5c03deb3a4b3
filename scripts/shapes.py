"""
Write down the table of shapes for other languages and for readers.

    python scripts/shapes.py

Writes `tests/wire/shapes.json` and `docs/shapes.md`. A test holds both equal to the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from fastpaca import shapes

ROOT: Final = Path(__file__).parents[1]

PAGE_HEAD: Final = """\
# Shapes

fastpaca keeps the parts of a message as you send them, in the form of whichever provider you use.
To cut a conversation without breaking it, it must know what a part is: a call, its result, an
approval, reasoning, a text.
This page lists every form that it knows.
The page is generated from the table that the node uses.

A part that matches nothing here is yours: fastpaca keeps it, counts it as its JSON, and never looks
inside it.

## Calls and results in parts

The rows are tried in this order: a key that holds an object, a `toolCallId`, the exact type, the
end of the type.

"""


def document() -> str:
    """Return the table as the JSON text of `tests/wire/shapes.json`."""
    return json.dumps(shapes.table(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """Return the table as the page of the documentation."""
    table = shapes.table()
    return PAGE_HEAD + "\n".join((*_rows(), "", *_messages(table), "", *_others(table))) + "\n"


def _rows() -> Iterator[str]:
    yield "| provider | a part | is | id | name |"
    yield "| --- | --- | --- | --- | --- |"
    for row in shapes.ROWS:
        cells = (row.provider, _condition(row), _meaning(row), _keys(_ids(row)), _name(row))
        yield f"| {' | '.join(cells)} |"


def _ids(row: shapes.Row) -> tuple[str, ...]:
    return (*row.ids, row.alias) if row.alias else row.ids


def _condition(row: shapes.Row) -> str:
    if row.by is shapes.By.KEY:
        return f"with an object under `{row.word}`"
    end = "any `*" if row.by is shapes.By.SUFFIX else "`"
    said = f"{end}{row.word}`"
    needed = [f"`{key}`" for key in row.needs]
    if row.by is shapes.By.TOOL_CALL_ID:
        needed.append("`toolCallId`")
    if row.has_state:
        needed.append("`state`")
    without = " without `state`" if row.has_state is False else ""
    return said + (f" with {' and '.join(needed)}" if needed else "") + without


def _meaning(row: shapes.Row) -> str:
    return {
        shapes.Side.CALL: "a call",
        shapes.Side.RESULT: "a result",
        shapes.Side.BOTH: "a call and its result",
        shapes.Side.REQUEST: "a request for approval",
        shapes.Side.RESPONSE: "an answer to such a request",
    }[row.side]


def _name(row: shapes.Row) -> str:
    if row.word == "tool-*":
        return "the rest of the type"
    return f"always `{row.name}`" if row.name else _keys(row.names)


def _keys(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _messages(table: dict[str, Any]) -> Iterator[str]:
    keys = table["messages"]
    yield "## Calls and results in keys of a message"
    yield ""
    yield (
        f"- `{keys['calls_key']}`: a list of calls, each with `id` and `function.name` or `name`."
    )
    yield f"- `{keys['call_key']}`: one call without an id."
    yield (
        f"- A message of role {_or(keys['result_roles'])} is a result as a whole, of the call that "
        f"`{keys['result_id_key']}` names, or of one whose name stands in "
        f"{_or(keys['result_name_keys'])}. If its parts are results themselves and it names no id, "
        "they are the results."
    )


def _others(table: dict[str, Any]) -> Iterator[str]:
    reasoning, media, page_only = table["reasoning"], table["media"], table["page_only"]
    keys = table["messages"]
    yield "## Everything else"
    yield ""
    yield (
        f"- **Reasoning**: the types {_keys(reasoning['types'])}; a text with "
        f"`{reasoning['flag']}: true`; the keys {_keys(reasoning['message_keys'])} of a message. A "
        f"part of type `reasoning` with one of {_keys(reasoning['item_keys'])} is an item of the "
        "Responses API."
    )
    yield f"- **Texts**: the types {_keys(table['texts'])}."
    yield (
        f"- **Media**: the types {_keys(media['types'])}, and those that begin with "
        f"{_keys(media['prefixes'])}."
    )
    yield (
        f"- **Page-only**: the types {_keys(page_only['types'])}, and those that begin with "
        f"{_keys(page_only['prefixes'])}. No model sees them and they cost nothing."
    )
    yield (
        f"- **Compaction**: the type `{table['compaction']['type']}`, if "
        f"{_or(table['compaction']['keys'])} is not empty."
    )
    yield (
        "- **Roles**: `user` is the user; "
        f"{_or(keys['assistant_roles'])} is the assistant; {_or(keys['instruction_roles'])} gives "
        "instructions. Roles are exact."
    )
    yield (
        "- **Bookkeeping**: these keys of a message never reach a model and cost nothing: "
        f"{_keys(keys['bookkeeping_keys'])}. Every other key counts."
    )
    yield (
        "- **Signatures and encrypted payloads**: what stands, at any depth, under "
        f"{_keys(table['opaque']['keys'])}, and under `data` of a `redacted_thinking` part."
    )


def _or(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def files() -> dict[Path, str]:
    """Return what each generated file holds."""
    return {
        ROOT / "tests" / "wire" / "shapes.json": document(),
        ROOT / "docs" / "shapes.md": page(),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
