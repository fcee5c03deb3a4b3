"""
The plainest renderer there is: what any application does with a window before it sends it.

Neighbours of one role are merged, and results are moved right after their calls.
Nothing is repaired: a result without its call, a call without its result, a blank text and a first
message of the assistant all stay, so that a validator sees what the window has kept or lost.
Every block remembers the seq of its message, since a violation is told by the message it is in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.providers.violation import is_blank, mappings

Message = Mapping[str, Any]

INSTRUCTIONS: Final = frozenset({"system", "developer"})

_FINISHED: Final = frozenset({"output-available", "output-error", "output-denied"})


class Piece(NamedTuple):
    """
    One thing that a message says.

    Attributes:
        kind: `text`, `media`, `call`, `result`, `reasoning`, or `own` for a block of a provider
            that only this provider knows.
        seq: The seq of its message; 0 for a summary.
        id: Of a call or a result.
        name: Of the tool.
        value: The text, the arguments, the content of the result, or the block itself.
    """

    kind: str
    seq: int
    id: str = ""
    name: str = ""
    value: Any = None


class Turn(NamedTuple):
    """Pieces that are sent as one message; *side* is `system`, `user`, `assistant`, `results`."""

    side: str
    pieces: list[Piece]


class Rendered(NamedTuple):
    """
    A list for a provider.

    Attributes:
        messages: The list itself.
        origins: For each message, the seq that each of its blocks came from.
    """

    messages: list[dict[str, Any]]
    origins: list[list[int]]

    def seqs(self, message: int, block: int) -> frozenset[int]:
        """Return the seqs of a block, or of a whole message; none of the list as a whole."""
        if message < 0:
            return frozenset()
        of_message = self.origins[message]
        return frozenset(of_message if not 0 <= block < len(of_message) else [of_message[block]])


def arranged(messages: Iterable[tuple[int, Message]]) -> list[Turn]:
    """
    Put *messages*, each with its seq, into turns: merged, with results right after their calls.

    A result belongs to the nearest earlier call with its id that has none yet.
    """
    pieces = [piece for seq, message in messages for piece in _read(seq, message)]
    result_of = _paired([piece for _, piece in pieces])
    call_of = {result: call for call, result in result_of.items()}
    turns: list[Turn] = []
    run: list[int] = []

    def close() -> None:
        results = [pieces[result_of[at]][1] for at in run if at in result_of]
        if run:
            turns.append(Turn("assistant", [pieces[at][1] for at in run]))
        if results:
            turns.append(Turn("results", results))
        run.clear()

    for at, (side, piece) in enumerate(pieces):
        if at in call_of:
            if call_of[at] in run:
                close()
        elif side == "assistant":
            run.append(at)
        else:
            close()
            where = "results" if piece.kind == "result" else side
            if turns and turns[-1].side == where:
                turns[-1].pieces.append(piece)
            else:
                turns.append(Turn(where, [piece]))
    close()
    return turns


def _paired(pieces: Sequence[Piece]) -> dict[int, int]:
    waiting: dict[str, list[int]] = {}
    result_of: dict[int, int] = {}
    for at, piece in enumerate(pieces):
        if piece.kind == "call":
            waiting.setdefault(piece.id, []).append(at)
        elif piece.kind == "result" and waiting.get(piece.id):
            result_of[waiting[piece.id].pop()] = at
    return result_of


def _read(seq: int, message: Message) -> Iterator[tuple[str, Piece]]:
    role = message["role"]
    side = "system" if role in INSTRUCTIONS else "assistant" if role == "assistant" else "user"
    if "tool_call_id" in message:
        content = "".join(str(part.get("text", "")) for part in message["parts"])
        yield side, Piece("result", seq, message["tool_call_id"], "", content)
        return
    for part in message["parts"]:
        for piece in _read_part(seq, part):
            yield side, piece
    for call in mappings(message.get("tool_calls")):
        function = call["function"]
        arguments = function["arguments"]
        yield side, Piece("call", seq, call["id"], function["name"], arguments)


def _read_part(seq: int, part: Message) -> Iterator[Piece]:
    kind = part["type"]
    original = part.get("original", {})
    if kind in ("other", "file") and original:
        yield from _read_part(seq, original) if "type" in original else ()
    elif kind == "text":
        yield Piece("text", seq, value=part["text"])
    elif "toolCallId" in part:
        yield from _read_ui_tool(seq, part)
    elif kind in ("tool_call", "tool_use") and not _is_own(original):
        arguments = part.get("payload", part.get("input"))
        yield Piece("call", seq, part.get("tool_call_id", part.get("id")), part["name"], arguments)
    elif kind == "tool_result" and not _is_own(original):
        result_id = part.get("tool_call_id", part.get("tool_use_id"))
        yield Piece("result", seq, str(result_id), "", part.get("content"))
    elif kind in ("reasoning", "thinking", "redacted_thinking"):
        yield Piece("reasoning", seq, value=_thinking(part))
    elif kind.endswith(("_tool_use", "_tool_result")) or kind in ("tool_call", "tool_result"):
        yield Piece("own", seq, value=_own_block(part))
    elif kind in ("image", "document", "file"):
        yield Piece("media", seq, value=part)
    elif kind == "compaction":
        yield Piece("own", seq, value=part)


def _is_own(original: Message) -> bool:
    """Tell whether the provider itself ran what the part tells of."""
    kind = str(original.get("type", ""))
    return kind.endswith(("_tool_use", "_tool_result"))


def _own_block(part: Message) -> Message:
    if "original" not in part:
        return part
    kind = part["original"]["type"]
    if kind.endswith("_tool_use"):
        named = {"id": part["tool_call_id"], "name": part["name"], "input": part["payload"]}
    else:
        named = {"tool_use_id": part["tool_call_id"], "content": part["content"]}
    return {**named, "type": kind}


def _read_ui_tool(seq: int, part: Message) -> Iterator[Piece]:
    if part.get("state") == "input-streaming":
        return
    name = part.get("toolName") or part["type"].removeprefix("tool-")
    yield Piece("call", seq, part["toolCallId"], name, part.get("input"))
    if part.get("state") in _FINISHED:
        content = part.get("output", part.get("errorText", ""))
        yield Piece("result", seq, part["toolCallId"], name, content)


def _thinking(part: Message) -> Message | None:
    """Return the block of Anthropic's that *part* is, or None if it has no signature."""
    if part["type"] in ("thinking", "redacted_thinking"):
        return part
    original = part.get("original", {})
    if original.get("type") == "redacted_thinking":
        return dict(original)
    known = part.get("providerMetadata", {}).get("anthropic", {})
    signature = original.get("signature") or known.get("signature")
    if not signature:
        return None
    return {"type": "thinking", "thinking": part["text"], "signature": signature}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _without_leading_instructions(turns: Sequence[Turn]) -> Sequence[Turn]:
    start = 0
    while start < len(turns) and turns[start].side == "system":
        start += 1
    return turns[start:]


