"""The agent on OpenAI Responses without fastpaca: a table, a budget and repairs of its own."""

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
    items: list[Json] = []
    open_calls: list[str] = []
    for _, item in rows:
        if item["type"] == "function_call_output":
            open_calls.remove(item["call_id"])
        elif item["type"] == "function_call":
            open_calls.append(item["call_id"])
        elif item.get("role") == "user":  # whoever should have answered them was interrupted
            items += [
                {"type": "function_call_output", "call_id": call, "output": "Interrupted."}
                for call in open_calls
            ]
            open_calls = []
        items.append(item)
    return items


def as_param(item: Any) -> Json:
    """Leave out what the package has added."""
    return item.model_dump(exclude={"parsed_arguments"}, exclude_unset=True, exclude_none=True)


def tokens(row: tuple[int, Json]) -> float:
    return len(json.dumps(row[1])) / 3  # about


def is_question(message: Json) -> bool:
    return message.get("role") == "user"


def question(text: str) -> Json:
    return {"type": "message", "role": "user", "content": text}


def answer(chat: str) -> None:
    while True:
        with model.responses.stream(
            model="gpt-5.6",
            input=window(chat),
            tools=[tools.OPENAI_RESPONSES],
            store=False,  # fastpaca keeps the items; reasoning comes sealed
            include=["reasoning.encrypted_content"],
        ) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    print(event.delta, end="", flush=True)
            response = stream.get_final_response()
        for item in response.output:
            append(chat, as_param(item))
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return
        for call in calls:
            output = tools.order_status(json.loads(call.arguments))
            result = {"type": "function_call_output", "call_id": call.call_id, "output": output}
            append(chat, result)


if __name__ == "__main__":
    while said := input("\n> "):
        append("support/1", question(said))
        answer("support/1")
