"""The agent on Anthropic Messages without fastpaca: a table, a budget and repairs of its own."""

import json
import sqlite3
from typing import Any

import tools
from anthropic import Anthropic

Json = dict[str, Any]

BUDGET = 4_000

model = Anthropic()
database = sqlite3.connect("chats.db", isolation_level=None)
database.execute("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, chat, message)")
database.execute("CREATE TABLE IF NOT EXISTS cuts (chat, first, made)")


def append(chat: str, message: Json) -> None:
    row = (chat, json.dumps(message))
    database.execute("INSERT INTO log (chat, message) VALUES (?, ?)", row)


def window(chat: str) -> list[Json]:
    query = "SELECT first, made FROM cuts WHERE chat = ? ORDER BY made DESC LIMIT 1"
    first, made = database.execute(query, (chat,)).fetchone() or (0, 0)
    query = "SELECT seq, message FROM log WHERE chat = ? AND seq >= ? ORDER BY seq"
    rows = [(seq, json.loads(text)) for seq, text in database.execute(query, (chat, first))]
    # Cut at a question, and deep, so that the provider's cache holds for a while.
    if sum(map(tokens, rows)) > BUDGET * 0.7:
        while sum(map(tokens, rows)) > BUDGET * 0.35 or not is_question(rows[0][1]):
            rows.pop(0)
        first, made = rows[0][0], rows[-1][0]
        database.execute("INSERT INTO cuts VALUES (?, ?, ?)", (chat, first, made))
    messages: list[Json] = []
    open_calls: list[str] = []
    for seq, message in rows:
        content = message["content"]
        if seq <= made:  # thinking is bound to all that came before it, which is gone
            content = [block for block in content if block["type"] != "thinking"]
        if message["role"] == "user":
            answered = [block.get("tool_use_id") for block in content]
            content = [*map(interrupted, set(open_calls) - set(answered)), *content]
        open_calls = [block["id"] for block in content if block["type"] == "tool_use"]
        if messages and messages[-1]["role"] == message["role"]:
            messages[-1]["content"] += content
        else:
            messages.append({"role": message["role"], "content": content})
    messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
    return messages


def interrupted(call: str) -> Json:
    return {"type": "tool_result", "tool_use_id": call, "content": "Interrupted.", "is_error": True}


def as_params(message: Any) -> list[Json]:
    """Leave out what the package has added."""
    blocks = [block.model_dump(exclude_unset=True, exclude_none=True) for block in message.content]
    return [{key: one for key, one in block.items() if key != "parsed_output"} for block in blocks]


def tokens(row: tuple[int, Json]) -> float:
    return len(json.dumps(row[1])) / 3  # about


def is_question(message: Json) -> bool:
    return message["role"] == "user" and message["content"][0]["type"] == "text"


def question(text: str) -> Json:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def answer(chat: str) -> None:
    while True:
        with model.messages.stream(
            model="claude-opus-5-5",
            max_tokens=16_000,
            messages=window(chat),
            tools=[tools.ANTHROPIC],
            thinking={"type": "adaptive"},
        ) as stream:
            for piece in stream.text_stream:
                print(piece, end="", flush=True)
            message = stream.get_final_message()
        append(chat, {"role": "assistant", "content": as_params(message)})
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return
        results = []
        for call in calls:
            output = tools.order_status(call.input)
            results.append({"type": "tool_result", "tool_use_id": call.id, "content": output})
        append(chat, {"role": "user", "content": results})


if __name__ == "__main__":
    while said := input("\n> "):
        append("support/1", question(said))
        answer("support/1")
