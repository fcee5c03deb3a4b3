"""
How calls, results and approvals are written: a form for every pair of rows of the table of shapes.

A row that is added to `fastpaca.shapes` has its forms at once, and so its conversations in every
test that goes through all forms.
What a part means is told from its row, so that a test need not trust the code that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fastpaca import shapes
from fastpaca.shapes import By, Row, Side
from tests.rules.meaning import WHOLE, Item, Json, Place, Said

ROLES: Final[Mapping[str, str]] = {
    "Anthropic": "user",
    "Gemini": "user",
    "Bedrock": "user",
    "pydantic-ai": "user",
    "AI SDK, UI messages": "assistant",
}
"""Who brings the results of a provider; those of all others are messages of the tool."""

SERVED: Final = ("builtin-", "server_", "mcp_", "custom_tool_")
"""What results begin with of tools that a provider runs: they come in the reply of the model."""


class Piece(NamedTuple):
    """
    Something to be said.

    Attributes:
        item: What it means.
        part: The part that says it, if one does.
        keys: The keys of the message that say it, if any do.
    """

    item: Item
    part: Json | None = None
    keys: Mapping[str, Any] = {}


def text(words: str = "so") -> Piece:
    """A text."""
    kind = "text" if words.strip() else "blank"
    return Piece(Item(kind, type="text"), {"type": "text", "text": words})  # type: ignore[arg-type]


def page() -> Piece:
    """A part that only a page shows."""
    return Piece(Item("page", type="data-weather"), {"type": "data-weather", "data": {}})


def compaction() -> Piece:
    """A provider's own summary of all that was said before."""
    part = {"type": "compaction", "content": "They met."}
    return Piece(Item("compaction", type="compaction"), part)


def thought(provider: str = "") -> Piece:
    """Reasoning, as a provider writes it."""
    part: Json = {"type": "reasoning", "text": "hm"}
    if "Responses" in provider:
        part = {"type": "reasoning", "id": "rs", "summary": []}
    elif "Anthropic" in provider:
        part = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    elif "Gemini" in provider:
        part = {"type": "text", "text": "hm", "thought": True}
    elif "Bedrock" in provider:
        part = {"type": "reasoningContent", "reasoningContent": {"text": "hm"}}
    item = Item("reasoning", is_item="summary" in part, type=part["type"])
    return Piece(item, part)


def thought_in_key() -> Piece:
    """Reasoning under a key of the message."""
    return Piece(Item("reasoning"), None, {"reasoning_content": "hm"})


def say(role: str, *pieces: Piece, tokens: int | None = 40, **keys: Any) -> Said:
    """
    Make a message; what stands in keys comes after what stands in parts.

    It says itself how many *tokens* it costs, unless they are None. A key that holds one thing
    holds the first that is said, and the others are not said at all.
    """
    parts: list[Json] = []
    found: Json = {}
    in_parts: list[Item] = []
    in_keys: list[Item] = []
    for piece in pieces:
        if not found.keys().isdisjoint(piece.keys.keys() - {shapes.CALLS_KEY}):
            continue
        places: list[Place] = []
        if piece.part is not None:
            places.append(len(parts))
            parts.append(piece.part)
        for key, value in piece.keys.items():
            if key == shapes.CALLS_KEY:
                calls = found.setdefault(key, [])
                places.append(f"{key}.{len(calls)}")
                calls += value
            else:
                found[key] = value
                places.append(WHOLE if piece.item.kind == "result" else key)
        item = piece.item._replace(places=tuple(dict.fromkeys(places)))
        (in_parts if piece.part is not None else in_keys).append(item)
    message = {"role": role, "parts": parts, **found, **keys}
    if tokens is not None:
        message["token_count"] = tokens
    items = joined(in_parts, in_keys)
    is_whole = any(WHOLE in item.places for item in items)
    return Said(role, items, message, tokens or 0, has_other_keys=is_whole or bool(keys))


def joined(in_parts: Sequence[Item], in_keys: Sequence[Item]) -> tuple[Item, ...]:
    """Join what a message says twice, in a part and in a key: it is one, where the part stands."""
    items = list(in_parts)
    rest = []
    for item in in_keys:
        twins = (
            at
            for at, one in enumerate(items)
            if one.kind == item.kind != "reasoning"
            and (one.id, "" if one.id else one.name) == (item.id, "" if item.id else item.name)
            and len(one.places) == 1
        )
        at = next(twins, None)
        if at is None:
            rest.append(item)
        else:
            name = items[at].name or item.name
            items[at] = items[at]._replace(places=items[at].places + item.places, name=name)
    return (*items, *rest)


