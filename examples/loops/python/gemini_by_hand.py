"""The agent on Gemini without fastpaca: a table, a budget and repairs of its own."""

import json
import sqlite3
from typing import Any

import tools
from google import genai
from google.genai import types

Json = dict[str, Any]

BUDGET = 4_000

model = genai.Client()
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
    contents: list[Json] = []
    open_calls: list[str] = []
    for _, content in rows:
        parts = content["parts"]
        is_healed = is_question(content) and bool(open_calls)
        if is_healed:
            contents.append({"role": "user", "parts": [*map(interrupted, open_calls)]})
        open_calls = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
        if contents and contents[-1]["role"] == content["role"] and not is_healed:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": content["role"], "parts": parts})
    return contents


def interrupted(name: str) -> Json:
    return {"functionResponse": {"name": name, "response": {"error": "Interrupted."}}}


def as_json(content: types.Content) -> Json:
    return content.model_dump(mode="json", by_alias=True, exclude_none=True)


def tokens(row: tuple[int, Json]) -> float:
    return len(json.dumps(row[1])) / 3  # about


def is_question(message: Json) -> bool:
    return message["role"] == "user" and "text" in message["parts"][0]


def question(text: str) -> Json:
    return {"role": "user", "parts": [{"text": text}]}


def answer(chat: str) -> None:
    while True:
        chunks = []
        for chunk in model.models.generate_content_stream(
            model="gemini-3-pro",
            contents=window(chat),
            config={"tools": [tools.GEMINI]},
        ):
            print(chunk.text or "", end="", flush=True)
            chunks.append(chunk)
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        append(chat, as_json(types.Content(role="model", parts=parts)))
        calls = [call for chunk in chunks for call in chunk.function_calls or []]
        if not calls:
            return
        results = [
            types.FunctionResponse(
                id=call.id, name=call.name, response={"output": tools.order_status(call.args)}
            )
            for call in calls
        ]
        parts = [types.Part(function_response=result) for result in results]
        append(chat, as_json(types.Content(role="user", parts=parts)))


if __name__ == "__main__":
    while said := input("\n> "):
        append("support/1", question(said))
        answer("support/1")
