"""An agent on Gemini: it streams, calls tools, and keeps its conversation."""

import tools
from google import genai
from google.genai import types

from fastpaca import Context, Fastpaca

model = genai.Client()


def answer(chat: Context) -> None:
    while True:
        view = chat.context(format="gemini")
        chunks = []
        for chunk in model.models.generate_content_stream(
            model="gemini-3-pro",
            contents=view.messages,
            config={"system_instruction": view.system, "tools": [tools.GEMINI]},
        ):
            print(chunk.text or "", end="", flush=True)
            chunks.append(chunk)
        chat.append(chunks)
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
        chat.append(types.Content(role="user", parts=parts), format="gemini")


if __name__ == "__main__":
    conversation = Fastpaca().context("support/1", budget=4_000)
    while said := input("\n> "):
        conversation.append(said)
        answer(conversation)