def for_anthropic(turns: Sequence[Turn]) -> Rendered:
    """Return what is sent to the Messages API; the leading instructions are in `system`."""
    rendered = Rendered([], [])
    for turn in _without_leading_instructions(turns):
        role = "assistant" if turn.side == "assistant" else "user"
        blocks = [(block, p.seq) for p in turn.pieces if (block := _anthropic_block(p)) is not None]
        if not blocks:
            continue
        if not rendered.messages or rendered.messages[-1]["role"] != role:
            rendered.messages.append({"role": role, "content": []})
            rendered.origins.append([])
        rendered.messages[-1]["content"] += [block for block, _ in blocks]
        rendered.origins[-1] += [seq for _, seq in blocks]
    return rendered


def _anthropic_block(piece: Piece) -> Message | None:
    if piece.kind == "text":
        return {"type": "text", "text": piece.value}
    if piece.kind == "call":
        arguments = piece.value if isinstance(piece.value, Mapping) else {"value": piece.value}
        return {"type": "tool_use", "id": piece.id, "name": piece.name, "input": arguments}
    if piece.kind == "result":
        content = piece.value if isinstance(piece.value, list) else _as_text(piece.value)
        return {"type": "tool_result", "tool_use_id": piece.id, "content": content}
    return piece.value if isinstance(piece.value, Mapping) else None


def for_bedrock(turns: Sequence[Turn]) -> Rendered:
    """Return what is sent to Converse: as for Anthropic, without what only Anthropic knows."""
    known = [
        Turn(turn.side, [piece for piece in turn.pieces if piece.kind in _BEDROCK_KINDS])
        for turn in turns
    ]
    rendered = for_anthropic(known)
    for message in rendered.messages:
        message["content"] = [_bedrock_block(block) for block in message["content"]]
    return rendered


_BEDROCK_KINDS: Final = ("text", "call", "result")