@dataclass(frozen=True)
class Half:
    """
    One way to write a call or a result.

    Attributes:
        row: Its row of the table; None if it stands in keys.
        key: Of what stands in keys: the key of the call, or of what binds the result.
        id_key: The key of its id, if it has one.
        role: Who says it.
    """

    row: Row | None
    key: str = ""
    id_key: str = ""
    role: str = "assistant"

    @property
    def name(self) -> str:
        """How a test names it."""
        if self.row is None:
            return f"{self.key} of {self.role}"
        return f"{self.row.word} by {self.id_key}"

    @property
    def provider(self) -> str:
        """Whose it is."""
        return "OpenAI Chat" if self.row is None else self.row.provider

    def write(self, id_: str, name: str, value: Any, kind: str, *, is_open: bool = False) -> Piece:
        """
        Write a call or a result.

        Args:
            id_: Its id; empty for none.
            name: The name of its tool, where it can be said.
            value: What the call is given, or what the result holds.
            kind: `call` or `result`.
            is_open: Of a part that can be both, whether its result is still to come.
        """
        if self.row is None:
            return self._in_keys(id_, name, value, kind)
        row = self.row
        held = {self.id_key: id_} if id_ else {}
        if id_ and self.id_key == row.alias:
            held[row.ids[0]] = f"of {id_}"
        if row.names:
            held[row.names[0]] = name
        held |= {key: name for key in row.needs if key not in held}
        values = row.arguments if row.side is Side.BOTH and kind == "call" else row.values
        held[values[0] if values else "output"] = value
        word = _type_of(row).replace("*", name)
        part: Json = {"type": word} | ({row.word: held} if row.by is By.KEY else held)
        if row.by is By.TOOL_CALL_ID:
            part.setdefault("toolCallId", id_)
        said = row.name or (name if row.names or row.word == "tool-*" else "")
        item = Item("call" if kind == "call" else "result", id=id_, name=said, type=word)
        if self.id_key == row.alias:
            item = item._replace(id=f"of {id_}", alias=id_)
        if row.side is Side.BOTH:
            if row.has_state:
                part["state"] = "input-available" if is_open else "output-available"
            item = item._replace(kind="both", is_open=is_open)
        return Piece(item, part)

    def _in_keys(self, id_: str, name: str, value: Any, kind: str) -> Piece:
        if kind == "result":
            keys = {self.key: id_ if self.key == shapes.RESULT_ID_KEY else name}
            bound = id_ if self.key == shapes.RESULT_ID_KEY else ""
            return Piece(Item("result", id=bound, name="" if bound else name), None, keys)
        function = {"name": name, "arguments": value}
        if self.key == shapes.CALL_KEY:
            return Piece(Item("call", name=name), None, {self.key: function})
        made = ({"id": id_} if id_ else {}) | {"type": "function", "function": function}
        return Piece(Item("call", id=id_, name=name), None, {self.key: [made]})


@dataclass(frozen=True)
class Form:
    """
    A call and a result that may close it.

    Attributes:
        asks: How the call is written.
        answers: How its result is written.
        has_ids: Whether an id binds them; else the name does, or their order.
        requests: How approval is asked for and given, if the provider does so.
    """

    asks: Half
    answers: Half
    has_ids: bool = True
    requests: tuple[Row, Row] | None = None

    @property
    def name(self) -> str:
        """How a test names it."""
        ids = "" if self.has_ids else " without ids"
        asked = ""
        if self.requests is not None:
            about = "linked " if self.requests[0].link else ""
            asked = f", asking by a {about}{self.requests[0].word}"
        return f"{self.asks.provider}: {self.asks.name} > {self.answers.name}{ids}{asked}"

    @property
    def is_both(self) -> bool:
        """Whether call and result are parts that hold both."""
        return self.asks.row is not None and self.asks.row.side is Side.BOTH

    def call(self, id_: str = "a", name: str = "look", value: Any = "{}") -> Piece:
        """Write a call."""
        return self.asks.write(id_ if self.has_ids else "", name, value, "call", is_open=True)

    def result(self, id_: str = "a", name: str = "look", value: Any = "ok") -> Piece:
        """Write a result; of a message that is one as a whole, all but its text."""
        return self.answers.write(id_ if self.has_ids else "", name, value, "result")

    def results(self, *pieces: Piece, tokens: int | None = 40) -> Said:
        """Make a message of results, and of what stands beside them."""
        whole = [text("ok")] if self.answers.row is None else []
        return say(self.answers.role, *whole, *pieces, tokens=tokens)

    def thought(self) -> Piece:
        """Write reasoning as the provider of the call does."""
        return thought(self.asks.provider)

    def request(self, id_: str, approval: str) -> Piece:
        """Ask whether the call *id_* may be made."""
        assert self.requests is not None
        row = self.requests[0]
        part = {"type": row.word, row.ids[0]: approval}
        if row.by is By.TOOL_CALL_ID:
            part["toolCallId"] = id_
        link = id_ if row.link else ""
        return Piece(Item("request", id=approval, link=link, type=row.word), part)

    def response(self, approval: str, *, grants: bool = True) -> Piece:
        """Answer that question."""
        assert self.requests is not None
        row = self.requests[1]
        part = {"type": row.word, row.ids[0]: approval, row.grants: grants}
        item = Item("response", id=approval, denies=not grants, type=row.word)
        return Piece(item, part)


