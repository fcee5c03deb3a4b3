"""The agent on OpenAI Chat without fastpaca: a table, a budget and repairs of its own."""

import json
import sqlite3
from typing import Any

import tools
from openai import OpenAI

Json = dict[str, Any]

BUDGET = 4_000

model = OpenAI()
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
    for _, message in rows:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
        else:  # whoever should have answered them was interrupted
            messages += [
                {"role": "tool", "tool_call_id": call, "content": "Interrupted."}
                for call in open_calls
            ]
            open_calls = [call["id"] for call in message.get("tool_calls", [])]
        messages.append(message)
    return messages


def as_param(calls: list[Any] | None) -> Json:
    """Leave out what only belongs into a stream."""
    if not calls:
        return {}
    return {"tool_calls": [call.model_dump(include={"id", "type"}) | named(call) for call in calls]}


def named(call: Any) -> Json:
    return {"function": {"name": call.function.name, "arguments": call.function.arguments}}


def tokens(row: tuple[int, Json]) -> float:
    return len(json.dumps(row[1])) / 3  # about


def is_question(message: Json) -> bool:
    return message["role"] == "user"


def question(text: str) -> Json:
    return {"role": "user", "content": text}


def answer(chat: str) -> None:
    while True:
        messages = window(chat)
        with model.chat.completions.stream(
            model="gpt-5.6",
            messages=messages,
            tools=[tools.OPENAI_CHAT],
            stream_options={"include_usage": True},
        ) as stream:
            for event in stream:
                if event.type == "content.delta":
                    print(event.delta, end="", flush=True)
            completion = stream.get_final_completion()
        message = completion.choices[0].message
        calls = message.tool_calls
        append(chat, {"role": "assistant", "content": message.content} | as_param(calls))
        if not calls:
            return
        for call in calls:
            output = tools.order_status(json.loads(call.function.arguments))
            append(chat, {"role": "tool", "tool_call_id": call.id, "content": output})


if __name__ == "__main__":
    while said := input("\n> "):
        append("support/1", question(said))
        answer("support/1")