def _bedrock_block(block: Message) -> Message:
    if block["type"] == "tool_use":
        named = {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}
        return {"toolUse": named}
    if block["type"] == "tool_result":
        content = [{"text": _as_text(block["content"])}]
        return {"toolResult": {"toolUseId": block["tool_use_id"], "content": content}}
    return {"text": block["text"]}


def for_openai_chat(turns: Sequence[Turn]) -> Rendered:
    """Return what is sent to the Chat Completions API; it is sent no reasoning."""
    rendered = Rendered([], [])
    for turn in turns:
        if turn.side == "results":
            for piece in turn.pieces:
                content = _as_text(piece.value)
                told = {"role": "tool", "tool_call_id": piece.id, "content": content}
                rendered.messages.append(told)
                rendered.origins.append([piece.seq])
            continue
        calls = [piece for piece in turn.pieces if piece.kind == "call"]
        texts = [piece for piece in turn.pieces if piece.kind in ("text", "media")]
        if not calls and not texts:
            continue
        parts = [_chat_part(piece) for piece in texts] or None
        message: dict[str, Any] = {"role": turn.side, "content": parts}
        if calls:
            message["tool_calls"] = [_chat_call(piece) for piece in calls]
        rendered.messages.append(message)
        rendered.origins.append([piece.seq for piece in (*texts, *calls)])
    return rendered


def _chat_part(piece: Piece) -> Message:
    if piece.kind == "text":
        return {"type": "text", "text": piece.value}
    return {"type": "file", "file": piece.value}


def _chat_call(piece: Piece) -> Message:
    function = {"name": piece.name, "arguments": _as_text(piece.value)}
    return {"id": piece.id, "type": "function", "function": function}


def for_openai_responses(turns: Sequence[Turn]) -> Rendered:
    """Return what is sent to the Responses API, with all reasoning as items of its own."""
    rendered = Rendered([], [])
    for turn in turns:
        for piece in turn.pieces:
            item = _item(turn.side, piece)
            if item is not None:
                rendered.messages.append(item)
                rendered.origins.append([piece.seq])
    return rendered


def _item(side: str, piece: Piece) -> dict[str, Any] | None:
    if piece.kind == "text":
        kind = "output_text" if side == "assistant" else "input_text"
        role = "user" if side == "results" else side
        content = [{"type": kind, "text": piece.value}]
        return {"type": "message", "role": role, "content": content}
    if piece.kind == "call":
        arguments = _as_text(piece.value)
        named = {"call_id": piece.id, "name": piece.name, "arguments": arguments}
        return {"type": "function_call", **named}
    if piece.kind == "result":
        output = _as_text(piece.value)
        return {"type": "function_call_output", "call_id": piece.id, "output": output}
    if piece.kind == "reasoning":
        return {"type": "reasoning", "summary": []}
    if piece.kind == "media":
        content = [{"type": "input_file", "file_data": piece.value}]
        return {"type": "message", "role": "user", "content": content}
    return None


def for_gemini(turns: Sequence[Turn]) -> Rendered:
    """Return what is sent to Gemini; it is sent no reasoning of others, and no blank texts."""
    rendered = Rendered([], [])
    names = {p.id: p.name for turn in turns for p in turn.pieces if p.kind == "call"}
    for turn in _without_leading_instructions(turns):
        role = "model" if turn.side == "assistant" else "user"
        parts = [(part, p.seq) for p in turn.pieces if (part := _gemini_part(p, names)) is not None]
        if not parts:
            continue
        last = rendered.messages[-1] if rendered.messages else None
        holds_responses = turn.side == "results" or (
            last is not None and any("functionResponse" in part for part in last["parts"])
        )
        if last is None or last["role"] != role or holds_responses:
            last = {"role": role, "parts": []}
            rendered.messages.append(last)
            rendered.origins.append([])
        last["parts"] += [part for part, _ in parts]
        rendered.origins[-1] += [seq for _, seq in parts]
    return rendered


def _gemini_part(piece: Piece, names: Mapping[str, str]) -> Message | None:
    if piece.kind == "text":
        return None if is_blank(piece.value) else {"text": piece.value}
    if piece.kind == "call":
        arguments = piece.value if isinstance(piece.value, Mapping) else {"value": piece.value}
        return {"functionCall": {"name": piece.name, "args": arguments}}
    if piece.kind == "result":
        name = names.get(piece.id, piece.id or "unknown")
        return {"functionResponse": {"name": name, "response": {"output": piece.value}}}
    return {"inlineData": piece.value} if piece.kind == "media" else None