class Served(NamedTuple):
    """A call that holds its result, as a provider that runs the tool itself writes it."""

    row: Row

    def piece(self, id_: str) -> Piece:
        """Write one."""
        part = {"type": self.row.word, self.row.ids[0]: id_}
        part |= dict.fromkeys(self.row.names, "look")
        name = "look" if self.row.names else ""
        return Piece(Item("both", id=id_, name=name, type=self.row.word), part)


def _type_of(row: Row) -> str:
    """Make a type that *row* matches; `*` stands for the name of the tool."""
    return f"custom{row.word}" if row.by is By.SUFFIX else row.word


def _halves(sides: tuple[Side, ...]) -> Iterator[Half]:
    """Write each row of these *sides*, with each key of its id."""
    for row in shapes.ROWS:
        if row.side not in sides or (row.side is Side.BOTH and not row.has_state):
            continue
        role = ROLES.get(row.provider, "tool") if row.side is Side.RESULT else "assistant"
        if _type_of(row).startswith(SERVED):
            role = "assistant"
        for key in (*row.ids, *([row.alias] if row.alias else [])):
            yield Half(row, id_key=key, role=role)


def _in_keys() -> Iterator[Form]:
    """Pair the calls and results that stand in keys of a message."""
    for role in sorted(shapes.RESULT_ROLES):
        by_id = Half(None, shapes.RESULT_ID_KEY, role=role)
        yield Form(Half(None, shapes.CALLS_KEY), by_id)
        for key in shapes.RESULT_NAME_KEYS:
            for called in (shapes.CALLS_KEY, shapes.CALL_KEY):
                yield Form(Half(None, called), Half(None, key, role=role), has_ids=False)


def _are_kin(call: Half, result: Half) -> bool:
    return call.provider in result.provider or result.provider in call.provider


def _may_lack_ids(form: Form) -> bool:
    """Tell whether call and result are still what they are without an id."""
    call, result = form.asks.row, form.answers.row
    if call is None or result is None or form.is_both or call.needs or result.needs:
        return False
    if (form.asks.id_key, form.answers.id_key) != (call.ids[0], result.ids[0]):
        return False
    return result.name in ("", call.name)


def forms() -> dict[str, Form]:
    """List a form for each call and each result of its provider, by name."""
    found = list(_in_keys())
    calls = list(_halves((Side.CALL, Side.BOTH)))
    results = list(_halves((Side.RESULT, Side.BOTH)))
    asking = [row for row in shapes.ROWS if row.side is Side.REQUEST]
    giving = [row for row in shapes.ROWS if row.side is Side.RESPONSE]
    for call in calls:
        for result in results:
            assert call.row is not None
            assert result.row is not None
            is_both = (call.row.side is Side.BOTH, result.row.side is Side.BOTH)
            is_first = call.id_key == call.row.ids[0] or result.id_key == result.row.ids[0]
            if is_both[0] != is_both[1] or not is_first or not _are_kin(call, result):
                continue
            form = Form(call, result)
            found.append(form)
            if _may_lack_ids(form):
                found.append(Form(call, result, has_ids=False))
    for request in asking:
        for response in giving:
            kin = [
                form
                for form in found
                if form.has_ids and request.provider in form.asks.provider and not form.is_both
            ]
            if request.provider == response.provider and kin:
                found.append(Form(kin[0].asks, kin[0].answers, requests=(request, response)))
    return {form.name: form for form in found}


def crossed_forms() -> dict[str, Form]:
    """List a form for each call and each result of another provider, which an id binds too."""
    own = [form for form in FORMS.values() if not form.is_both]
    calls = {form.asks.row: form.asks for form in own}.values()
    results = {form.answers.row: form.answers for form in own}.values()
    found = [Form(call, result) for call in calls for result in results]
    return {form.name: form for form in found if form.name not in FORMS}


FORMS: Final = forms()
"""A form for each call and each result of its provider, by name."""

CROSSED: Final = crossed_forms()
"""A form for each call and each result of another provider, by name."""

SERVED_ROWS: Final = [
    Served(row) for row in shapes.ROWS if row.side is Side.BOTH and not row.has_state
]
"""All calls that hold their results."""
